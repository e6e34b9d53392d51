"""Make the course from the masters in book/assignments into _build/course.

    python -m book.course

For each master it leaves a folder with
    NAME.zip          for students: the notebook without solutions, and the visible tests;
    solution.ipynb    the notebook with its solutions and rubrics, for the teacher;
    autograder.zip    all tests, as `otter run`, `book/grading.py` and Gradescope want them;
    assignment.json   points and version, for `book/grading.py`,
and for each chapter that `make book` has run a page of slides. Otter Assign does the cutting;
nothing is kept in which a line of a solution or of a hidden test is found again, and nothing whose
own solution does not get all points.
"""

import hashlib
import html
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from book import grading

ROOT = Path(__file__).resolve().parent.parent
MASTERS = ROOT / "book" / "assignments"
COURSE = grading.COURSE
ORDER = ("metrics", "patches", "entropy", "attention", "study")  # as the chapters come
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # equal files make equal archives
SHORTEST_SECRET = 16  # letters; shorter lines are found everywhere
SEEDED = re.compile(r"\s*\w+ = np\.random\.default_rng\(\d+\)$")  # betrays nothing, and is common
READABLE = {".html", ".ipynb", ".js", ".json", ".md", ".py", ".txt", ".yml", ".zip"}


class CourseError(Exception):
    """An assignment cannot be made; the message says which and why."""


def masters() -> list[Path]:
    """All masters, in the order of the course."""
    found = sorted(MASTERS.glob("*.ipynb"))
    return sorted(found, key=lambda path: (*ORDER, path.stem).index(path.stem))


def mistakes(master: Path) -> dict[str, Any]:
    """The typical mistakes of an assignment, and its minutes."""
    return yaml.safe_load(master.with_suffix(".mistakes.yml").read_text(encoding="utf-8"))


# Reading a master.


def blocks(notebook: NotebookNode) -> Iterator[tuple[set[str], NotebookNode]]:
    """Every cell of a master with the kinds of block it stands in (QUESTION, SOLUTION, TESTS)."""
    inside: set[str] = set()
    for cell in notebook.cells:
        mark = re.match(r"#\s*(BEGIN|END)\s+(QUESTION|SOLUTION|TESTS|PROMPT)", cell.source)
        if mark and cell.cell_type == "raw":
            inside = inside | {mark[2]} if mark[1] == "BEGIN" else inside - {mark[2]}
        yield inside, cell


def questions(notebook: NotebookNode) -> list[dict[str, Any]]:
    """What stands at the head of each question: name, points, whether graded by hand."""
    heads = [cell.source for _, cell in blocks(notebook) if cell.cell_type == "raw"]
    return [yaml.safe_load(h) for h in heads if re.match(r"#\s*BEGIN\s+QUESTION", h)]


def split(notebook: NotebookNode) -> tuple[list[str], list[str]]:
    """The lines of a master that only teachers may see, and all others."""
    secret: list[str] = []
    public: list[str] = []
    for inside, cell in blocks(notebook):
        lines = cell.source.splitlines()
        if "TESTS" in inside:
            head = "\n".join(lines[:8])
            hidden = re.search(r"hidden:\s*true|^#\s*hidden", head, re.IGNORECASE | re.MULTILINE)
            (secret if hidden else public).extend(lines)
        elif "SOLUTION" in inside and cell.cell_type == "markdown":
            secret += lines
        elif "SOLUTION" in inside:
            within = False
            for line in lines:
                within = within or "# BEGIN SOLUTION" in line
                (secret if within or "# SOLUTION" in line else public).append(line)
                within = within and "# END SOLUTION" not in line
        else:
            public += lines
    return secret, public


# Finding what must not get out.


def squeezed(text: str) -> str:
    """Only letters and digits, so that no way of writing a line hides it."""
    return re.sub(r"[\W_]+", "", text)


@cache
def published() -> str:
    """All code and prose that readers of the book and students of any assignment see anyway."""
    programs = [*(ROOT / "mrdcae_lite").glob("*.py"), *MASTERS.glob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in programs]
    for master in masters():
        texts += split(nbformat.read(master, as_version=4))[1]
    for path in sorted((ROOT / "book" / "chapters").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        texts += [cell.source for cell in cells]
    return squeezed("\n".join(texts))


def secrets(master: Path) -> dict[str, str]:
    """Lines of solutions and hidden tests that stand nowhere in public, by their squeezed form."""
    secret, _ = split(nbformat.read(master, as_version=4))
    seen = published()
    lines = [line.strip() for line in secret if not SEEDED.match(line)]
    found = {squeezed(re.sub(r"#.*", "", line)): line for line in lines}
    return {k: v for k, v in found.items() if len(k) >= SHORTEST_SECRET and k not in seen}


def texts_in(path: Path) -> Iterator[tuple[str, str]]:
    """Name and text of a file, of all files of a folder, or of all members of an archive."""
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            if inner.is_file() and inner.suffix in READABLE and "_static" not in inner.parts:
                yield from texts_in(inner)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield f"{path}:{name}", archive.read(name).decode("utf-8", errors="replace")
    else:
        yield str(path), path.read_text(encoding="utf-8", errors="replace")


def leaks(places: Iterable[Path], secret: dict[str, str]) -> list[str]:
    """Where, in files, folders or archives, which secret line is found."""
    found = []
    for name, text in (each for place in places for each in texts_in(place)):
        if name.endswith(".html"):
            text = html.unescape(re.sub(r"<[^>]*>", "", text))
        plain = squeezed(text.replace("\\n", "\n"))
        found += [f"{name}: {line}" for key, line in secret.items() if key in plain]
    return found


# Making an assignment.


def key_of(master: Path) -> str:
    """A hash of all that an assignment is made from."""
    total = hashlib.sha256(importlib.metadata.version("otter-grader").encode())
    beside = [path for path in MASTERS.rglob("*") if path.is_file() and path.suffix == ".py"]
    for path in [master, *sorted(beside), Path(__file__)]:
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def with_requirements(notebook: NotebookNode) -> NotebookNode:
    """Tell Gradescope's machine what to install: this package, from its repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = f"{project['name']} @ git+{project['urls']['Repository']}"
    more = {"requirements": [wanted], "python_version": "3.11"}
    head = next(cell for cell in notebook.cells if "# ASSIGNMENT CONFIG" in cell.source)
    head.source = f"{head.source}\n{yaml.safe_dump(more)}"
    return notebook


def assign(master: Path, folder: Path) -> Path:
    """Let Otter Assign cut a master, in a copy of its folder; return where the two halves are."""
    copy = folder / "masters"
    shutil.copytree(
        MASTERS, copy, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    )
    nbformat.write(with_requirements(nbformat.read(master, as_version=4)), copy / master.name)
    command = [sys.executable, "-m", "otter", "assign", "--no-run-tests", master.name, "made"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    if done.returncode != 0:
        raise CourseError(f"{master.stem}: {done.stderr.strip().splitlines()[-1]}")
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
    target, key = COURSE / master.stem, key_of(master)
    about = target / "assignment.json"
    if about.exists() and json.loads(about.read_text())["key"] == key:
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
    about.write_text(json.dumps({"key": key, **description}, indent=1) + "\n")
    return target


def refuse_leaks(folder: Path, master: Path) -> None:
    """Remove what was made if students would see what they must not."""
    if found := leaks([folder / f"{master.stem}.zip"], secrets(master)):
        shutil.rmtree(folder)
        raise CourseError(f"{master.stem}: students would see {found[0]}")


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
    assignment = grading.Assignment.read(folder.name, folder.parent)
    mark = folder / "checked"
    if mark.exists() and mark.read_text() == assignment.version:
        return
    result = grading.grade(folder / "solution.ipynb", assignment, grading.Limits())
    if result["status"] != grading.GRADED or result["points"] != assignment.points:
        raise CourseError(
            f"{folder.name}: its own solution must get all points; "
            f"{result['status']}, {result['points']}, {result['message']}"
        )
    mark.write_text(assignment.version)


# Pages of the book.


def title_of(master: Path) -> str:
    """The heading of an assignment."""
    cells = nbformat.read(master, as_version=4).cells
    source = next(
        cell.source
        for cell in cells
        if cell.source.startswith("# ") and cell.cell_type == "markdown"
    )
    return source.partition("\n")[0].removeprefix("# ")


def offered(about: grading.Assignment, master: Path) -> str:
    """A line of the table for students."""
    total = sum(about.points.values()) + sum(about.by_hand.values())
    link = f"{{download}}`{about.name}.zip </assignments/{about.name}.zip>`"
    return f"| {title_of(master)} | {mistakes(master)['minutes']} | {total:g} | {link} |"


def answered(master: Path) -> list[str]:
    """The typical mistakes of one assignment and what the checks say to them, as a table."""
    lines = [f"**{title_of(master)}**", "", "| mistake | why | the check |", "|---|---|---|"]
    for mistake in mistakes(master)["mistakes"]:
        says = f"“{mistake['says']}”" if "says" in mistake else "only hidden tests see it"
        cells = (text.replace("|", r"\|") for text in (mistake["name"], mistake["why"], says))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def pages() -> dict[str, bytes]:
    """What the book shows of the course: archives for students, and three tables."""
    made = [(grading.Assignment.read(make(master).name), master) for master in masters()]
    offers = ["| assignment | minutes | points | |", "|---|---|---|---|"]
    offers += [offered(about, master) for about, master in made]
    wrong = [line for _, master in made for line in answered(master)]
    words = ["| status | what it means |", "|---|---|"]
    words += [f"| {status} | {meaning} |" for status, meaning in grading.STATUSES.items()]
    tables = {"table": offers, "mistakes": wrong, "statuses": words}
    files = {f"assignments/{name}.md": "\n".join(t).encode() for name, t in tables.items()}
    return files | {f"assignments/{a.name}.zip": a.student.read_bytes() for a, _ in made}


def main() -> int:
    """Make the course; return 0, or 1 after saying what is wrong."""
    from book import slides  # it needs book/build.py, which needs this module

    found = masters()
    try:
        for number, master in enumerate(found, start=1):
            print(f"[{number}/{len(found)}] {master.stem}", flush=True)
            check_solution(make(master))
        made = slides.make(COURSE / "slides")
    except (CourseError, grading.GradingError) as error:
        print(f"course: {error}", file=sys.stderr)
        return 1
    print(f"{len(found)} assignments and {made} pages of slides are in {COURSE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
