"""What happens in the process of one submission: refuse it or let Otter run it, and say the result.

    python -m book.course.submission NAME COURSE SUBMISSION SECONDS MEGABYTES PIPE

`book.course.grading` starts one such process for each file, watches it, and reads the result, as
JSON, from the pipe. Here stand also the words that both use: assignments, limits, statuses.
"""

import json
import os
import re
import sys
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from book.command import UserError
from book.tools.paths import COURSE

MEGABYTE = 2**20
LARGEST_NOTEBOOK = 30 * MEGABYTE
LARGEST_FILE = 256 * MEGABYTE  # that a submission may write
RESERVED = 4096 * MEGABYTE  # libraries reserve addresses that they never use
MOST_PROCESSES = 40
NOTEBOOKS = {".ipynb", ".zip"}
CHECK = re.compile(r"""grader\.check\(["']([\w-]+)["']""")
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
            raise UserError(f"expected the name of an assignment, got {name!r}; {there}")
        about = json.loads((course / name / "assignment.json").read_text())
        fields = {key: about[key] for key in ("name", "version", "points", "by_hand")}
        return cls(folder=course / name, **fields)

    @property
    def autograder(self) -> Path:
        """The tests, visible and hidden, as Otter and Gradescope want them."""
        return self.folder / "autograder.zip"

    @property
    def student(self) -> Path:
        """What students got, packed."""
        return self.folder / f"{self.name}.zip"

    @property
    def notebook(self) -> Path:
        """What students got."""
        return self.folder / f"{self.name}.ipynb"

    def header(self) -> list[str]:
        """The columns of the table."""
        hand = [f"{name} (by hand, of {points:g})" for name, points in self.by_hand.items()]
        ends = ["total", "possible", "seconds", "message", "key"]
        return ["file", "status", *self.points, *hand, *ends]


def refusal(status: str, message: str) -> dict[str, Any]:
    """The result of a submission that got no points."""
    return {"status": status, "points": None, "message": message, "feedback": message}


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


if __name__ == "__main__":
    one(sys.argv[1:])
