"""Grade a folder of submissions: each in a sandbox with limits, each by a process of the grader's.

    python -m book.course.grading --assignment metrics SUBMISSIONS --out grades.csv

1. For each file the command starts one process of its own (`book.course.examiner`), which reads the
   notebook, refuses what is not a filled-in copy of this assignment, and examines it: the student's
   code runs in a further process, in the safest sandbox that works here (`book.course.sandbox`),
   and the checks in the examiner's.
2. The command watches what both and all below them take, and ends them when a limit is passed. The
   report is the examiner's; nothing that a submission prints or writes becomes part of it.
3. After each file the table is written anew, so it is complete at any time. A file that has a row
   already is not graded again, unless it or the checks changed. Points that a person typed into the
   table stay there, and count.
"""

import argparse
import hashlib
import html
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import psutil

from book.command import UserError, exit_status
from book.course import examiner, sandbox
from book.course import submission as told
from book.course.exports import number, read_csv, submissions_in, write_csv
from book.course.sandbox import MOST_PROCESSES, Limits, Sandbox
from book.course.submission import STATUSES, Assignment, refusal
from book.tools import paths

PAUSE = 0.3  # seconds between two looks at a submission
MEGABYTE = 2**20

Row = dict[str, str]


def key_of(submission: Path, assignment: Assignment) -> str:
    """A word that changes with the file and with the tests."""
    content = ""  # of a link or of what cannot be opened, which its row will say
    if not submission.is_symlink():
        with suppress(OSError), submission.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{content[:12]}-{assignment.version}"


def one_line(text: str) -> str:
    """A message for a cell of a table; it must not begin like a formula."""
    line = " ".join(re.sub(r"\x1b\[[\d;]*m", "", text).split())
    line = "".join(char for char in line if char.isprintable())[: told.LONGEST_MESSAGE]
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line


def grade(
    submission: Path,
    assignment: Assignment,
    place: Sandbox,
    only: Iterable[str] = (),
    stopped: Event | None = None,
) -> dict[str, Any]:
    """Grade one file: status, points, message, flags, what each check said, seconds.

    `stopped` ends it early, when it is set.
    """
    start = time.monotonic()
    reading, writing = os.pipe()
    request = {
        "name": assignment.name,
        "course": str(assignment.folder.parent),
        "submission": str(submission.resolve()),
        "sandbox": place.kind,
        "seconds": place.limits.seconds,
        "megabytes": place.limits.megabytes,
        "only": list(only),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", examiner.__name__, json.dumps(request), str(writing)],
        cwd=paths.ROOT,
        pass_fds=[writing],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with ThreadPoolExecutor(1) as reader:
        said = reader.submit(Path(f"/dev/fd/{reading}").read_bytes)
        try:
            broken = watch(process, place.limits, stopped or Event())
        finally:
            end(process)
        lines = said.result().splitlines()
    os.close(reading)
    result = broken or understood(b"".join(lines[-1:]), assignment, only)
    flags = flags_in(lines[:1])
    return result | {"flags": flags, "seconds": round(time.monotonic() - start, 1)}


def watch(
    process: subprocess.Popen[bytes], limits: Limits, stopped: Event
) -> dict[str, Any] | None:
    """Wait for the end; return None, or what to say of the limit that was passed."""
    end_of_time = time.monotonic() + limits.seconds
    while process.poll() is None:
        if time.monotonic() > end_of_time:
            after = f"ended after {limits.seconds:g} s"
            return refusal(told.SLOW, f"{after}; is there an endless loop?")
        family = started_by(process)
        if len(family) > MOST_PROCESSES:
            most = f"{MOST_PROCESSES} are allowed"
            return refusal(told.MANY, f"ended at {len(family)} processes; {most}")
        if memory_of([psutil.Process(process.pid), *family]) > limits.megabytes * MEGABYTE:
            return refusal(told.LARGE, f"ended when it took more than {limits.megabytes} MB")
        if stopped.wait(PAUSE):
            return refusal(told.FAILED, "grading was interrupted")
    return None


def started_by(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All processes below an examiner; those that lost their parent are its children."""
    with suppress(psutil.Error):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def memory_of(family: Iterable[psutil.Process]) -> int:
    """Bytes that processes hold together."""
    total = 0
    for process in family:
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def end(process: subprocess.Popen[bytes]) -> None:
    """End all below an examiner until nothing is left, then the examiner itself."""
    with suppress(psutil.Error):
        parent = psutil.Process(process.pid)
        parent.suspend()  # it starts nothing new meanwhile
        examiner.end_below(parent)
    process.kill()
    process.wait()


def flags_in(lines: list[bytes]) -> str:
    """What an examiner told before it ran anything of the notebook."""
    with suppress(ValueError, TypeError, AttributeError):
        return "; ".join(str(json.loads(line).get("flags", "")) for line in lines)
    return ""


def understood(said: bytes, assignment: Assignment, only: Iterable[str] = ()) -> dict[str, Any]:
    """Read an examiner's report; what is none is the row of this submission, and of no other."""
    try:
        result: dict[str, Any] = json.loads(said)
        points = result["points"]
        wanted = {name: assignment.points[name] for name in only} or assignment.points
        possible = points is None or (
            points.keys() == wanted.keys()
            and all(0 <= points[name] <= most + 1e-9 for name, most in wanted.items())
        )
        whole = result["status"] in STATUSES and isinstance(result["message"], str)
    except (ValueError, TypeError, KeyError, AttributeError):
        possible = whole = False
    if not possible or not whole:
        return refusal(told.FAILED, "the examiner left no report; was it ended from outside?")
    return result


# --- the table ----------------------------------------------------------------------------------


def hand_columns(assignment: Assignment) -> list[str]:
    """The columns that a person fills in."""
    return [name for name in assignment.header() if " (by hand, of " in name]


def row_of(name: str, key: str, result: dict[str, Any], assignment: Assignment, before: Row) -> Row:
    """A line of the table. Without points its cells stay empty: a person has to look.

    `before` is the row of an earlier call: points by hand stay, and so do those of questions that
    were not graded now.
    """
    row = dict.fromkeys(assignment.header(), "") | {"file": one_line(name), "key": key}
    points = result["points"]
    for question in assignment.points:
        if points is not None and question in points:
            row[question] = f"{points[question]:g}"
        elif points is not None:
            row[question] = before[question]
    row |= {name: before.get(name, "") for name in hand_columns(assignment)}
    row |= {"status": result["status"], "seconds": str(result["seconds"])}
    row |= {"flags": one_line(result["flags"]), "message": one_line(result["message"])}
    return added_up(row, assignment)


def added_up(row: Row, assignment: Assignment) -> Row:
    """The row with its total: all points that are there, those typed by hand included."""
    every = [*assignment.points, *hand_columns(assignment)]
    most = [*assignment.points.values(), *assignment.by_hand.values()]
    total = 0.0
    for name in every:
        try:
            total += number(row[name]) if row[name].strip() else 0
        except ValueError:
            where = f"{row['file']} in {name}"
            raise UserError(f"expected points for {where}, got {row[name]!r}") from None
    there = all(row[name] for name in assignment.points)
    return row | {"total": f"{total:g}" if there else "", "possible": f"{sum(most):g}"}


def rows_before(table: Path, assignment: Assignment) -> dict[str, Row]:
    """Read the rows of an earlier call by their files, as a spreadsheet may have left them."""
    if not table.exists():
        return {}
    rows, _ = read_csv(table)
    header = assignment.header()
    if not rows or rows[0] != header:
        raise UserError(
            f"expected the table of this assignment in {table}, found other columns; "
            "give another name with --out"
        )
    broken = [values[0] for values in rows[1:] if len(values) != len(header)]
    if broken:
        raise UserError(f"expected {len(header)} columns in {table}; not so for {broken[0]}")
    named = (dict(zip(header, values, strict=True)) for values in rows[1:])
    return {row["file"]: added_up(row, assignment) for row in named}


def write_table(table: Path, header: list[str], rows: Iterable[Row]) -> None:
    """Write the table at one stroke, so that it is never half there."""
    write_csv(table, [header, *([row[name] for name in header] for row in rows)])


def grade_folder(
    folder: Path,
    assignment: Assignment,
    table: Path,
    place: Sandbox,
    *,
    jobs: int = 1,
    again: bool = False,
    question: str | None = None,
    feedback: Path | None = None,
) -> list[Row]:
    """Grade all that has no row yet; return the rows in the order of the files."""
    header, files = assignment.header(), submissions_in(folder)
    if question is not None and question not in assignment.points:
        raise UserError(f"expected one of {', '.join(assignment.points)}, got {question!r}")
    before = rows_before(table, assignment)
    names = [path.relative_to(folder).as_posix() for path in files]
    keys = {name: key_of(path, assignment) for name, path in zip(names, files, strict=True)}
    old = {name: before.pop(one_line(name), {}) for name in names}
    rows = {
        name: row
        for name, row in old.items()
        if not again and question is None
        if row.get("key") == keys[name] and row["status"] != told.FAILED
    }
    waiting = [name for name in names if name not in rows]
    print(f"{len(files)} submissions, {len(rows)} of them graded before", flush=True)
    if before:
        print(f"{len(before)} rows of files that are no longer there stay in {table}")

    def all_rows() -> list[Row]:
        there = {name: rows.get(name) or old[name] for name in names}
        return [*(row for row in there.values() if row), *before.values()]

    stopped = Event()

    def graded(name: str) -> tuple[str, dict[str, Any]]:
        complete = all(old[name].get(q) for q in assignment.points)
        only = [question] if question and complete else []
        return name, grade(folder / name, assignment, place, only, stopped)

    write_table(table, header, all_rows())
    with ThreadPoolExecutor(jobs) as pool, ExitStack() as interrupted:
        interrupted.callback(pool.shutdown, wait=False, cancel_futures=True)
        interrupted.callback(stopped.set)
        done = as_completed([pool.submit(graded, name) for name in waiting])
        for count, (name, result) in enumerate((task.result() for task in done), start=1):
            rows[name] = row_of(name, keys[name], result, assignment, old[name])
            write_table(table, header, all_rows())
            if feedback:
                page = feedback / f"{name}.html"
                page.parent.mkdir(parents=True, exist_ok=True)
                page.write_text(feedback_page(rows[name], result, assignment), encoding="utf-8")
            row = rows[name]
            points = f", {row['total']} of {row['possible']} points" if row["total"] else ""
            flagged = f"; look at it: {row['flags']}" if row["flags"] else ""
            line = f"[{count}/{len(waiting)}] {one_line(name)}: {row['status']}{points}{flagged}"
            print(line, flush=True)
    return [rows[name] for name in names]


# --- what students read --------------------------------------------------------------------------

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 45rem; margin: 2rem auto }}
li {{ margin: 0.3rem 0 }}
</style>
<h1>{title}</h1>
<p>{total}</p>
{questions}
</html>
"""


def feedback_page(row: Row, result: dict[str, Any], assignment: Assignment) -> str:
    """What a student reads of their work: nothing of hidden tests but how many passed."""
    pieces = []
    for name, said in result["checks"].items():
        got, most = row[name], f"{assignment.points[name]:g}"
        pieces.append(f"<h2>{html.escape(name)}: {got} of {most} points</h2>\n<ul>")
        shown = [check for check in said if not check["hidden"]]
        wrong = [check["message"] for check in shown if check["message"] is not None]
        pieces += [f"<li>{html.escape(message)}</li>" for message in wrong]
        if not wrong:
            pieces.append("<li>All checks that you can see passed.</li>")
        hidden = [check["message"] is None for check in said if check["hidden"]]
        if hidden:
            passed = f"{sum(hidden)} of {len(hidden)}"
            further = "Further tests, on other pictures and numbers"
            pieces.append(f"<li>{further}: {passed} passed.</li>")
        pieces.append("</ul>")
    for name in hand_columns(assignment):
        question, most = name.split(" (by hand, of ")
        got = row[name] or "not read yet;"
        pieces.append(f"<h2>{html.escape(question)}: {got} of {most.rstrip(')')} points</h2>")
    if not result["checks"]:
        pieces.append(f"<p>{html.escape(STATUSES[row['status']])}</p>")
    elif row["status"] == told.ERRORS:
        pieces.append(f"<p>Some cells failed. The first: {html.escape(result['message'])}</p>")
    total = f"{row['total']} of {row['possible']} points" if row["total"] else "No points yet."
    title, questions = f"Assignment {assignment.name}", "\n".join(pieces)
    return PAGE.format(title=title, total=total, questions=questions)


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m book.course.grading", description="Grade a folder."
    )
    add = parser.add_argument
    add("submissions", type=Path, help="folder of .ipynb or .zip files, one for each student")
    add("--assignment", required=True, help="its name, such as metrics")
    add("--out", type=Path, required=True, help="the table to write, .csv")
    add("--feedback", type=Path, help="folder for pages that students read, one for each")
    add("--sandbox", choices=list(sandbox.PROMISES), help="default: the safest that works here")
    add("--question", help="grade this question again, and leave the points of all others")
    add("--seconds", type=float, default=Limits.seconds, help="for one (default %(default)s)")
    add("--megabytes", type=int, default=Limits.megabytes, help="for one (default %(default)s)")
    add("--jobs", type=int, default=1, help="how many at a time (default %(default)s)")
    add("--again", action="store_true", help="grade also what has a row")
    return parser.parse_args(argv)


def grade_as_asked(options: argparse.Namespace) -> None:
    """Grade a folder and count the statuses."""
    if sys.platform == "win32":
        raise UserError("expected Linux or macOS, got Windows; run it in WSL")
    assignment = Assignment.read(options.assignment)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended like by Ctrl-C
    try:
        submissions_in(options.submissions)
        place = sandbox.best(options.sandbox, Limits(options.seconds, options.megabytes))
        print(f"{place.kind}: {place.promise}", flush=True)
        rows = grade_folder(
            options.submissions,
            assignment,
            options.out,
            place,
            jobs=options.jobs,
            again=options.again,
            question=options.question,
            feedback=options.feedback,
        )
    except OSError as error:
        raise UserError(str(error)) from error
    except KeyboardInterrupt:
        raise UserError(f"interrupted; {options.out} has what is done, call again") from None
    for status, meaning in STATUSES.items():
        if count := [row["status"] for row in rows].count(status):
            print(f"{count:4d} {status}: {meaning}")


def main(argv: list[str] | None = None) -> int:
    """Grade a folder; return 0, or 1 after saying what is wrong."""
    return exit_status("grading", partial(grade_as_asked, arguments_of(argv)))


if __name__ == "__main__":
    sys.exit(main())
