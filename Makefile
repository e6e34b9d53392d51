# Needs Python 3.11 or newer and make; everything else is installed into .venv from requirements.lock.
PYTHON ?= python3
DATA ?= data
# A folder or server that holds flowers17/ and kodak/, instead of the official addresses.
MIRROR ?=
JOBS ?= 2
# smoke takes minutes and no data; full measures what the book states.
PROFILE ?= smoke
# What `make address` writes instead of what pyproject.toml says.
export URL ?=
export VERSION ?=
# The tag that `make release` compares with the version.
export TAG ?=
# How `make trial` installs (plain, newest, lowest, jax, colab), with which Python, and which file.
SETTING ?= plain
WITH ?= $(PYTHON)
PACKAGE ?=
# Further arguments of Snakemake, such as an executor for a cluster.
SNAKEMAKE ?=

VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := $(BIN)/python
INSTALLED := $(VENV)/.installed
UV_ALONE := $(VENV)/uv.txt
UV := $(PY) -m uv pip

# Processes share the cores; threads in each of them would only wait for one another.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MRDCAE_THREADS ?= 1

# TensorFlow reports how it was built; only what goes wrong is of interest.
export TF_CPP_MIN_LOG_LEVEL ?= 2

# A slow mirror may take longer than uv's 30 seconds.
export UV_HTTP_TIMEOUT ?= 180

.DEFAULT_GOAL := help
.PHONY: help setup test check lint coverage book print course experiments results bench data
.PHONY: address lock dist trial release links probe clean

help: ## print this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## install the locked, hash-checked environment into .venv

$(UV_ALONE): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("expected Python 3.11 or newer, found %s; run make PYTHON=python3.11" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $@.new
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $@.new
	@mv $@.new $@

$(INSTALLED): $(UV_ALONE) pyproject.toml
	$(UV) sync --python $(PY) --compile-bytecode --require-hashes requirements.lock
	$(UV) install --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

lint: $(INSTALLED) ## check style, format, types, the direction of imports, and the workflows
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(BIN)/lint-imports
	$(BIN)/actionlint -shellcheck= -pyflakes=
	$(BIN)/zizmor --offline --quiet .github

check: lint ## check style, types and the package's own tests, in two minutes
	$(PY) -m pytest --numprocesses $(JOBS) -m "not slow" tests/unit

book: $(INSTALLED) ## run the chapters that changed and build the book into _build/html
	$(PY) -m book.course.assignments
	$(PY) -m book.tools.site

print: book ## make the whole book as EPUB and PDF in _build/print; the PDF needs Chromium
	$(PY) -m book.tools.printed

course: $(INSTALLED) ## make student versions, solutions and autograders in _build/course
	$(PY) -m book.course.assignments check

test: override PROFILE = smoke
test: lint book course experiments ## run every check: style, types, code, chapters, pages, experiments
	$(PY) -m pytest --numprocesses $(JOBS) --dist loadfile

coverage: $(INSTALLED) ## measure which lines of the package its tests run, into _build/coverage
	@mkdir -p _build/coverage
	$(PY) -m pytest --numprocesses $(JOBS) -m "not slow" --cov mrdcae_lite --cov-report= \
	  tests/unit tests/golden tests/properties
	@$(BIN)/coverage html --quiet --directory _build/coverage
	@$(BIN)/coverage report --skip-covered --format=markdown | tee _build/coverage/report.md

dist: $(INSTALLED) ## pack wheel and sdist into _build/dist
	$(PY) -m book.tools.release pack

trial: $(UV_ALONE) ## try the packed wheel in a new environment: SETTING=newest WITH=python3.13
	$(PY) -m book.tools.trial $(SETTING) --with "$(WITH)" $(if $(PACKAGE),--package "$(PACKAGE)")

release: dist course print ## gather package, book, course, notes and sums in _build/release
	$(PY) -m book.tools.release gather --tag "$$TAG"

links: book ## ask every address that the book links to, over the network
	$(BIN)/jupyter-book build _build/stage --config _config.yml --path-output _build/links \
	  --builder linkcheck

probe: $(INSTALLED) ## ask the addresses of the data sets for their first bytes, over the network
	$(PY) -m data_scripts.probe

data: $(INSTALLED) ## download the public data sets into $(DATA), checked by their sums
	$(PY) -m data_scripts.flowers17 --to $(DATA)/flowers17 $(if $(MIRROR),--mirror "$(MIRROR)/flowers17")
	$(PY) -m data_scripts.kodak --to $(DATA)/kodak $(if $(MIRROR),--mirror "$(MIRROR)/kodak")

EXPERIMENTS = _build/experiments/$(PROFILE)
experiments: $(INSTALLED) ## run all experiments that changed, PROFILE=smoke or full, and report
	@mkdir -p $(EXPERIMENTS)
	export PYTHONPATH="$(CURDIR)" XDG_CACHE_HOME="$(CURDIR)/_build/cache"; \
	$(PY) -m snakemake --snakefile book/experiments/Snakefile --directory $(EXPERIMENTS) --cores $(JOBS) \
	  --config profile=$(PROFILE) data="$(abspath $(DATA))" --quiet rules --keep-going --rerun-incomplete \
	  $(SNAKEMAKE); status=$$?; \
	$(PY) -m book.experiments.run report --profile $(PROFILE) --to $(EXPERIMENTS) && exit $$status

results: $(INSTALLED) ## keep the results of the full profile in book/results, to be committed
	$(PY) -m book.experiments.run keep --to _build/experiments/full

bench: $(INSTALLED) ## time all codecs on one thread, and workers of a cluster, into book/results
	$(PY) -m book.experiments.bench_codecs --out book/results/bench.json
	$(PY) -m book.experiments.bench_scale --out book/results/scale.json

address: $(INSTALLED) ## write the address (URL=https://github.com/OWNER/NAME) and VERSION=... everywhere
	$(PY) -m book.tools.identity --url "$$URL" --version "$$VERSION"

lock: $(INSTALLED) ## resolve pyproject.toml again into requirements.lock and environment.yml
	$(UV) compile pyproject.toml --universal --python-version 3.11 --all-extras \
	  --group setup --group data --group book --group course --group experiments --group test --group lint \
	  --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" \
	  --quiet --output-file requirements.lock
	@{ printf '%s\n' '# Read by Binder. Written by `make lock`: the versions of requirements.lock.' \
	  '# No Keras: the chapters that train install it, so that the others start soon and stay small.' \
	  'name: mrdcae-lite' 'channels:' '  - conda-forge' 'dependencies:' '  - python=3.11' '  - pip' '  - pip:'; \
	  $(UV) compile pyproject.toml --python-version 3.11 --python-platform x86_64-unknown-linux-gnu \
	  --extra batch --extra notebooks --constraint requirements.lock --no-annotate --no-header --quiet \
	  | sed 's/^/      - /'; echo '      - -e .'; } > $(VENV)/environment.yml
	@mv $(VENV)/environment.yml environment.yml

clean: ## remove everything that was built; .venv and data stay
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find book data_scripts mrdcae_lite tests -name __pycache__ -prune -exec rm -rf {} +
