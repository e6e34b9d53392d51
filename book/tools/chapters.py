"""Run the chapters, each once: for its page, for its solutions, and for the outputs it promises.

`answered` puts the solutions of the exercises into a copy of a chapter in _build/answered. nbval
runs the copy, each cell a test: no cell may fail, and a cell tagged `nbval-check-output` must give
the output that is committed with it. What passed is kept in _build/executed without the solutions,
with the time and memory it took, and is used again until the chapter, its solutions, the package
with its weights, the data manifests, the results, the locked environment or this program changes.
"""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from book.command import UserError
from book.tools import figures, nbval_outputs, paths
from book.tools.records import digest, files_under, remember, remembered

TARGET_MEGABYTES = 1000
"""What Binder has at least. It is reported, not judged: allocators differ between machines."""


@dataclass(frozen=True)
class Run:
    """What executing one chapter took."""

    seconds: float
    peak_megabytes: float
    cores: int

    def line(self) -> str:
        """Say the measurement in words, as it stands at the top of the chapter."""
        took = f"{self.seconds:.0f} s, {self.peak_megabytes:.0f} MB on {self.cores} cores"
        return f"*Measured when this page was built: {took}.*"

    def against_target(self) -> str:
        """Say the measurement beside its target, for the terminal."""
        took = f"{self.seconds:.1f} s, {self.peak_megabytes:.0f} MB"
        return f"{took} (the target is {TARGET_MEGABYTES} MB)"


def sources() -> list[Path]:
    """List all chapters as they are committed."""
    return sorted(paths.CHAPTERS.glob("*.ipynb"))


def executed(source: Path) -> Path:
    """Return where the executed notebook of a chapter is kept."""
    return paths.EXECUTED / source.name


def shared_inputs() -> list[Path]:
    """List what every chapter depends on, whatever it says itself."""
    data = paths.ROOT / "data_scripts"
    return [
        *files_under(paths.PACKAGE),
        *files_under(paths.RESULTS),
        *(path for path in files_under(data) if path.suffix != ".py"),
        paths.ROOT / "requirements.lock",
        *(Path(str(m)).resolve() for m in (__file__, figures.__file__, nbval_outputs.__file__)),
    ]


def key_of(source: Path, shared: str) -> str:
    """Hash all that a chapter depends on; `shared` is the digest of the shared inputs."""
    own = [source, paths.SOLUTIONS / source.name]
    return f"{shared}-{digest(path for path in own if path.exists())}"


def run_of(source: Path, key: str) -> Run | None:
    """Return what running a chapter took, if it ran with just these inputs before."""
    facts = remembered(executed(source).with_suffix(".json"), key)
    return Run(**facts) if facts and executed(source).exists() else None


def answered(chapter: NotebookNode, solutions: NotebookNode) -> NotebookNode:
    """Put each solution behind the cell that its metadata names."""
    known = {cell.id for cell in chapter.cells}
    for solution in solutions.cells:
        if solution.metadata.get("after") not in known:
            raise UserError(
                f"expected the solution {solution.id} to name a cell of its chapter in its "
                f"metadata, found after={solution.metadata.get('after')!r}"
            )
    cells: list[NotebookNode] = []
    for cell in chapter.cells:
        cells += [cell, *(one for one in solutions.cells if one.metadata.after == cell.id)]
    return NotebookNode({**chapter, "cells": cells})


def write_answered(source: Path) -> Path:
    """Write a chapter with its solutions where nothing else lies; return the path."""
    chapter, solutions = nbformat.read(source, as_version=4), paths.SOLUTIONS / source.name
    if solutions.exists():
        chapter = answered(chapter, nbformat.read(solutions, as_version=4))
    target = paths.ANSWERED / source.name
    nbformat.write(chapter, target)
    return target


def kernel() -> dict[str, str]:
    """Return variables for a kernel that draws figures for dark pages, too, and keeps its log."""
    settings = paths.BUILD / "ipython" / "profile_default" / "ipython_kernel_config.py"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(
        "get_config().IPKernelApp.capture_fd_output = False  # what C++ libraries log\n"
        f"get_config().InteractiveShellApp.extensions = [{figures.__name__!r}]\n"
    )
    found = os.pathsep.join(filter(None, (str(paths.ROOT), os.environ.get("PYTHONPATH"))))
    own = {"IPYTHONDIR": str(paths.BUILD / "ipython"), "PYTHONPATH": found}
    return {"TF_CPP_MIN_LOG_LEVEL": "3", **own}


def execute(source: Path, key: str) -> Run:
    """Run one chapter with its solutions and remember what it took."""
    target = executed(source)
    record, log = target.with_suffix(".json"), target.with_suffix(".log")
    target.parent.mkdir(parents=True, exist_ok=True)
    for path in (target, record):
        path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "--config-file", str(paths.ROOT / "pyproject.toml")]
    command += ["-p", nbval_outputs.__name__, "-p", "no:cacheprovider", "--executed", str(target)]
    command += ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "86400"]
    command += ["--nbval-kernel-startup-timeout", str(nbval_outputs.PATIENCE)]
    command += ["-q", "--exitfirst", "--no-header", "--color=no", str(write_answered(source))]
    start = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=paths.ROOT, env=os.environ | kernel(), stdout=output, stderr=output
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()  # its kernel looks after its parent, and ends, too
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise UserError(f"chapter {source.stem} failed; nbval says:\n{log.read_text()}")
    kilobyte = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
    megabytes = usage.ru_maxrss * kilobyte / 1e6  # of the largest process
    seconds = time.monotonic() - start
    run = Run(round(seconds, 1), round(megabytes, 1), os.cpu_count() or 1)
    remember(record, key, **asdict(run))
    return run


def run_all() -> dict[Path, Run]:
    """Execute every chapter that changed; return what each took."""
    shutil.rmtree(paths.ANSWERED, ignore_errors=True)
    paths.ANSWERED.mkdir(parents=True)
    shared, runs = digest(shared_inputs()), {}
    for number, source in enumerate(sources(), start=1):
        place, key = f"[{number}/{len(sources())}] {source.stem}", key_of(source, shared)
        run = run_of(source, key)
        if run is None:
            print(f"{place}: running ...", flush=True)
            run = execute(source, key)
            print(f"{place}: {run.against_target()}", flush=True)
        else:
            print(f"{place}: unchanged", flush=True)
        runs[source] = run
    return runs
