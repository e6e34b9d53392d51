"""Build the book into _build/html: run the chapters that changed, stage them, make the pages.

    python book/build.py

1. Every notebook in book/chapters is run once by papermill. The result is kept in _build/executed
   with the time and memory it took, and is used again until the notebook, the package with its
   weights, the data manifests, the results, the locked environment or this script changes.
   Solutions of the exercises stand in book/solutions; no chapter and no page holds one. Only the
   tests run them, from _build/answered/chapters, where the chapters have them in their places.
2. _build/stage gets the other files of book/, the package's cards (its Markdown files) in package/,
   MathJax from its installed package, the ledger of claims, the drawings of the model, what the
   course offers to students, and the executed chapters, each with a line that says what it took.
3. Jupyter Book turns the stage into pages. A warning is an error.
4. The pages go into _build/mrdcae-lite-book.zip as well, to be unpacked and read from disk.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # when it runs as a script

from book import course, diagrams, ledger  # noqa: E402
from mrdcae_lite.notebook.widgets import LIVE  # noqa: E402

BOOK = ROOT / "book"
BUILD = ROOT / "_build"
EXECUTED = BUILD / "executed"
ANSWERED = BUILD / "answered"
STAGE = BUILD / "stage"
HTML = BUILD / "html"
HTML_KEY = BUILD / "html.key"
ARCHIVE = BUILD / "mrdcae-lite-book.zip"
MATHJAX = "mathjax/tex-svg.js"
PROGRAMS = {
    "assignments",  # the masters hold solutions; what students may see comes from course.py
    "build.py",
    "claims.yml",
    "course.py",
    "diagrams.py",
    "experiments",
    "grading.py",
    "ledger.py",
    "slides.py",
    "solutions",
}
NOT_STAGED = {*PROGRAMS, "__pycache__", ".ipynb_checkpoints"}
NOT_HASHED = {"__pycache__", ".ipynb_checkpoints"}
MENDED = {
    # Who has no mouse scrolls a wide table with the arrow keys, once it can have the focus.
    '<div class="pst-scrollable-table-container">': (
        '<div class="pst-scrollable-table-container" tabindex="0">'
    ),
    # Docutils calls the bibliography a list, though its entries are no list items.
    '<div role="list" class="citation-list">': '<div class="citation-list">',
}
# Jupyter Book puts Thebe's scripts on every page, twice, which is an error in the browser; they
# would fetch a kernel from another host, and no button here asks for one.
THEBE = re.compile(
    r"\s*<script>const THEBE_JS_URL.*?</script>"
    r'|\s*<script type="text/x-thebe-config">.*?</script>'
    r"|\s*<(?:script|link)[^>]*sphinx-thebe\.[^>]*>(?:</script>)?",
    re.DOTALL,
)


class BookError(Exception):
    """The book cannot be built; the message says which chapter or page and why."""


@dataclass(frozen=True)
class Run:
    """What executing one chapter took, and the key of everything that it depended on."""

    key: str
    seconds: float
    peak_megabytes: float
    cores: int

    def line(self) -> str:
        """Say the measurement in words, as it stands at the top of the chapter."""
        took = f"{self.seconds:.0f} s, {self.peak_megabytes:.0f} MB on {self.cores} cores"
        return f"*Measured when this page was built: {took}.*"


def files_under(folder: Path, skip: set[str] = NOT_HASHED) -> list[Path]:
    """List the files below a folder in a fixed order, without caches."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in found if not skip & set(path.relative_to(folder).parts)]


def digest(files: Iterable[Path]) -> str:
    """Hash names and contents of files."""
    total = hashlib.sha256(sys.version.encode())
    for path in files:
        total.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def shared_inputs() -> list[Path]:
    """List what every chapter depends on, whatever it says itself."""
    manifests = [path for path in files_under(ROOT / "data_scripts") if path.suffix != ".py"]
    return [
        *files_under(ROOT / "mrdcae_lite"),
        *files_under(BOOK / "results"),
        *manifests,
        ROOT / "requirements.lock",
        Path(__file__).resolve(),
    ]


def answered(chapter: NotebookNode, solutions: NotebookNode) -> NotebookNode:
    """Put each solution behind the cell that its metadata names."""
    known = {cell.id for cell in chapter.cells}
    for solution in solutions.cells:
        if solution.metadata.get("after") not in known:
            raise BookError(
                f"expected the solution {solution.id} to name a cell of its chapter in its "
                f"metadata, found after={solution.metadata.get('after')!r}"
            )
    cells: list[NotebookNode] = []
    for cell in chapter.cells:
        cells += [cell, *(one for one in solutions.cells if one.metadata.after == cell.id)]
    return NotebookNode({**chapter, "cells": cells})


def write_answered() -> None:
    """Write every chapter with its solutions, beside the results that chapters read."""
    shutil.rmtree(ANSWERED, ignore_errors=True)
    shutil.copytree(BOOK / "results", ANSWERED / "results")
    (ANSWERED / "chapters").mkdir()
    for source in sorted((BOOK / "chapters").glob("*.ipynb")):
        chapter, solutions = nbformat.read(source, as_version=4), BOOK / "solutions" / source.name
        if solutions.exists():
            chapter = answered(chapter, nbformat.read(solutions, as_version=4))
        nbformat.write(chapter, ANSWERED / "chapters" / source.name)


def run_papermill(source: Path, target: Path) -> tuple[float, float]:
    """Execute a notebook; return its seconds and the peak megabytes of its largest process."""
    command = [sys.executable, "-m", "papermill", str(source), str(target)]
    command += ["--cwd", str(BOOK / "chapters"), "--kernel", "python3", "--log-level", "ERROR"]
    watched = sys.stderr.isatty()
    command += ["--progress-bar" if watched else "--no-progress-bar"]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "IPYTHONDIR": str(kernel_profile())}
    start = time.monotonic()
    with target.with_suffix(".log").open("w") as log:
        errors = None if watched else log
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | quiet, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise BookError(failure(source.stem, target))
    kilobyte = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
    return seconds, usage.ru_maxrss * kilobyte / 1e6


def kernel_profile() -> Path:
    """Make the kernel's settings: what C++ libraries log stays out of the notebook."""
    settings = BUILD / "ipython" / "profile_default" / "ipython_kernel_config.py"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("get_config().IPKernelApp.capture_fd_output = False\n")
    return BUILD / "ipython"


def failure(chapter: str, executed: Path) -> str:
    """Say which cell of a chapter failed, from the notebook papermill left behind."""
    if executed.exists():
        for cell in nbformat.read(executed, as_version=4).cells:
            for output in cell.get("outputs", []):
                if output.output_type == "error":
                    where = f"chapter {chapter} failed in cell In [{cell.execution_count}]:"
                    return "\n".join([where, cell.source, "", *output.traceback])
    log = executed.with_suffix(".log").relative_to(ROOT)
    return f"chapter {chapter} did not run to its end; the kernel stopped, see {log}"


def remembered(source: Path, key: str) -> Run | None:
    """Return what running a chapter took, if it ran with just these inputs before."""
    target, record = EXECUTED / source.name, EXECUTED / f"{source.stem}.json"
    if not (record.exists() and target.exists()):
        return None
    run = Run(**json.loads(record.read_text()))
    return run if run.key == key else None


def execute(source: Path, key: str) -> Run:
    """Run one chapter and remember what it took."""
    target, record = EXECUTED / source.name, EXECUTED / f"{source.stem}.json"
    for path in (target, record):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    seconds, megabytes = run_papermill(source, target)
    run = Run(key, round(seconds, 1), round(megabytes, 1), os.cpu_count() or 1)
    record.write_text(json.dumps(asdict(run), indent=1) + "\n")
    return run


def readable(notebook: NotebookNode, run: Run) -> NotebookNode:
    """Add the measured line below the title; drop papermill's notes and what needs a kernel."""
    for notes in ("papermill", "widgets"):
        notebook.metadata.pop(notes, None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(LIVE, None)
    title, _, rest = notebook.cells[0].source.partition("\n")
    if not title.startswith("# "):
        raise BookError(f"expected a chapter to begin with a '# Title' cell, found {title!r}")
    notebook.cells[0].source = f"{title}\n\n{run.line()}\n{rest}"
    return notebook


def run_chapters() -> dict[str, bytes]:
    """Execute every chapter that changed; return all of them as they go to the stage."""
    shared, staged = digest(shared_inputs()), {}
    sources = sorted((BOOK / "chapters").glob("*.ipynb"))
    for number, source in enumerate(sources, start=1):
        place, key = f"[{number}/{len(sources)}] {source.stem}", f"{shared}-{digest([source])}"
        run = remembered(source, key)
        if run is None:
            print(f"{place}: running ...", flush=True)
            run = execute(source, key)
            print(f"{place}: {run.seconds} s, {run.peak_megabytes} MB", flush=True)
        else:
            print(f"{place}: unchanged", flush=True)
        executed = nbformat.read(EXECUTED / source.name, as_version=4)
        text = nbformat.writes(readable(executed, run))
        staged[f"chapters/{source.name}"] = text.encode()
    return staged


def mathjax() -> bytes:
    """Read MathJax, one file that needs no other, from the package that carries it."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None or package.origin is None:
        raise BookError("expected the package sphinx-mathjax-offline; run make setup")
    return (Path(package.origin).parent / "static" / MATHJAX).read_bytes()


def stage(chapters: dict[str, bytes]) -> str:
    """Write the stage anew; return the hash of all that the pages are made from."""
    others = [path for path in files_under(BOOK, NOT_STAGED) if path.suffix != ".ipynb"]
    cards = [path for path in files_under(ROOT / "mrdcae_lite") if path.suffix == ".md"]
    files = {path.relative_to(BOOK).as_posix(): path.read_bytes() for path in others}
    files |= {f"package/{c.relative_to(ROOT / 'mrdcae_lite')}": c.read_bytes() for c in cards}
    files |= chapters | {f"assets/{MATHJAX}": mathjax()} | ledger.pages() | diagrams.pages()
    files |= course.pages()
    shutil.rmtree(STAGE, ignore_errors=True)
    for name, content in files.items():
        (STAGE / name).parent.mkdir(parents=True, exist_ok=True)
        (STAGE / name).write_bytes(content)
    docstrings = files_under(ROOT / "mrdcae_lite")
    others = [ROOT / "_config.yml", ROOT / "requirements.lock", *docstrings]
    pages = digest([*files_under(STAGE), *others])
    return f"{pages}-{digest([Path(__file__).resolve()])}"


def make_pages(key: str) -> None:
    """Let Jupyter Book make the pages, unless they are made from the same bytes already."""
    if HTML_KEY.exists() and HTML_KEY.read_text() == key and ARCHIVE.exists():
        print("pages: nothing changed")
        return
    HTML_KEY.unlink(missing_ok=True)
    for folder in (HTML, BUILD / ".doctrees"):
        shutil.rmtree(folder, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(STAGE)]
    command += ["--config", str(ROOT / "_config.yml"), "--path-output", str(ROOT)]
    if subprocess.run([*command, "-W", "-n", "--keep-going"], cwd=ROOT).returncode != 0:
        raise BookError("the pages have warnings, named above; mend them and run again")
    for page in HTML.rglob("*.html"):
        page.write_text(mended(page.read_text(encoding="utf-8")), encoding="utf-8")
    pack(HTML, ARCHIVE)
    HTML_KEY.write_text(key)


def mended(page: str) -> str:
    """Mend what keeps a page from those who read it without eyes or without a mouse, or offline."""
    for found, better in MENDED.items():
        page = page.replace(found, better)
    return THEBE.sub("", page)


def pack(folder: Path, archive: Path) -> None:
    """Put the pages into one file; unpacked, they are a folder of its name."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files_under(folder):
            packed.write(path, Path(archive.stem) / path.relative_to(folder))


def main() -> int:
    """Build the book; return 0, or 1 after saying what is wrong."""
    try:
        write_answered()
        make_pages(stage(run_chapters()))
    except (BookError, course.CourseError) as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    print(f"open {(HTML / 'index.html').relative_to(ROOT)}, or pass on {ARCHIVE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
