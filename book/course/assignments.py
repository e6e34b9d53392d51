"""Make from the masters of the assignments what students, teachers and Gradescope get.

    python -m book.course.assignments          make what has changed
    python -m book.course.assignments check    grade every solution as well
    python -m book.course.assignments keep     copy what students get to book/assignments/student

For each master in book/assignments it leaves in _build/course a folder with
    NAME.ipynb        for students: the notebook without solutions, which carries its checks;
    NAME.zip          the same, with the visible checks beside it to read;
    solution.ipynb    the notebook with its solutions and rubrics, for the teacher;
    autograder.zip    all tests, as `otter run`, `book.course.grading` and Gradescope want them;
    assignment.json   points and version, for `book.course.grading`,
and in pages/ what the book shows of them. Otter Assign does the cutting; nothing is kept in which a
line of a solution or of a hidden test is found again.

If the environment variable COURSE_SECRET is set, hidden tests draw their random numbers by seeds
that follow from it, so that nobody knows them who does not know the secret.
"""

import base64
import hashlib
import importlib.metadata
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from book.command import UserError, exit_status
from book.course import checks, grading, sandbox
from book.course.leaks import LEADERBOARD, leaks, secrets
from book.course.masters import (
    blocks,
    drawn_anew,
    is_hidden,
    masters,
    mistakes,
    questions,
    title_of,
)
from book.course.submission import GRADED, STATUSES, Assignment
from book.tools import identity, paths
from book.tools.records import CACHES, digest, remember, remembered

SHORTEST_SECRET = 16  # letters; the version of the tests, which all see, would betray a shorter one
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # equal files make equal archives
FOLDED = {"jupyter": {"source_hidden": True}, "cellView": "form"}  # in Jupyter, and on Colab
BEGINNING = """The next cell carries the checks. Run it first: it installs the package where it is \
missing, and there is nothing in it to read or to change."""
PREPARE = """# @title Prepares this notebook: assignment {name}, version {version}
import base64
import importlib.util
import io
import sys
import tempfile
import zipfile

if importlib.util.find_spec("mrdcae_lite") is None:
    %pip install --quiet "{wanted}"
sys.path.insert(0, tempfile.mkdtemp())
with zipfile.ZipFile(io.BytesIO(base64.b64decode("{carried}"))) as carried:
    carried.extractall(sys.path[0])
from checks import Grader

grader = Grader(get_ipython(), sys.path[0], beside=[{beside}])"""
ENDING = """## Hand in

Save this notebook and hand in its file, under whatever name it has. The next cell looks whether \
what you ran is saved."""


def secret() -> str:
    """What the seeds of hidden tests follow from; nothing, if they are to stay as they are."""
    text = os.environ.get("COURSE_SECRET", "")
    if text and len(text) < SHORTEST_SECRET:
        raise UserError(
            f"expected at least {SHORTEST_SECRET} letters in COURSE_SECRET, got {len(text)}; "
            'python3 -c "import secrets; print(secrets.token_hex())" makes one'
        )
    return text


def key_of(master: Path) -> str:
    """Hash all that an assignment is made from."""
    here = Path(__file__).resolve()
    others = [here, here.with_name("checks.py"), paths.ROOT / "pyproject.toml"]
    inputs = digest([master, LEADERBOARD, *others])
    if secret():
        inputs = hashlib.sha256(f"{inputs} {secret()}".encode()).hexdigest()
    return f"{inputs}-{importlib.metadata.version('otter-grader')}"


def requirement() -> str:
    """What to install where the package is missing: it, from its repository, in this version."""
    project = identity.stated()
    return f"mrdcae-lite[notebooks] @ git+{project.address}@{project.ref}"


def prepared(notebook: NotebookNode) -> NotebookNode:
    """Tell Gradescope's machine what to install, and draw the numbers of hidden tests anew."""
    more = {"requirements": [requirement()], "python_version": "3.11"}
    head = next(cell for cell in notebook.cells if "# ASSIGNMENT CONFIG" in cell.source)
    head.source = f"{head.source}\n{yaml.safe_dump(more)}"
    for inside, cell in blocks(notebook):
        if secret() and "TESTS" in inside and is_hidden(cell):
            cell.source = drawn_anew(cell.source, secret())
    return notebook


def assign(master: Path, folder: Path) -> Path:
    """Let Otter Assign cut a master, in a copy of its folder; return where the two halves are."""
    copy = folder / "masters"
    shutil.copytree(paths.MASTERS, copy, ignore=shutil.ignore_patterns(*CACHES))
    shutil.copy(LEADERBOARD, copy)
    nbformat.write(prepared(nbformat.read(master, as_version=4)), copy / master.name)
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


def preparation(student: Path, master: Path, version: str) -> str:
    """The first code cell of a student's notebook, which carries all that the notebook needs.

    The checks go to a folder of their own, so that two assignments in one folder do not meet; what
    students work with goes beside the notebook, unless it is there.
    """
    files = {p.relative_to(student).as_posix(): p.read_bytes() for p in carried(student, master)}
    files["checks.py"] = Path(checks.__file__).read_bytes()
    packed = io.BytesIO()
    pack(files, packed)
    beside = sorted(name for name in files if name != "checks.py" and "/" not in name)
    return PREPARE.format(
        name=master.stem,
        version=version,
        wanted=requirement(),
        beside=", ".join(map(repr, beside)),
        carried=base64.b64encode(packed.getvalue()).decode(),
    )


def carried(student: Path, master: Path) -> list[Path]:
    """What students get beside the notebook."""
    found = (path for path in student.rglob("*") if path.is_file() and path.name != master.name)
    return sorted(found)


def pack(files: dict[str, bytes], target: Any) -> None:
    """Write an archive; the same files give the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, content in sorted(files.items()):
            about = zipfile.ZipInfo(name, FIXED_TIME)
            about.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(about, content)


def finish(student: Path, master: Path, version: str) -> Path:
    """Make of what Otter cut a notebook that stands alone; return its file.

    It carries its checks, says at its end what to hand in, and has a mark by which grading knows
    its assignment and version.
    """
    new, place = nbformat.v4, student / master.name
    notebook = nbformat.read(place, as_version=4)
    notebook.metadata["course"] = {"assignment": master.stem, "version": version}
    first = new.new_code_cell(preparation(student, master, version), metadata=FOLDED)
    kept = [cell for cell in notebook.cells if "# Initialize Otter" not in cell.source]
    ends = [new.new_markdown_cell(ENDING), new.new_code_cell("grader.hand_in()")]
    notebook.cells = [kept[0], new.new_markdown_cell(BEGINNING), first, *kept[1:], *ends]
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{master.stem}-{number:02d}"
    nbformat.write(notebook, place)
    return place


def make(master: Path) -> Path:
    """Make one assignment, unless it is made from the same bytes already; return its folder."""
    target, key = paths.COURSE / master.stem, key_of(master)
    about = target / "assignment.json"
    if remembered(about, key):
        return target
    paths.COURSE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.COURSE) as scratch:
        new = Path(scratch, "new")
        new.mkdir()
        made = assign(master, Path(scratch, "otter"))
        (autograder,) = (made / "autograder").glob("*-autograder_*.zip")
        shutil.copy(autograder, new / "autograder.zip")
        shutil.copy(made / "autograder" / master.name, new / "solution.ipynb")
        version = tests_version(autograder)
        notebook = finish(made / "student", master, version)
        files = [notebook, *carried(made / "student", master)]
        names = {path.relative_to(made / "student").as_posix(): path.read_bytes() for path in files}
        pack(names, new / f"{master.stem}.zip")
        shutil.copy(notebook, new)
        refuse_leaks(new, master)
        description = described(master, made / "autograder" / "tests", version)
        remember(new / about.name, key, **description)
        shutil.rmtree(target, ignore_errors=True)
        new.rename(target)
    return target


def refuse_leaks(folder: Path, master: Path) -> None:
    """Raise `UserError` if students would see what they must not in what was made."""
    if found := leaks([folder / f"{master.stem}.zip"], secrets(master)):
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
    result = grading.grade(folder / "solution.ipynb", assignment, sandbox.best())
    if result["status"] != GRADED or result["points"] != assignment.points:
        raise UserError(
            f"{folder.name}: its own solution must get all points; "
            f"{result['status']}, {result['points']}, {result['message']}"
        )
    remember(record, assignment.version)


def offered(about: Assignment, master: Path) -> str:
    """A line of the table for students."""
    total = sum(about.points.values()) + sum(about.by_hand.values())
    links = f"{{download}}`{about.name}.zip </assignments/{about.name}.zip>`"
    at = f"{paths.STUDENT.relative_to(paths.ROOT).as_posix()}/{about.name}.ipynb"
    project = identity.stated()
    colab = f"colab.research.google.com/github/{project.slug}/blob/{project.ref}/{at}"
    binder = f"{identity.BINDER}/{project.slug}/{project.ref}?urlpath=lab/tree/{at}"
    links += f", [Colab](https://{colab}), [Binder](https://{binder})"
    return f"| {title_of(master)} | {mistakes(master)['minutes']} | {total:g} | {links} |"


def marked(about: Assignment, master: Path) -> str:
    """A line of the table of questions: how many points, and how hard."""
    marks = mistakes(master)["difficulty"]
    every = about.points | about.by_hand
    if marks.keys() != every.keys():
        wanted, got = ", ".join(every), ", ".join(marks)
        raise UserError(f"{about.name}: expected a difficulty for {wanted}; got {got}")
    named = (f"`{name}` {'★' * marks[name]} {points:g}" for name, points in every.items())
    return f"| `{about.name}` | {', '.join(named)} |"


def table_of_mistakes(master: Path) -> list[str]:
    """The typical mistakes of one assignment and what the checks say to them."""
    lines = [f"**{title_of(master)}**", "", "| mistake | why | the check |", "|---|---|---|"]
    for mistake in mistakes(master)["mistakes"]:
        says = f"“{mistake['says']}”" if "says" in mistake else "only hidden tests see it"
        cells = (text.replace("|", r"\|") for text in (mistake["name"], mistake["why"], says))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def pages(made: dict[Path, Path]) -> dict[str, bytes]:
    """What the book shows of the course, by file name: archives for students, and four tables."""
    about = {master: Assignment.read(folder.name, folder.parent) for master, folder in made.items()}
    offers = ["| assignment | minutes | points | |", "|---|---|---|---|"]
    offers += [offered(assignment, master) for master, assignment in about.items()]
    wrong = [line for master in made for line in table_of_mistakes(master)]
    hard = ["| assignment | questions, how hard (★ to ★★★), and points |", "|---|---|"]
    hard += [marked(assignment, master) for master, assignment in about.items()]
    words = ["| status | what it means |", "|---|---|"]
    words += [f"| {status} | {meaning} |" for status, meaning in STATUSES.items()]
    tables = {"table": offers, "questions": hard, "mistakes": wrong, "statuses": words}
    files = {f"{name}.md": "\n".join(lines).encode() for name, lines in tables.items()}
    return files | {f"{a.name}.zip": a.student.read_bytes() for a in about.values()}


def keep(notebooks: Iterable[Path]) -> None:
    """Copy what students open on Colab and on Binder to where the repository holds it."""
    paths.STUDENT.mkdir(exist_ok=True)
    for old in paths.STUDENT.glob("*.ipynb"):
        old.unlink()
    for notebook in notebooks:
        shutil.copy(notebook, paths.STUDENT)


def make_all(task: str) -> None:
    """Make the course, and write its pages."""
    made: dict[Path, Path] = {}
    for number, master in enumerate(masters(), start=1):
        print(f"[{number}/{len(masters())}] assignment {master.stem}", flush=True)
        made[master] = make(master)
        if task == "check":
            check_solution(made[master])
    if task == "keep":
        keep(folder / f"{folder.name}.ipynb" for folder in made.values())
    shutil.rmtree(paths.COURSE / "pages", ignore_errors=True)
    (paths.COURSE / "pages").mkdir()
    for name, content in pages(made).items():
        (paths.COURSE / "pages" / name).write_bytes(content)
    print(f"{len(made)} assignments are in {paths.COURSE.relative_to(paths.ROOT)}")


if __name__ == "__main__":
    sys.exit(exit_status("course", partial(make_all, "".join(sys.argv[1:]))))
