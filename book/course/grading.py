"""Grade a folder of submissions, each in a process of its own with limits on time and memory.

    python -m book.course.grading --assignment metrics SUBMISSIONS --out grades.csv

1. The command starts one process (`book.course.submission`) for each file of the folder (.ipynb, or
   .zip with one .ipynb in it), watches what it and all that it starts take, and ends them when a
   limit is passed.
2. That process reads the notebook, refuses what is not a filled-in copy of this assignment, and
   lets Otter run it against the autograder that `make course` made.
3. After each file the table is written anew, so it is complete at any time. A file that has a row
   already is not graded again, unless it or the autograder changed.

The limits stop accidents and pranks. They are no sandbox: a submission can read what the account
that grades can read, so grade in an account, a container or a machine that has nothing to lose.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from book.command import UserError, exit_status
from book.course import submission as child
from book.course.submission import STATUSES, Assignment, Limits, refusal
from book.tools import paths
from book.tools.records import files_under
from mrdcae_lite.core.files import write_atomically

TOKEN = "COURSE_SUBMISSION"  # in the environment of all that a submission starts
PAUSE = 0.3  # seconds between two looks at a submission


def submissions_in(folder: Path) -> list[Path]:
    """List the files below a folder.

    Hidden ones, copies that Jupyter keeps, and what lies beside the notebook in a student's own
    folder do not count.
    """
    if not folder.is_dir():
        raise UserError(f"expected a folder of submissions, found none at {folder}")
    found = files_under(folder)
    kept = [p for p in found if not any(n[0] in "._" for n in p.relative_to(folder).parts)]
    if not kept:
        raise UserError(f"expected submissions (.ipynb or .zip) in {folder}, found no file")
    answered = {path.parent for path in kept if path.suffix in child.NOTEBOOKS} - {folder}
    return [p for p in kept if p.suffix in child.NOTEBOOKS or p.parent not in answered]


def key_of(submission: Path, assignment: Assignment) -> str:
    """A word that changes with the file and with the tests."""
    with submission.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{content[:12]}-{assignment.version}"


def one_line(text: str) -> str:
    """A message for a cell of a table; it must not begin like a formula."""
    line = " ".join(re.sub(r"\x1b\[[\d;]*m", "", text).split())
    line = "".join(char for char in line if char.isprintable())[: child.LONGEST_MESSAGE]
    return f"'{line}" if line[:1] in "=+-@" else line


def grade(submission: Path, assignment: Assignment, limits: Limits) -> dict[str, Any]:
    """Grade one file in a process of its own: status, points, message, feedback, seconds."""
    start, token = time.monotonic(), secrets.token_hex(16)
    reading, writing = os.pipe()
    arguments = [assignment.name, assignment.folder.parent, submission.resolve()]
    arguments += [limits.seconds, limits.megabytes, writing]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        process = subprocess.Popen(
            [sys.executable, "-m", child.__name__, *map(str, arguments)],
            cwd=paths.ROOT,
            env=environment(Path(scratch)) | {TOKEN: token},
            pass_fds=[writing],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        try:
            broken = watch(process, token, limits)
        finally:
            end(token)
            process.wait()
        with os.fdopen(reading, encoding="utf-8", errors="replace") as answer:
            said = answer.read()
    result = broken or understood(said, assignment)
    return result | {"seconds": round(time.monotonic() - start, 1)}


def environment(scratch: Path) -> dict[str, str]:
    """The few variables a submission sees; its home is a folder that is thrown away."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    quiet = {"PIP_NO_INDEX": "1", "PIP_NO_INPUT": "1", "MPLBACKEND": "agg"}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    places = {"HOME": str(scratch), "TMPDIR": str(scratch), "PYTHONPATH": str(paths.ROOT)}
    return kept | quiet | threads | places


def watch(process: subprocess.Popen[bytes], token: str, limits: Limits) -> dict[str, Any] | None:
    """Wait for the end; return None, or what to say of the limit that was passed."""
    end_of_time = time.monotonic() + limits.seconds
    while process.poll() is None:
        if time.monotonic() > end_of_time:
            return refusal(
                child.SLOW, f"ended after {limits.seconds:g} s; is there an endless loop?"
            )
        family = started_by(token)
        if len(family) > child.MOST_PROCESSES:
            return refusal(
                child.MANY, f"ended at {len(family)} processes; {child.MOST_PROCESSES} are allowed"
            )
        if memory_of(family) > limits.megabytes * child.MEGABYTE:
            return refusal(child.LARGE, f"ended when it took more than {limits.megabytes} MB")
        time.sleep(PAUSE)
    return None


def started_by(token: str) -> list[psutil.Process]:
    """All processes that descend from a submission, also those that left its session."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(TOKEN) == token:
                found.append(process)
    return found


def memory_of(family: Iterable[psutil.Process]) -> int:
    """Bytes that processes hold together."""
    total = 0
    for process in family:
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def end(token: str) -> None:
    """End all that a submission started, until nothing of it is left."""
    while family := started_by(token):
        for process in family:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.02)


def understood(said: str, assignment: Assignment) -> dict[str, Any]:
    """Read what the process of a submission said, and believe only what is possible."""
    if not said:
        return refusal(child.CRASHED, "the grading process ended without a word")
    result: dict[str, Any] = json.loads(said)
    points = result["points"]
    if points is None:
        return result
    possible = points.keys() == assignment.points.keys() and all(
        0 <= points[name] <= most for name, most in assignment.points.items()
    )
    if not possible:
        message = f"expected points for {', '.join(assignment.points)}; got {points}"
        return refusal(child.FAILED, message)
    return result


def row_of(submission: str, key: str, result: dict[str, Any], assignment: Assignment) -> list[str]:
    """A line of the table. Without points its cells stay empty: a person has to look."""
    points = result["points"]
    each = ["" if points is None else f"{points[name]:g}" for name in assignment.points]
    total = "" if points is None else f"{sum(points.values()):g}"
    ends = [total, f"{sum(assignment.points.values()):g}", str(result["seconds"])]
    hand = [""] * len(assignment.by_hand)
    start = [one_line(submission), result["status"]]
    return [*start, *each, *hand, *ends, one_line(result["message"]), key]


def rows_kept(table: Path, header: list[str]) -> dict[tuple[str, str], list[str]]:
    """Read the rows of an earlier call that need no second run."""
    if not table.exists():
        return {}
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows or rows[0] != header:
        raise UserError(
            f"expected the table of this assignment in {table}, found other columns; "
            "give another name with --out, or --again to replace it"
        )
    return {(row[0], row[-1]): row for row in rows[1:] if row[1] != child.FAILED}


def write_table(table: Path, header: list[str], rows: Iterable[list[str]]) -> None:
    """Write the table at one stroke, so that it is never half there."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    write_atomically(table, text.getvalue().encode())


def grade_folder(
    folder: Path,
    assignment: Assignment,
    table: Path,
    *,
    limits: Limits,
    jobs: int = 1,
    again: bool = False,
    feedback: Path | None = None,
) -> list[list[str]]:
    """Grade all that has no row yet; return the rows in the order of the files."""
    header, files = assignment.header(), submissions_in(folder)
    kept = {} if again else rows_kept(table, header)
    names = [path.relative_to(folder).as_posix() for path in files]
    keys = {name: key_of(path, assignment) for name, path in zip(names, files, strict=True)}
    places = {name: (one_line(name), keys[name]) for name in names}
    rows = {name: kept[place] for name, place in places.items() if place in kept}
    waiting = [name for name in names if name not in rows]
    print(f"{len(files)} submissions, {len(rows)} of them graded before", flush=True)

    def graded(name: str) -> tuple[str, dict[str, Any]]:
        return name, grade(folder / name, assignment, limits)

    with ThreadPoolExecutor(jobs) as pool:
        done = as_completed([pool.submit(graded, name) for name in waiting])
        for number, (name, result) in enumerate((task.result() for task in done), start=1):
            rows[name] = row_of(name, keys[name], result, assignment)
            write_table(table, header, [rows[n] for n in names if n in rows])
            if feedback:
                place = feedback / f"{name}.txt"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(result["feedback"] + "\n", encoding="utf-8")
            total = dict(zip(header, rows[name], strict=True))["total"]
            points = f", {total} points" if total else ""
            place_in_line = f"[{number}/{len(waiting)}]"
            print(f"{place_in_line} {one_line(name)}: {result['status']}{points}", flush=True)
    return [rows[name] for name in names]


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m book.course.grading", description="Grade a folder."
    )
    add = parser.add_argument
    add("submissions", type=Path, help="folder of .ipynb or .zip files, one for each student")
    add("--assignment", required=True, help="its name, such as metrics")
    add("--out", type=Path, required=True, help="the table to write, .csv")
    add("--feedback", type=Path, help="folder for what the visible checks say, a file for each")
    add("--seconds", type=float, default=Limits.seconds, help="for one (default %(default)s)")
    add("--megabytes", type=int, default=Limits.megabytes, help="for one (default %(default)s)")
    add("--jobs", type=int, default=1, help="how many at a time (default %(default)s)")
    add("--again", action="store_true", help="grade also what has a row")
    return parser.parse_args(argv)


def grade_as_asked(options: argparse.Namespace) -> None:
    """Grade a folder and count the statuses."""
    if sys.platform == "win32":
        raise UserError("expected Linux or macOS, got Windows; run it in WSL")
    try:
        rows = grade_folder(
            options.submissions,
            Assignment.read(options.assignment),
            options.out,
            limits=Limits(options.seconds, options.megabytes),
            jobs=options.jobs,
            again=options.again,
            feedback=options.feedback,
        )
    except OSError as error:
        raise UserError(str(error)) from error
    except KeyboardInterrupt:
        raise UserError(f"interrupted; {options.out} has what is done, call again") from None
    for status, meaning in STATUSES.items():
        if count := [row[1] for row in rows].count(status):
            print(f"{count:4d} {status}: {meaning}")


def main(argv: list[str] | None = None) -> int:
    """Grade a folder; return 0, or 1 after saying what is wrong."""
    return exit_status("grading", partial(grade_as_asked, arguments_of(argv)))


if __name__ == "__main__":
    sys.exit(main())
