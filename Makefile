# Needs Python 3.11 or newer and make; everything else is installed into .venv from requirements.lock.
PYTHON ?= python3
DATA ?= data
# A folder or server that holds flowers17/ and kodak/, instead of the official addresses.
MIRROR ?=
JOBS ?= 2
# smoke takes minutes and no data; full measures what the book states.
PROFILE ?= smoke
# Further arguments of Snakemake, such as an executor for a cluster.
SNAKEMAKE ?=

VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
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
.PHONY: help setup test check lint book course experiments results bench lock data clean

help: ## print this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## install the locked, hash-checked environment into .venv

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("expected Python 3.11 or newer, found %s; run make PYTHON=python3.11" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(VENV)/uv.txt
	$(UV) sync --python $(PY) --compile-bytecode --require-hashes requirements.lock
	$(UV) install --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

lint: $(INSTALLED) ## check style, format, types and the direction of imports
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

check: lint ## check style, types and the package's own tests, in two minutes
	$(PY) -m pytest --numprocesses $(JOBS) -m "not slow" tests/unit

book: $(INSTALLED) ## run the chapters that changed and build the book into _build/html
	$(PY) -m book.course.assignments
	$(PY) -m book.tools.site

course: book ## make student versions, solutions, autograders and slides in _build/course
	$(PY) -m book.course.assignments check
	$(PY) -m book.tools.slides

test: override PROFILE = smoke
test: lint book course experiments ## run every check: style, types, code, chapters, pages, experiments
	$(PY) -m pytest --numprocesses $(JOBS) --dist loadfile

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

lock: $(INSTALLED) ## resolve pyproject.toml again into requirements.lock and environment.yml
	$(UV) compile pyproject.toml --universal --python-version 3.11 --all-extras \
	  --group setup --group data --group book --group course --group experiments --group test --group lint \
	  --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" \
	  --quiet --output-file requirements.lock
	@{ printf '%s\n' '# Read by Binder. Written by `make lock`: the versions of requirements.lock.' \
	  'name: mrdcae-lite' 'channels:' '  - conda-forge' 'dependencies:' '  - python=3.11' '  - pip' '  - pip:'; \
	  $(UV) compile pyproject.toml --python-version 3.11 --python-platform x86_64-unknown-linux-gnu \
	  --extra all --constraint requirements.lock --no-annotate --no-header --quiet \
	  | sed 's/^/      - /'; echo '      - -e .'; } > $(VENV)/environment.yml
	@mv $(VENV)/environment.yml environment.yml

clean: ## remove everything that was built; .venv and data stay
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find book data_scripts mrdcae_lite tests -name __pycache__ -prune -exec rm -rf {} +
