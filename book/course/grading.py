"""Grade a folder of submissions, each in a process of its own with limits on time and memory.

    python -m book.grading --assignment metrics SUBMISSIONS --out grades.csv

1. The command starts one process for each file of the folder (.ipynb, or .zip with one .ipynb in
   it), watches what it and all that it starts take, and ends them when a limit is passed.
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
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mrdcae_lite.images import write_atomically

ROOT = Path(__file__).resolve().parent.parent
COURSE = ROOT / "_build" / "course"
TOKEN = "COURSE_SUBMISSION"  # in the environment of all that a submission starts
MEGABYTE = 2**20
LARGEST_NOTEBOOK = 30 * MEGABYTE
LARGEST_FILE = 256 * MEGABYTE  # that a submission may write
RESERVED = 4096 * MEGABYTE  # libraries reserve addresses that they never use
MOST_PROCESSES = 40
NOTEBOOKS = {".ipynb", ".zip"}
CHECK = re.compile(r"""grader\.check\(["']([\w-]+)["']""")
PAUSE = 0.3  # seconds between two looks at a submission
LONGEST_MESSAGE, LONGEST_FEEDBACK = 300, 10_000

GRADED, ERRORS, EMPTY = "graded", "graded, with errors", "empty"
CRASHED, SLOW, LARGE, MANY = "crashed", "too slow", "too much memory", "too many processes"
NO_NOTEBOOK, OTHER, OLD = "not a notebook", "another assignment", "old version"
FAILED = "not graded"
STATUSES = {
    GRADED: "Every cell ran. The points are final.",
    ERRORS: "Some cells failed; the message names the first. What did run has its points.",
    EMPTY: "Nothing was filled in: no points.",
    CRASHED: "The notebook ended its own process. No points yet: look at the file.",
    SLOW: "It did not come to an end in time. No points yet: look for an endless loop.",
    LARGE: "It took more memory than allowed. No points yet: look at the file.",
    MANY: "It started too many processes. No points yet: look at the file.",
    NO_NOTEBOOK: "The file cannot be read as a notebook. Ask for the right file.",
    OTHER: "A notebook, but not of this assignment. Ask for the right file.",
    OLD: "Made from another version of the assignment. Grade it with that version's autograder, "
    "or ask to copy the answers into the current notebook.",
    FAILED: "Grading itself failed; the message says why. The next call tries again.",
}


class GradingError(Exception):
    """Nothing can be graded; the message says what is missing."""


class RefusedError(Exception):
    """A submission is not graded; `status` is the word for it and the message says why."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """What one submission may take."""

    seconds: float = 300
    megabytes: int = 2048


@dataclass(frozen=True)
class Assignment:
    """What `make course` made of one master, in a folder of its own."""

    name: str
    version: str
    points: dict[str, float]
    by_hand: dict[str, float]
    folder: Path

    @classmethod
    def read(cls, name: str, course: Path = COURSE) -> "Assignment":
        """Read an assignment that was generated, or say which there are."""
        found = sorted(path.parent.name for path in course.glob("*/assignment.json"))
        if name not in found:
            there = f"found {', '.join(found)}" if found else "found none; run make course"
            raise GradingError(f"expected the name of an assignment, got {name!r}; {there}")
        about = json.loads((course / name / "assignment.json").read_text())
        fields = {key: about[key] for key in ("name", "version", "points", "by_hand")}
        return cls(folder=course / name, **fields)

    @property
    def autograder(self) -> Path:
        """The tests, visible and hidden, as Otter and Gradescope want them."""
        return self.folder / "autograder.zip"

    @property
    def student(self) -> Path:
        """What students got."""
        return self.folder / f"{self.name}.zip"

    def header(self) -> list[str]:
        """The columns of the table."""
        hand = [f"{name} (by hand, of {points:g})" for name, points in self.by_hand.items()]
        ends = ["total", "possible", "seconds", "message", "key"]
        return ["file", "status", *self.points, *hand, *ends]


# What the command does.


def submissions_in(folder: Path) -> list[Path]:
    """List the files below a folder.

    Hidden ones, copies that Jupyter keeps, and what lies beside the notebook in a student's own
    folder do not count.
    """
    if not folder.is_dir():
        raise GradingError(f"expected a folder of submissions, found none at {folder}")
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    kept = [p for p in found if not any(n[0] in "._" for n in p.relative_to(folder).parts)]
    if not kept:
        raise GradingError(f"expected submissions (.ipynb or .zip) in {folder}, found no file")
    answered = {path.parent for path in kept if path.suffix in NOTEBOOKS} - {folder}
    return [p for p in kept if p.suffix in NOTEBOOKS or p.parent not in answered]


def key_of(submission: Path, assignment: Assignment) -> str:
    """A word that changes with the file and with the tests."""
    with submission.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{content[:12]}-{assignment.version}"


def one_line(text: str) -> str:
    """A message for a cell of a table; it must not begin like a formula."""
    line = " ".join(re.sub(r"\x1b\[[\d;]*m", "", text).split())
    line = "".join(char for char in line if char.isprintable())[:LONGEST_MESSAGE]
    return f"'{line}" if line[:1] in "=+-@" else line


def grade(submission: Path, assignment: Assignment, limits: Limits) -> dict[str, Any]:
    """Grade one file in a process of its own: status, points, message, feedback, seconds."""
    start, token = time.monotonic(), secrets.token_hex(16)
    reading, writing = os.pipe()
    arguments = [assignment.name, assignment.folder.parent, submission.resolve()]
    arguments += [limits.seconds, limits.megabytes, writing]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        process = subprocess.Popen(
            [sys.executable, "-m", "book.grading", "--one", *map(str, arguments)],
            cwd=ROOT,
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
    places = {"HOME": str(scratch), "TMPDIR": str(scratch), "PYTHONPATH": str(ROOT)}
    return kept | quiet | threads | places


def watch(process: subprocess.Popen[bytes], token: str, limits: Limits) -> dict[str, Any] | None:
    """Wait for the end; return None, or what to say of the limit that was passed."""
    end_of_time = time.monotonic() + limits.seconds
    while process.poll() is None:
        if time.monotonic() > end_of_time:
            return refusal(SLOW, f"ended after {limits.seconds:g} s; is there an endless loop?")
        family = started_by(token)
        if len(family) > MOST_PROCESSES:
            return refusal(MANY, f"ended at {len(family)} processes; {MOST_PROCESSES} are allowed")
        if memory_of(family) > limits.megabytes * MEGABYTE:
            return refusal(LARGE, f"ended when it took more than {limits.megabytes} MB")
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


def refusal(status: str, message: str) -> dict[str, Any]:
    """The result of a submission that got no points."""
    return {"status": status, "points": None, "message": message, "feedback": message}


def understood(said: str, assignment: Assignment) -> dict[str, Any]:
    """Read what the process of a submission said, and believe only what is possible."""
    if not said:
        return refusal(CRASHED, "the grading process ended without a word")
    result: dict[str, Any] = json.loads(said)
    points = result["points"]
    if points is None:
        return result
    possible = points.keys() == assignment.points.keys() and all(
        0 <= points[name] <= most for name, most in assignment.points.items()
    )
    if not possible:
        message = f"expected points for {', '.join(assignment.points)}; got {points}"
        return refusal(FAILED, message)
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
        raise GradingError(
            f"expected the table of this assignment in {table}, found other columns; "
            "give another name with --out, or --again to replace it"
        )
    return {(row[0], row[-1]): row for row in rows[1:] if row[1] != FAILED}


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


# What happens in the process of one submission.


def limit_resources(limits: Limits) -> None:
    """Set what the system itself watches; the kernel of the notebook inherits it."""
    import resource

    mine = os.getuid()
    running = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            running += process.num_threads() if process.uids().real == mine else 0
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: LARGEST_FILE,
        resource.RLIMIT_CPU: 4 * int(limits.seconds) + 4,  # threads count each
        resource.RLIMIT_AS: limits.megabytes * MEGABYTE + RESERVED,
        resource.RLIMIT_NPROC: running + 10 * MOST_PROCESSES,
    }
    for what, most in wanted.items():
        with suppress(ValueError, OSError):  # macOS does not know all of them
            resource.setrlimit(what, (most, most))


def read_submission(submission: Path) -> Any:
    """Read the notebook in a file, of any format version, as one of version 4."""
    import nbformat

    if submission.suffix not in NOTEBOOKS:
        raise RefusedError(NO_NOTEBOOK, f"expected .ipynb or .zip, got {submission.name}")
    try:
        text = notebook_in_zip(submission) if submission.suffix == ".zip" else limited(submission)
        notebook = nbformat.reads(text.decode("utf-8-sig"), as_version=4)
        nbformat.validate(notebook, relax_add_props=True)
    except RefusedError:
        raise
    except Exception as error:
        why = str(error).partition("\n")[0]
        message = f"cannot be read as a notebook: {type(error).__name__}: {why}"
        raise RefusedError(NO_NOTEBOOK, message) from error
    return notebook


def limited(submission: Path) -> bytes:
    """Read a file of a reasonable size."""
    size = submission.stat().st_size
    if size > LARGEST_NOTEBOOK:
        most = LARGEST_NOTEBOOK // MEGABYTE
        message = f"expected at most {most} MB, got {size // MEGABYTE}; clear the outputs"
        raise RefusedError(NO_NOTEBOOK, message)
    return submission.read_bytes()


def notebook_in_zip(submission: Path) -> bytes:
    """Read the one notebook of a zip; nothing is unpacked to the disk."""
    with zipfile.ZipFile(submission) as archive:
        names = [info for info in archive.infolist() if info.filename.endswith(".ipynb")]
        if len(names) != 1:
            message = f"expected one .ipynb in the zip, found {len(names)}"
            raise RefusedError(NO_NOTEBOOK, message)
        if names[0].file_size > LARGEST_NOTEBOOK:
            raise RefusedError(NO_NOTEBOOK, "the notebook in the zip is too large")
        return archive.read(names[0])


def filled_in(notebook: Any) -> list[str]:
    """What a student can change: the sources of the cells."""
    return [cell.source.strip() for cell in notebook.cells if cell.source.strip()]


def refuse_strangers(notebook: Any, assignment: Assignment, blank: Any) -> None:
    """Refuse what is not a filled-in copy of this version of the assignment."""
    about = notebook.metadata.get("course", {})
    name, version = about.get("assignment"), about.get("version")
    checked = set(CHECK.findall("\n".join(filled_in(notebook))))
    if name not in (None, assignment.name):
        raise RefusedError(OTHER, f"expected {assignment.name}, got {name}")
    if version is None and not checked & assignment.points.keys():
        raise RefusedError(OTHER, f"expected {assignment.name}; no check of it is in the notebook")
    if version not in (None, assignment.version):
        raise RefusedError(OLD, f"expected version {assignment.version}, got {version}")
    if version is None and checked - assignment.points.keys():
        strange = ", ".join(sorted(checked - assignment.points.keys()))
        raise RefusedError(OLD, f"the notebook checks questions that there are not: {strange}")
    if filled_in(notebook) == filled_in(blank):
        raise RefusedError(EMPTY, "the same as what students got")


def first_error(notebook: Any) -> str:
    """Name the first cell that failed, or nothing."""
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                start = cell.source.strip().partition("\n")[0]
                return f"cell {number} ({start[:60]}): {output.ename}: {output.evalue}"
    return ""


def grade_one(submission: Path, assignment: Assignment) -> dict[str, Any]:
    """Let Otter grade one submission, in this process."""
    import nbformat
    from nbclient.exceptions import DeadKernelError
    from otter.api import grade_submission

    notebook = read_submission(submission)
    blank = nbformat.reads(notebook_in_zip(assignment.student).decode(), as_version=4)
    refuse_strangers(notebook, assignment, blank)
    notebook.metadata["kernelspec"] = blank.metadata["kernelspec"]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"{assignment.name}.ipynb"
        nbformat.write(notebook, copy)
        try:
            results = grade_submission(str(copy), str(assignment.autograder), quiet=True)
        except DeadKernelError as error:
            raise RefusedError(CRASHED, "a cell ended the process of the notebook") from error
    if results.has_catastrophic_failure():
        raise RefusedError(CRASHED, f"no results were left: {results.catastrophic_error}")
    failed_cell = first_error(results.notebook)
    points = {name: round(result.score, 4) for name, result in results.results.items()}
    failed = {
        name: [result.passed for result in file.test_case_results].count(False)
        for name, file in results.results.items()
    }
    lost = ", ".join(f"{name} ({count})" for name, count in failed.items() if count)
    return {
        "status": ERRORS if failed_cell else GRADED,
        "points": points,
        "message": failed_cell or (f"failed checks: {lost}" if lost else ""),
        "feedback": results.summary(public_only=True),
    }


def one(arguments: list[str]) -> None:
    """Grade one submission and write the result, as JSON, where the command reads it."""
    name, course, submission, seconds, megabytes, answer = arguments
    limit_resources(Limits(float(seconds), int(megabytes)))
    try:
        assignment = Assignment.read(name, Path(course))
        result = grade_one(Path(submission), assignment)
    except RefusedError as error:
        result = refusal(error.status, str(error))
        if error.status == EMPTY:
            result["points"] = dict.fromkeys(assignment.points, 0)
    except MemoryError:
        result = refusal(LARGE, f"grading ran out of {megabytes} MB")
    except Exception as error:
        result = refusal(FAILED, f"{type(error).__name__}: {error}")
    for field, most in (("message", LONGEST_MESSAGE), ("feedback", LONGEST_FEEDBACK)):
        result[field] = result[field][:most]  # what a pipe holds before somebody reads
    with os.fdopen(int(answer), "w", encoding="utf-8", errors="replace") as parent:
        json.dump(result, parent, ensure_ascii=False)


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m book.grading", description="Grade a folder.")
    add = parser.add_argument
    add("submissions", type=Path, help="folder of .ipynb or .zip files, one for each student")
    add("--assignment", required=True, help="its name, such as metrics")
    add("--out", type=Path, required=True, help="the table to write, .csv")
    add("--feedback", type=Path, help="folder for what the visible checks say, a file for each")
    add("--seconds", type=float, default=Limits.seconds, help="for one (default %(default)s)")
    add("--megabytes", type=int, default=Limits.megabytes, help="for one (default %(default)s)")
    add("--jobs", type=int, default=1, help="how many at a time (default %(default)s)")
    add("--again", action="store_true", help="grade also what has a row")
    add("--course", type=Path, default=COURSE, help="what make course made (default _build/course)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Grade a folder; return 0, or 1 after saying what is wrong."""
    options = arguments_of(argv)
    try:
        if sys.platform == "win32":
            raise GradingError("expected Linux or macOS, got Windows; run it in WSL")
        assignment = Assignment.read(options.assignment, options.course)
        rows = grade_folder(
            options.submissions,
            assignment,
            options.out,
            limits=Limits(options.seconds, options.megabytes),
            jobs=options.jobs,
            again=options.again,
            feedback=options.feedback,
        )
    except (GradingError, OSError) as error:
        print(f"grading: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"grading: interrupted; {options.out} has what is done, call again", file=sys.stderr)
        return 1
    for status, meaning in STATUSES.items():
        if count := [row[1] for row in rows].count(status):
            print(f"{count:4d} {status}: {meaning}")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2:])
    else:
        sys.exit(main())
