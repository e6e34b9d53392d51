"""Make from the masters of the assignments what students, teachers and Gradescope get.

    python -m book.course.assignments          make what has changed
    python -m book.course.assignments check    grade every solution as well

For each master in book/assignments it leaves in _build/course a folder with
    NAME.zip          for students: the notebook without solutions, and the visible tests;
    solution.ipynb    the notebook with its solutions and rubrics, for the teacher;
    autograder.zip    all tests, as `otter run`, `book.course.grading` and Gradescope want them;
    assignment.json   points and version, for `book.course.grading`,
and in pages/ what the book shows of them. Otter Assign does the cutting; nothing is kept in which a
line of a solution or of a hidden test is found again.
"""

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from book.command import UserError, exit_status
from book.course import grading
from book.course.leaks import LEADERBOARD, leaks, secrets
from book.course.masters import masters, mistakes, questions, title_of
from book.course.submission import GRADED, STATUSES, Assignment, Limits
from book.tools import paths
from book.tools.records import CACHES, digest, remember, remembered

FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # equal files make equal archives


def key_of(master: Path) -> str:
    """Hash all that an assignment is made from."""
    inputs = digest([master, LEADERBOARD, Path(__file__).resolve()])
    return f"{inputs}-{importlib.metadata.version('otter-grader')}"


def with_requirements(notebook: NotebookNode) -> NotebookNode:
    """Tell Gradescope's machine what to install: this package, from its repository."""
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    wanted = f"{project['name']}[notebooks] @ git+{project['urls']['Repository']}"
    more = {"requirements": [wanted], "python_version": "3.11"}
    head = next(cell for cell in notebook.cells if "# ASSIGNMENT CONFIG" in cell.source)
    head.source = f"{head.source}\n{yaml.safe_dump(more)}"
    return notebook


def assign(master: Path, folder: Path) -> Path:
    """Let Otter Assign cut a master, in a copy of its folder; return where the two halves are."""
    copy = folder / "masters"
    shutil.copytree(paths.MASTERS, copy, ignore=shutil.ignore_patterns(*CACHES))
    shutil.copy(LEADERBOARD, copy)
    nbformat.write(with_requirements(nbformat.read(master, as_version=4)), copy / master.name)
    command = [sys.executable, "-m", "otter", "assign", "--no-run-tests", master.name, "made"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    if done.returncode != 0:
        raise UserError(f"{master.stem}: {done.stderr.strip().splitlines()[-1]}")
    return copy / "made"


def tests_version(autograder: Path) -> str:
    """A short word for the tests: what a submission was made for."""
    with zipfile.ZipFile(autograder) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("tests/"))
        total = hashlib.sha256()
        for name in names:
            total.update(name.encode() + b"\0" + archive.read(name))
    return total.hexdigest()[:8]


def archive(student: Path, master: Path, version: str, target: Path) -> None:
    """Pack what students get; the same assignment gives the same bytes.

    The notebook carries a mark by which grading knows its assignment and version. Otter imports
    itself in the first cell, before the master's own has installed it where it is missing: that
    one goes first.
    """
    files = {p.relative_to(student).as_posix(): p for p in student.rglob("*") if p.is_file()}
    notebook = nbformat.read(student / master.name, as_version=4)
    notebook.metadata["course"] = {"assignment": master.stem, "version": version}
    loading = notebook.cells.pop(0)
    installs = next(n for n, cell in enumerate(notebook.cells) if "find_spec" in cell.source)
    notebook.cells.insert(installs + 1, loading)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{master.stem}-{number:02d}"
    nbformat.write(notebook, student / master.name)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sorted(files):
            packed.writestr(zipfile.ZipInfo(name, FIXED_TIME), files[name].read_bytes())


def make(master: Path) -> Path:
    """Make one assignment, unless it is made from the same bytes already; return its folder."""
    target, key = paths.COURSE / master.stem, key_of(master)
    about = target / "assignment.json"
    if remembered(about, key):
        return target
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        made = assign(master, Path(scratch))
        (autograder,) = (made / "autograder").glob("*-autograder_*.zip")
        shutil.copy(autograder, target / "autograder.zip")
        shutil.copy(made / "autograder" / master.name, target / "solution.ipynb")
        version = tests_version(autograder)
        archive(made / "student", master, version, target / f"{master.stem}.zip")
        refuse_leaks(target, master)
        description = described(master, made / "autograder" / "tests", version)
    remember(about, key, **description)
    return target


def refuse_leaks(folder: Path, master: Path) -> None:
    """Remove what was made if students would see what they must not."""
    if found := leaks([folder / f"{master.stem}.zip"], secrets(master)):
        shutil.rmtree(folder)
        raise UserError(f"{master.stem}: students would see {found[0]}")


def described(master: Path, tests: Path, version: str) -> dict[str, Any]:
    """What grading has to know of an assignment."""
    from otter.nbmeta_config import NBMetadataConfig
    from otter.test_files import create_test_file

    files = [create_test_file(str(path), NBMetadataConfig()) for path in sorted(tests.glob("*.py"))]
    points = {file.name: round(file.possible, 4) for file in files}
    asked = questions(nbformat.read(master, as_version=4))
    order = [q["name"] for q in asked if q["name"] in points]
    hand = {q["name"]: q["points"] for q in asked if q.get("manual")}
    in_order = {name: points[name] for name in order}
    return {"name": master.stem, "version": version, "points": in_order, "by_hand": hand}


def check_solution(folder: Path) -> None:
    """Grade the solution as a submission is graded; it must get all points."""
    assignment, record = Assignment.read(folder.name, folder.parent), folder / "checked.json"
    if remembered(record, assignment.version) is not None:
        return
    result = grading.grade(folder / "solution.ipynb", assignment, Limits())
    if result["status"] != GRADED or result["points"] != assignment.points:
        raise UserError(
            f"{folder.name}: its own solution must get all points; "
            f"{result['status']}, {result['points']}, {result['message']}"
        )
    remember(record, assignment.version)


def offered(about: Assignment, master: Path) -> str:
    """A line of the table for students."""
    total = sum(about.points.values()) + sum(about.by_hand.values())
    link = f"{{download}}`{about.name}.zip </assignments/{about.name}.zip>`"
    return f"| {title_of(master)} | {mistakes(master)['minutes']} | {total:g} | {link} |"


def table_of_mistakes(master: Path) -> list[str]:
    """The typical mistakes of one assignment and what the checks say to them."""
    lines = [f"**{title_of(master)}**", "", "| mistake | why | the check |", "|---|---|---|"]
    for mistake in mistakes(master)["mistakes"]:
        says = f"“{mistake['says']}”" if "says" in mistake else "only hidden tests see it"
        cells = (text.replace("|", r"\|") for text in (mistake["name"], mistake["why"], says))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def pages(made: dict[Path, Path]) -> dict[str, bytes]:
    """What the book shows of the course, by file name: archives for students, and three tables."""
    about = {master: Assignment.read(folder.name, folder.parent) for master, folder in made.items()}
    offers = ["| assignment | minutes | points | |", "|---|---|---|---|"]
    offers += [offered(assignment, master) for master, assignment in about.items()]
    wrong = [line for master in made for line in table_of_mistakes(master)]
    words = ["| status | what it means |", "|---|---|"]
    words += [f"| {status} | {meaning} |" for status, meaning in STATUSES.items()]
    tables = {"table": offers, "mistakes": wrong, "statuses": words}
    files = {f"{name}.md": "\n".join(lines).encode() for name, lines in tables.items()}
    return files | {f"{a.name}.zip": a.student.read_bytes() for a in about.values()}


def make_all(*, check: bool) -> None:
    """Make the course, and write its pages."""
    made: dict[Path, Path] = {}
    for number, master in enumerate(masters(), start=1):
        print(f"[{number}/{len(masters())}] assignment {master.stem}", flush=True)
        made[master] = make(master)
        if check:
            check_solution(made[master])
    shutil.rmtree(paths.COURSE / "pages", ignore_errors=True)
    (paths.COURSE / "pages").mkdir()
    for name, content in pages(made).items():
        (paths.COURSE / "pages" / name).write_bytes(content)
    print(f"{len(made)} assignments are in {paths.COURSE.relative_to(paths.ROOT)}")


if __name__ == "__main__":
    sys.exit(exit_status("course", partial(make_all, check=sys.argv[1:] == ["check"])))
