"""The grid, a run and its result, what makes a result stale, and Snakemake over all of it."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest
import yaml

from book.command import UserError
from book.experiments import inputs
from book.experiments import run as experiments

GOOD = {"value": 2.5, "unit": "dB", "n": 3, "spread": 0.1, "tolerance": 0.2}
SHOW = (
    "from IPython.display import display\n"
    "content = {'values': {'score': {'value': start * 2, 'unit': 'dB', 'n': 1, 'spread': None, "
    "'tolerance': 0.0}}, 'series': {}}\n"
    f"display({{'{experiments.MEASURED}': content}}, raw=True)"
)


def write_notebook(folder, name, code=SHOW, prose="Prose."):
    new = nbformat.v4
    parameters = new.new_code_cell("start = 1", metadata={"tags": ["parameters"]})
    cells = [new.new_markdown_cell(prose), parameters, new.new_code_cell(code)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def write_grid(folder, **entries):
    common = {"weights": [], "data": ["scikit-image"]}
    content = {name: {**common, **entry} for name, entry in entries.items()}
    (folder / "grid.yml").write_text(yaml.safe_dump(content))
    return folder / "grid.yml"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder in place of the experiments'; declared parameters are read anew."""
    experiments.declared.cache_clear()
    monkeypatch.setattr(experiments, "HERE", tmp_path)
    shutil.copy(experiments.BOOK / "experiments" / "result.schema.json", tmp_path)
    yield tmp_path
    experiments.declared.cache_clear()


@pytest.fixture
def result():
    """A result of the full profile as the first run of the grid would write it today."""
    run = experiments.grid("full")["storage-bundled"]
    return {
        "experiment": run.experiment,
        "run": run.name,
        "profile": "full",
        "parameters": run.parameters,
        "inputs": run.inputs(),
        "models": {"lite": "0" * 8},
        "versions": {"numpy": "2.0"},
        "seconds": 1.0,
        "values": {"score": GOOD},
        "series": {},
    }


def keep(folder, result):
    (folder / f"{result['run']}.json").write_text(experiments.to_text(result))


def test_every_run_of_the_grid_has_a_notebook_that_declares_its_parameters():
    smoke, full = (experiments.grid(profile) for profile in experiments.PROFILES)
    assert {*smoke} <= {*full}
    assert {run.experiment for run in smoke.values()} == {run.experiment for run in full.values()}
    notebooks = {path.stem for path in experiments.HERE.glob("*.ipynb")}
    assert {run.experiment for run in full.values()} == notebooks


def test_an_experiment_is_committed_without_outputs_and_says_what_its_figures_show():
    for path in experiments.HERE.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        assert notebook.cells[0].source.startswith("# "), path.name
        for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
            assert not cell.outputs, path.name
            assert cell.execution_count is None, path.name
            if "plt.subplots" in cell.source or "draw_curves" in cell.source:
                about = cell.metadata["mystnb"]
                assert len(about["image"]["alt"].split()) > 5, path.name
                assert about["figure"]["caption"], path.name


def test_a_run_without_a_notebook_or_with_a_parameter_that_it_does_not_declare_is_an_error(here):
    grid = write_grid(here, one={"runs": {"a": {"strat": 3}}})
    with pytest.raises(UserError, match=r"one-a: expected the notebook one.ipynb"):
        experiments.grid("full", grid)
    write_notebook(here, "one")
    with pytest.raises(UserError, match=r"one-a: one.ipynb declares no parameter strat"):
        experiments.grid("full", grid)


def test_a_grid_is_experiment_times_runs_and_a_profile_has_the_last_word(here):
    write_notebook(here, "one")
    entry = {"runs": {"a": {"start": 2}, "b": {}}, "smoke": {"start": 9}}
    grid = write_grid(here, one=entry)
    full = experiments.grid("full", grid)
    assert list(full) == ["one-a", "one-b"]
    assert full["one-a"].parameters == {"start": 2}
    assert experiments.grid("smoke", grid)["one-a"].parameters == {"start": 9}


def test_a_run_gives_what_its_notebook_showed_and_a_failed_one_keeps_its_notebook(here):
    write_notebook(here, "one")
    write_notebook(here, "broken", "before = start\n1 / 0")
    runs = {"runs": {"a": {"start": 4}}}
    grid = experiments.grid("full", write_grid(here, one=runs, broken=runs))
    found = experiments.execute(grid["one-a"], here / "out", here)
    assert found["values"]["score"]["value"] == 8
    assert found["inputs"]["notebook"] == inputs.code_hash(here / "one.ipynb")
    with pytest.raises(UserError, match=r"broken-a failed in cell In \[3\]: ZeroDivision"):
        experiments.execute(grid["broken-a"], here / "out", here)
    assert "ZeroDivisionError" in (here / "out" / "executed" / "broken-a.ipynb").read_text()


def test_a_notebook_that_shows_no_measurements_is_named():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    with pytest.raises(UserError, match="one-a: expected one cell that ends with the meas"):
        experiments.collected(notebook, "one-a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": {}}, "values"),
        ({"profile": "large"}, "profile"),
        ({"values": {"score": {**GOOD, "value": "two"}}}, r"values.score.value"),
        ({"inputs": {}}, "notebook"),
    ],
)
def test_a_result_that_does_not_follow_the_schema_is_refused(result, change, message):
    experiments.check(result)
    with pytest.raises(UserError, match=message):
        experiments.check(result | change)


def test_a_result_is_the_same_after_writing(result):
    assert json.loads(experiments.to_text(result)) == result


def test_changed_weights_make_a_result_stale(result, tmp_path, monkeypatch):
    keep(tmp_path, result)
    assert experiments.stale(tmp_path) == {}
    shutil.copytree(inputs.PACKAGE / "weights", tmp_path / "package" / "weights")
    file = tmp_path / "package" / "weights" / "lite.keras-codec"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    shutil.copytree(inputs.PACKAGE / "samples", tmp_path / "package" / "samples")
    monkeypatch.setattr(inputs, "PACKAGE", tmp_path / "package")
    assert experiments.stale(tmp_path) == {"storage-bundled": ["weights lite"]}


def test_a_changed_grid_and_changed_data_and_code_make_a_result_stale(result, tmp_path):
    other = {**result["inputs"], "notebook": "0" * 64, "data": {"bundled": "0" * 64}}
    keep(tmp_path, result | {"parameters": {"pictures": "kodak"}, "inputs": other})
    keep(tmp_path, result | {"run": "storage-gone"})
    assert experiments.stale(tmp_path) == {
        "storage-bundled": ["notebook", "data bundled", "parameters"],
        "storage-gone": ["the run is no longer in grid.yml"],
    }


CODE = "from one import score as s\nimport one.two as t\nstart = s(1) + t.other(2)"


@pytest.mark.parametrize(
    ("code", "same"),
    [
        (CODE.replace("(1)", "( 1 )") + "  # a comment", True),
        ("from elsewhere import other, score\nstart = score(1) + other(2)", True),
        (CODE.replace("1", "3"), False),
        (CODE.replace("import score", "import mean"), False),
        (CODE.replace("t.other", "t.another"), False),
        (CODE.replace("start =", "begin ="), False),
        ("start = s(1) + t.other(2)", False),
    ],
)
def test_prose_comments_and_modules_may_change_and_code_may_not(tmp_path, code, same):
    before = inputs.code_hash(write_notebook(tmp_path, "one", CODE, "Prose."))
    after = inputs.code_hash(write_notebook(tmp_path, "one", code, "Other prose."))
    assert (before == after) is same


def test_values_outside_the_tolerance_are_named(result, tmp_path):
    for name, value in (("committed", 2.5), ("near", 2.65), ("far", 2.75)):
        (tmp_path / name).mkdir()
        keep(tmp_path / name, result | {"values": {"score": {**GOOD, "value": value}}})
    committed = tmp_path / "committed"
    assert experiments.differing(tmp_path / "near", committed) == []
    assert experiments.differing(tmp_path / "far", committed) == [
        "storage-bundled: score is 2.75 dB, committed 2.5 dB"
    ]
    page = experiments.report("full", tmp_path / "far", committed)
    assert "| score | 2.75 dB | 0.1 | 3 | 2.5 dB **differs** |" in page


def test_the_report_says_that_smoke_values_mean_nothing_and_names_what_is_missing(tmp_path):
    page = experiments.report("smoke", tmp_path)
    assert "Smoke values" in page
    assert "Without a result: codecs-bundled" in page


def test_only_results_of_the_full_profile_are_kept(result, tmp_path, capsys):
    (tmp_path / "results").mkdir()
    keep(tmp_path / "results", result | {"profile": "smoke"})
    assert experiments.main(["keep", "--to", str(tmp_path)]) == 1
    assert "storage-bundled.json is of profile smoke" in capsys.readouterr().err


def snakemake(folder, to="out", *more):
    command = [sys.executable, "-m", "snakemake", *more]
    command += ["--snakefile", "book/experiments/Snakefile", "--directory", to, "--cores", "1"]
    command += ["--config", "profile=full", "data=nowhere"]
    settings = {"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(
        [*command, "--keep-going"],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )


PROFILES = sorted(path.name for path in (experiments.HERE / "profiles").iterdir())


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_of_snakemake_are_understood_and_every_run_says_what_it_needs(profile, tmp_path):
    command = [sys.executable, "-m", "snakemake", "--snakefile", "book/experiments/Snakefile"]
    command += ["--profile", f"book/experiments/profiles/{profile}", "--directory", tmp_path]
    done = subprocess.run(
        [*command, "--dry-run", "--quiet", "host", "--config", "profile=smoke"],
        cwd=experiments.ROOT,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("    resources: ")]
    asked = [line for line in lines if "mem_mb=" in line and "runtime=" in line]
    assert len(asked) == len(experiments.grid("smoke")) + 1  # the stand-ins are made, too


def test_a_cluster_has_its_own_profile_and_executor():
    assert PROFILES == ["cluster-generic", "kubernetes", "local", "slurm"]
    for profile in PROFILES:
        file = experiments.HERE / "profiles" / profile / "config.yaml"
        settings = yaml.safe_load(file.read_text())
        assert settings.get("executor", "local") == profile


def test_a_run_asks_for_thrice_the_time_that_it_took(tmp_path):
    (tmp_path / "long.json").write_text('{"seconds": 1000}')
    (tmp_path / "short.json").write_text('{"seconds": 1}')
    names = ("long", "short", "new")
    assert [experiments.minutes(name, tmp_path) for name in names] == [50, 10, 60]


def test_snakemake_goes_on_repeats_only_what_failed_and_a_submit_command_gives_the_same(tmp_path):
    folder = tmp_path / "book" / "experiments"
    folder.mkdir(parents=True)
    for name in ("run.py", "inputs.py", "measured.py", "Snakefile", "result.schema.json"):
        shutil.copy(experiments.HERE / name, folder)
    for name in ("__init__.py", "command.py"):
        shutil.copy(experiments.BOOK / name, tmp_path / "book")
    write_notebook(folder, "broken", "1 / 0")
    write_notebook(folder, "whole")
    write_grid(folder, broken={"runs": {"a": {}}}, whole={"runs": {"a": {}}})
    first = snakemake(tmp_path)
    assert first.returncode == 1
    assert "experiments: broken-a failed in cell In [2]: ZeroDivisionError" in first.stderr
    assert (tmp_path / "out" / "executed" / "broken-a.ipynb").exists()
    kept = tmp_path / "out" / "results" / "whole-a.json"
    before = kept.stat().st_mtime_ns
    write_notebook(folder, "broken")
    second = snakemake(tmp_path)
    assert second.returncode == 0, second.stderr
    assert "broken-a: " in second.stderr
    assert kept.stat().st_mtime_ns == before
    by_bash = ["--profile", str(experiments.HERE / "profiles" / "cluster-generic")]
    third = snakemake(tmp_path, "there", "results/whole-a.json", *by_bash)
    assert third.returncode == 0, third.stderr
    here, there = (
        json.loads((tmp_path / to / "results" / "whole-a.json").read_text())
        for to in ("out", "there")
    )
    assert there == here | {"seconds": there["seconds"]}
