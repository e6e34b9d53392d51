"""A submission: what is read of it, why it is refused, and its examination by the grader.

The grader holds the checks, and asks the submission's own process (`player`) to run the cells, one
after the other. Where a question is checked, the checks run *here*; the student's functions stay
there, and each call of one is a message with its arguments and another with what came out. So a
submission decides what its functions return, and nothing else.

A notebook runs twice. In the first run only visible checks are asked, and every word that anybody
reads of the submission comes from there; in the second, a process and a folder of its own, hidden
checks are asked, and of them only counts whether they passed. So what a function keeps of the
arguments of a hidden check is in no later error, and in no feedback.

A cell or a function that ends its process costs what it is worth: the process is started again, and
what came before runs anew without it.
"""

import json
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import nbformat

from book.command import UserError
from book.course import checks
from book.course.checks import Check
from book.course.exports import is_stray
from book.course.sandbox import Sandbox
from book.course.wire import EndedError, Wire, WireError
from book.tools.paths import COURSE

MEGABYTE = 2**20
LARGEST_NOTEBOOK = 30 * MEGABYTE
MOST_STARTS = 10
NOTEBOOKS = {".ipynb", ".zip"}
CHECK = re.compile(r"""^[^#\n]*\bgrader\.check\(["']([\w-]+)["']""", re.MULTILINE)
MARK = re.compile(r"^# @title Prepares .*: assignment (\w+), version (\w+)$", re.MULTILINE)
PREPARES = re.compile(rf"{MARK.pattern}|^grader = otter\.Notebook\(", re.MULTILINE)
LONGEST_MESSAGE = 300  # letters, in the table
LONGEST_ANSWER = 1000  # of a check

GRADED, ERRORS, EMPTY = "graded", "graded, with errors", "empty"
CRASHED, SLOW, LARGE, MANY = "crashed", "too slow", "too much memory", "too many processes"
NO_NOTEBOOK, OTHER, OLD = "not a notebook", "another assignment", "old version"
FAILED = "not graded"
STATUSES = {
    GRADED: "Every cell ran. The points are final.",
    ERRORS: "Some cells failed; the message names the first. What did run has its points.",
    EMPTY: "Nothing was filled in: no points.",
    CRASHED: "The notebook ended its own process again and again, or answered what no notebook "
    "answers. No points yet: look at the file.",
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

    def questions(self) -> dict[str, dict[str, Check]]:
        """The checks of each question, visible and hidden, and their points."""
        with zipfile.ZipFile(self.autograder) as archive:
            sources = {name: archive.read(f"tests/{name}.py").decode() for name in self.points}
        return {name: checks.read(source, name) for name, source in sources.items()}

    def header(self) -> list[str]:
        """The columns of the table."""
        hand = [f"{name} (by hand, of {points:g})" for name, points in self.by_hand.items()]
        ends = ["total", "possible", "seconds", "flags", "message", "key"]
        return ["file", "status", *self.points, *hand, *ends]


def refusal(status: str, message: str) -> dict[str, Any]:
    """The result of a submission that got no points."""
    return {"status": status, "points": None, "message": message, "checks": {}}


# --- reading ------------------------------------------------------------------------------------


def read_submission(submission: Path) -> Any:
    """Read the notebook in a file, of any format version, as one of version 4."""
    if submission.is_symlink():
        raise RefusedError(NO_NOTEBOOK, "expected a file, got a link to a file; it is not followed")
    kind = submission.suffix.lower()
    if kind not in NOTEBOOKS:
        raise RefusedError(NO_NOTEBOOK, f"expected .ipynb or .zip, got {submission.name}")
    try:
        text = notebook_in_zip(submission) if kind == ".zip" else limited(submission)
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
        files = [info for info in archive.infolist() if not info.is_dir()]
        kept = [info for info in files if not is_stray(PurePosixPath(info.filename))]
        names = [info for info in kept if info.filename.lower().endswith(".ipynb")]
        if len(names) != 1:
            message = f"expected one .ipynb in the zip, found {len(names)}"
            raise RefusedError(NO_NOTEBOOK, message)
        if names[0].file_size > LARGEST_NOTEBOOK:
            raise RefusedError(NO_NOTEBOOK, "the notebook in the zip is too large")
        return archive.read(names[0])


def filled_in(notebook: Any) -> list[str]:
    """What a student can change: the sources of the cells."""
    return [cell.source.strip() for cell in notebook.cells if cell.source.strip()]


def mark_of(notebook: Any) -> tuple[str | None, str | None]:
    """Assignment and version, from the first code cell or, without it, from the metadata."""
    for source in filled_in(notebook):
        if found := MARK.search(source):
            return found[1], found[2]
    about = notebook.metadata.get("course", {})
    return about.get("assignment"), about.get("version")


def refuse_strangers(notebook: Any, assignment: Assignment, blank: Any) -> None:
    """Refuse what is not a filled-in copy of this version of the assignment."""
    name, version = mark_of(notebook)
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


# --- examining ----------------------------------------------------------------------------------

UNUSUAL = {
    "starts other programs": r"\b(subprocess|multiprocessing)\b|\bos\.(system|fork|popen|spawn)"
    r"|^\s*([\w\s,.*]+=\s*)?(!|%s[xc]\b|%system\b)|^%%(bash|sh|script|system|sx|perl|ruby|!)"
    r"|\b(run_cell_magic|getoutput)\(",
    "runs code made of text": r"(?<![\w.])(exec|eval|compile|__import__)\(|\bimportlib\b",
    "uses the network": r"\b(socket|urllib|requests|curl|wget)\b|\bhttp\.client\b",
    "looks for the grader": r"\b(otter|autograder|call_func|hidden)\b|\bbook\.course\b",
    "looks into other processes": r"/proc\b|\b(psutil|ctypes|gc|_getframe)\b|inspect\.stack",
    "replaces parts of a library": r"^\s*(np|numpy|mr|mrdcae_lite|builtins|sys)\.\w[\w.]*\s*=[^=]",
    "ends its process": r"\bos\.(_exit|abort|kill)\b|\b(exit|quit)\(",
    "looks for solutions": r"solution\.ipynb|assignments/\w+\.ipynb",
}


def flags(notebook: Any, assignment: Assignment) -> str:
    """What a teacher should look at: unusual words in lines that are not the assignment's own."""
    blank = nbformat.read(assignment.notebook, as_version=4)
    given = {line.strip() for source in filled_in(blank) for line in source.splitlines()}
    own = [
        line
        for cell in notebook.cells
        if cell.cell_type == "code" and not PREPARES.search(cell.source)
        for line in cell.source.splitlines()
        if line.strip() not in given and not line.lstrip().startswith("#")
    ]
    text = unicodedata.normalize("NFKC", "\n".join(own))  # as Python reads names
    found = [what for what, words in UNUSUAL.items() if re.search(words, text, re.MULTILINE)]
    return "; ".join(found)


@dataclass
class Examination:
    """The run of one notebook, and what its checks found."""

    sandbox: Sandbox
    sources: list[str]
    questions: Mapping[str, Mapping[str, Check]]
    hooks: Mapping[str, Callable[["Examination"], Any]] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    found: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: set[int] = field(default_factory=set)
    starts: int = 0

    def run(self) -> None:
        """Run all cells, and check each question where the notebook checks it last."""
        last = {name: n for n, source in enumerate(self.sources) for name in CHECK.findall(source)}
        with ExitStack() as self.stack:
            self.line = self.start(0)
            for number in range(len(self.sources)):
                self.run_cell(number)
                for name in (name for name in self.questions if last.get(name) == number):
                    self.check(name, number + 1)
            for name in self.questions.keys() - self.found.keys():
                self.check(name, len(self.sources))

    def start(self, done: int) -> Wire:
        """Start the process of the submission, and run the first `done` cells in it."""
        while True:
            self.starts += 1
            if self.starts > MOST_STARTS:
                raise RefusedError(CRASHED, f"its process ended {MOST_STARTS} times")
            self.stack.close()
            line = self.stack.enter_context(self.sandbox.started())
            try:
                for number in range(done):
                    if number not in self.left_out:
                        place = number
                        line.ask("run", source=self.sources[number])
            except EndedError:
                self.left_out.add(place)
                continue
            return line

    def run_cell(self, number: int) -> None:
        """Run a cell; if it ends the process, go on without it."""
        if number in self.left_out:
            return
        try:
            error = self.line.ask("run", source=self.sources[number]).get("error")
        except EndedError:
            error = "it ended its own process"
            self.left_out.add(number)
            self.line = self.start(number)
        if error is not None:
            self.errors[number] = str(error)

    def check(self, name: str, done: int) -> None:
        """Run the checks of a question on what the notebook has by now."""
        self.found[name] = []
        for check in self.questions[name].values():
            try:
                message = self.answer_to(check)
            except EndedError:
                message = "Your code ended its own process."
                self.line = self.start(done)
            said = {"points": check.points, "hidden": check.hidden}
            self.found[name].append(said | {"message": message and message[:LONGEST_ANSWER]})

    def answer_to(self, check: Check) -> str | None:
        """Run a check; return None, or what is wrong.

        Where a function changed the check's own arguments, it must pass again with arguments that
        stay as they are: what is expected may have been computed from the changed ones.
        """
        for self.line.lends in (False, True):
            self.line.changed = False
            message = check.run(self.names(check.wanted()))
            if message is not None or not self.line.changed:
                break
        return message

    def names(self, wanted: Iterable[str]) -> dict[str, Any]:
        """What the notebook has under these names; functions ask its process when called."""
        asked = [name for name in wanted if name not in self.hooks]
        values = self.line.ask("names", wanted=asked).get("values")
        if not isinstance(values, dict):
            raise WireError("expected the names of a notebook, got something else")
        return {n: self.line.decode(v) for n, v in values.items()} | {
            name: hook(self) for name, hook in self.hooks.items() if name in wanted
        }


def examined(
    notebook: Any,
    assignment: Assignment,
    sandbox: Sandbox,
    only: Iterable[str] = (),
    hooks: Mapping[str, Callable[[Examination], Any]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Examine a notebook: its status, points, message and what every check said.

    A check that asks for a name of `hooks` gets what the grader makes, not the notebook's own.
    """
    blank = nbformat.read(assignment.notebook, as_version=4)
    refuse_strangers(notebook, assignment, blank)
    cells = [(n, c) for n, c in enumerate(notebook.cells, start=1) if c.cell_type == "code"]
    cells = [(number, cell) for number, cell in cells if not PREPARES.search(cell.source)]
    wanted = list(only) or list(assignment.points)
    every, sources = assignment.questions(), [cell.source for _, cell in cells]
    seen, unseen = (
        {n: {k: c for k, c in every[n].items() if c.hidden is hidden} for n in wanted}
        for hidden in (False, True)
    )
    first = Examination(sandbox, sources, seen, hooks)
    try:
        first.run()
        second = Examination(sandbox, sources, unseen, hooks, left_out=set(first.left_out))
        second.run()
    except WireError as error:
        raise RefusedError(CRASHED, f"its process answered nonsense: {error}") from error
    found = {name: [*first.found[name], *second.found[name]] for name in wanted}
    passed = {n: [s["points"] for s in said if s["message"] is None] for n, said in found.items()}
    message = ""
    if first.errors:
        place = min(first.errors)
        number, cell = cells[place]
        start = cell.source.strip().partition("\n")[0]
        message = f"cell {number} ({start[:60]}): {first.errors[place]}"
    else:
        lost = {name: len(found[name]) - len(passed[name]) for name in wanted}
        named = ", ".join(f"{name} ({lost[name]})" for name in wanted if lost[name])
        message = f"failed checks: {named}" if named else ""
    return {
        "status": ERRORS if first.errors else GRADED,
        "points": {name: round(sum(points), 4) for name, points in passed.items()},
        "message": message,
        "checks": found,
    }
