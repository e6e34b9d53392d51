"""Run the experiments of grid.yml: check, execute, collect, compare, report.

    python -m book.experiments.run one RUN --profile P --to DIR --data DIR   (called by Snakemake)
    python -m book.experiments.run report --profile P --to DIR
    python -m book.experiments.run keep --to DIR

A run is one notebook with one set of parameters. Its result is a small JSON file that names
everything it depends on: notebook, weights and data by hash, and what it was measured with by a
fingerprint of its behaviour, so that a later change of any of them shows.
"""

import argparse
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import papermill
import yaml
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from book.command import UserError, exit_status
from book.experiments import inputs
from book.experiments.measured import MEASURED
from mrdcae_lite.core.files import write_atomically

HERE = Path(__file__).resolve().parent
BOOK = HERE.parent
ROOT = BOOK.parent
RESULTS = BOOK / "results" / "experiments"
PROFILES = ("smoke", "full")
GIVEN = ("data", "folder")  # parameters that a notebook gets if it declares them
MEMORY_MB = 4000
"""What a run asks a cluster for: twice the 1,879 MB that the largest try-out took (a twin)."""

UNMEASURED = 60  # minutes of a run that has no result yet
PACKAGES = ("keras", "numpy", "pillow", "scikit-image", "scipy", "constriction")


@dataclass(frozen=True)
class Run:
    """One line of the grid: a notebook, its parameters, and what it depends on besides."""

    experiment: str
    name: str
    profile: str
    parameters: Mapping[str, Any]
    weights: Sequence[str]
    data: Sequence[str]
    parts: Sequence[str]

    @property
    def notebook(self) -> Path:
        return HERE / f"{self.experiment}.ipynb"

    def inputs(self) -> dict[str, Any]:
        """Hashes and fingerprints of all that would make the result another one.

        A try-out, which is not kept, goes by the text of all programs instead of their behaviour.
        """
        smoke = self.profile == "smoke"
        return {
            "notebook": inputs.code_hash(self.notebook),
            "weights": {name: inputs.weights_hash(name) for name in self.weights},
            "data": {name: inputs.data_hash(name) for name in self.data},
            "behaviour": {"programs": inputs.programs_hash()}
            if smoke
            else {part: inputs.behaviour(part) for part in self.parts},
        }


def grid(profile: str, file: Path = HERE / "grid.yml") -> dict[str, Run]:
    """All runs of a profile by name, each checked against what its notebook declares."""
    runs: dict[str, Run] = {}
    for experiment, entry in yaml.safe_load(file.read_text()).items():
        chosen = entry.get("smoke_runs") if profile == "smoke" else None
        for case in chosen or entry["runs"]:
            own = entry["runs"][case]
            parameters = {**entry.get("parameters", {}), **own, **entry.get(profile, {})}
            data = entry.get("data") or [parameters["pictures"].removesuffix("-256")]
            name = f"{experiment}-{case}"
            weights = entry.get("weights", ["lite"])
            parts = [*weights, *entry.get("measured_with", [])]
            runs[name] = Run(experiment, name, profile, parameters, weights, data, parts)
            _check_declared(runs[name])
    return runs


@cache
def declared(notebook: Path) -> frozenset[str]:
    """The parameters in the cell of a notebook that is tagged `parameters`."""
    return frozenset(papermill.inspect_notebook(str(notebook)))


def _check_declared(run: Run) -> None:
    if not run.notebook.is_file():
        raise UserError(f"{run.name}: expected the notebook {run.notebook.name}, not there")
    unknown = {*run.parameters} - declared(run.notebook)
    if unknown:
        raise UserError(
            f"{run.name}: {run.notebook.name} declares no parameter {', '.join(sorted(unknown))}. "
            f"It declares {', '.join(sorted(declared(run.notebook)))}: mend grid.yml or the cell "
            "tagged parameters."
        )


def minutes(name: str, results: Path = RESULTS) -> int:
    """What a run asks a cluster for: thrice the time of its committed result, and at least ten."""
    path = results / f"{name}.json"
    if not path.is_file():
        return UNMEASURED
    return max(10, math.ceil(3 * json.loads(path.read_text())["seconds"] / 60))


# --- what has changed -----------------------------------------------------------------------


def stale(results: Path = RESULTS) -> dict[str, list[str]]:
    """What has changed since a committed result was made, by run; nothing is an empty dict."""
    runs, found = grid("full"), {}
    for name, result in read_results(results).items():
        changed = _changes(result, runs.get(name))
        if changed:
            found[name] = changed
    return found


def _changes(result: Mapping[str, Any], run: Run | None) -> list[str]:
    if run is None:
        return ["the run is no longer in grid.yml"]
    then, now = result["inputs"], run.inputs()
    changed = [] if then["notebook"] == now["notebook"] else ["notebook"]
    for kind in ("weights", "data"):
        names = sorted({*then[kind], *now[kind]})
        changed += [f"{kind} {n}" for n in names if then[kind].get(n) != now[kind].get(n)]
    changed += filter(None, (inputs.moved(*pair) for pair in then["behaviour"].items()))
    missing = {*now["behaviour"]} ^ {*then["behaviour"]}
    changed += [f"behaviour {part}" for part in sorted(missing)]
    return changed if result["parameters"] == run.parameters else [*changed, "parameters"]


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """All results in a folder by run."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


# --- one run --------------------------------------------------------------------------------


def execute(run: Run, to: Path, data: Path) -> dict[str, Any]:
    """Run the notebook of a run; keep it executed, whole or not, and return its result."""
    executed, folder = to / "executed" / f"{run.name}.ipynb", to / "files" / run.name
    shutil.rmtree(folder, ignore_errors=True)
    for path in (executed.parent, folder):
        path.mkdir(parents=True, exist_ok=True)
    given = dict(zip(GIVEN, (str(data), str(folder)), strict=True))
    kept = {key: value for key, value in given.items() if key in declared(run.notebook)}
    started = time.monotonic()
    try:
        notebook = papermill.execute_notebook(
            str(run.notebook),
            str(executed),
            parameters={**run.parameters, **kept},
            cwd=str(ROOT),
            kernel_name="python3",
            progress_bar=False,
        )
    except PapermillExecutionError as error:
        raise UserError(
            f"{run.name} failed in cell In [{error.exec_count}]: {error.ename}: {error.evalue}. "
            f"The executed notebook is kept: {executed}"
        ) from error
    result = {
        "experiment": run.experiment,
        "run": run.name,
        "profile": run.profile,
        "parameters": run.parameters,
        "inputs": run.inputs(),
        "models": {name: inputs.model_id(name) for name in run.weights},
        "versions": {name: version(name) for name in PACKAGES},
        "seconds": round(time.monotonic() - started, 1),
        **collected(notebook, run.name),
    }
    check(result)
    return result


def quieten(folder: Path) -> None:
    """Kernels with settings of their own, which log nothing but errors."""
    settings = folder / "profile_default" / "ipython_kernel_config.py"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("get_config().IPKernelApp.log_level = 40\n")
    os.environ |= {"IPYTHONDIR": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}


def collected(notebook: NotebookNode, name: str) -> dict[str, Any]:
    """What an executed notebook displayed as its measurements, exactly once."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    found = [o["data"][MEASURED] for o in outputs if MEASURED in o.get("data", {})]
    if len(found) != 1:
        raise UserError(
            f"{name}: expected one cell that ends with the measurements, found {len(found)}"
        )
    return found[0]


def check(result: Mapping[str, Any]) -> None:
    """Raise `UserError` if a result does not follow result.schema.json."""
    schema = json.loads((HERE / "result.schema.json").read_text())
    error = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(schema).iter_errors(result)
    )
    if error:
        raise UserError(f"{result.get('run')}: {error.json_path}: {error.message}")


def to_text(result: Mapping[str, Any]) -> str:
    """A result as JSON, one measurement a line."""
    parts = []
    for key, value in result.items():
        if key in ("values", "series") and value:
            rows = ",\n".join(f"  {json.dumps(n)}: {json.dumps(v)}" for n, v in value.items())
            parts.append(f" {json.dumps(key)}: {{\n{rows}\n }}")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


# --- the report -----------------------------------------------------------------------------


def report(profile: str, results: Path, committed: Path | None = None) -> str:
    """All runs of a profile and what they measured, as Markdown; beside the committed values."""
    found = read_results(results)
    earlier = read_results(committed) if committed else {}
    titles = ["value", "measured", "spread", "n", *(["committed"] if committed else [])]
    lines = ["# All runs and their values", "", _introduction(profile, grid(profile), found), ""]
    for name, result in found.items():
        old = earlier.get(name, {}).get("values", {})
        lines += [f"## {name}", "", _made_from(result), "", _table_row(titles)]
        lines.append(_table_row(["---"] * len(titles)))
        for key, value in result["values"].items():
            cells = [key, shown(value), _spread(value), str(value["n"])]
            lines.append(_table_row([*cells, *([against(value, old, key)] if committed else [])]))
        lines.append("")
    return "\n".join(lines)


def _table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _introduction(profile: str, runs: Mapping[str, Run], found: Mapping[str, Any]) -> str:
    missing = [name for name in runs if name not in found]
    smoke = (
        "**Smoke values: tiny pictures that stand in for the data sets; they show that everything "
        "runs, nothing else.** "
    )
    kind = smoke if profile == "smoke" else ""
    without = f" Without a result: {', '.join(missing)}." if missing else ""
    return f"{kind}Profile {profile}: {len(found)} of {len(runs)} runs have a result.{without}"


def _made_from(result: Mapping[str, Any]) -> str:
    own = {key: value for key, value in result["parameters"].items() if value is not None}
    chosen = ", ".join(f"{key} = {json.dumps(value)}" for key, value in own.items()) or "none"
    models = ", ".join(f"{name} {key}" for name, key in result["models"].items()) or "none shipped"
    return f"Parameters: {chosen}. Model: {models}. {result['seconds']} s."


def shown(value: Mapping[str, Any]) -> str:
    """A measured value with its unit, four digits."""
    if value["value"] is None:
        return "not reached"
    return f"{_digits(value['value'])} {value['unit']}".rstrip()


def _digits(number: float) -> str:
    if number == int(number) and abs(number) < 1e7:
        return f"{int(number):,}"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def _spread(value: Mapping[str, Any]) -> str:
    return "" if value.get("spread") is None else _digits(value["spread"])


def against(value: Mapping[str, Any], old: Mapping[str, Any], key: str) -> str:
    """The committed value, and whether the new one lies within its tolerance."""
    if key not in old:
        return ""
    return f"{shown(old[key])}{'' if agrees(value, old[key]) else ' **differs**'}"


def agrees(value: Mapping[str, Any], committed: Mapping[str, Any]) -> bool:
    """Whether a value lies within the tolerance of the committed one."""
    new, then = value["value"], committed["value"]
    if new is None or then is None:
        return new is then
    return abs(new - then) <= committed["tolerance"]


def differing(results: Path, committed: Path) -> list[str]:
    """The values of new results that lie outside the tolerance of the committed ones."""
    found, earlier = read_results(results), read_results(committed)
    return [
        f"{name}: {key} is {shown(value)}, committed {shown(earlier[name]['values'][key])}"
        for name, result in found.items()
        if name in earlier
        for key, value in result["values"].items()
        if key in earlier[name]["values"] and not agrees(value, earlier[name]["values"][key])
    ]


# --- the command line -----------------------------------------------------------------------


def _one(options: argparse.Namespace) -> None:
    run = grid(options.profile)[options.run]
    quieten(options.to.resolve() / "ipython")
    result = execute(run, options.to.resolve(), options.data.resolve())
    out = options.to / "results" / f"{run.name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, to_text(result).encode())
    print(f"{run.name}: {result['seconds']} s", file=sys.stderr, flush=True)


def _report(options: argparse.Namespace) -> None:
    results = options.to / "results"
    page = options.to / "report.md"
    committed = RESULTS if options.profile == "full" else None
    page.write_text(report(options.profile, results, committed))
    missing = [name for name in grid(options.profile) if name not in read_results(results)]
    for line in differing(results, committed) if committed else []:
        print(f"differs: {line}")
    for name in missing:
        print(f"failed or not run: {name}, see {options.to / 'executed' / name}.ipynb")
    print(f"report: {page}")


def _keep(options: argparse.Namespace) -> None:
    for path in sorted((options.to / "results").glob("*.json")):
        result = json.loads(path.read_text())
        check(result)
        if result["profile"] != "full":
            raise UserError(f"{path.name} is of profile {result['profile']}; keep only full")
        RESULTS.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, RESULTS / path.name)
        made = options.to / "files" / path.stem
        for file in (*_files(made / "assets"), *_files(made / "results")):  # no trained twins
            target = BOOK / file.relative_to(made)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    named: dict[str, set[str]] = {}
    for result in read_results(RESULTS).values():
        for part, name in result["inputs"]["behaviour"].items():
            named.setdefault(part, set()).add(name)
    lost = inputs.keep_fingerprints(named)
    if lost:
        raise UserError(
            f"code has changed since the results were made with {', '.join(lost)}: "
            "run make experiments PROFILE=full again"
        )
    print(f"kept in {RESULTS.relative_to(ROOT)}; commit it")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def main(argv: Sequence[str] | None = None) -> int:
    """Do one step; return 0, or 1 after saying what is wrong."""
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(required=True)
    for name, step in (("one", _one), ("report", _report), ("keep", _keep)):
        command = steps.add_parser(name)
        command.add_argument("--to", type=Path, required=True, help="folder of the profile")
        command.set_defaults(step=step)
        if name != "keep":
            command.add_argument("--profile", choices=PROFILES, required=True)
        if name == "one":
            command.add_argument("run")
            command.add_argument("--data", type=Path, required=True)
    options = parser.parse_args(argv)
    return exit_status("experiments", partial(options.step, options))


if __name__ == "__main__":
    sys.exit(main())
