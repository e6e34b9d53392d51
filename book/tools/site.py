"""Build the book: run the chapters that changed, stage what is published, make the pages.

    python -m book.tools.site

1. `chapters` runs the chapters.
2. _build/stage gets what `PUBLISHED` lists and nothing else of book/; the package's cards (its
   Markdown files) in package/, MathJax from its installed package, the ledger of claims, the page
   about scale with its numbers, the drawings of the model, the codec for the browser, what `make
   course` offers to students, and the executed chapters, each with a line that says what it took.
3. Jupyter Book turns the stage into _build/html. A warning is an error.
4. The pages go into _build/mrdcae-lite-book.zip as well, to be unpacked and read from disk.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from book.command import UserError, exit_status
from book.tools import browser, chapters, diagrams, ledger, paths, scale
from book.tools.chapters import Run
from book.tools.records import digest, files_under, remember, remembered
from mrdcae_lite.notebook.widgets import LIVE

PUBLISHED = (
    "_toc.yml", "assets/*.css", "assets/*.svg", "back/*.md", "index.md", "references.bib", "try.md",
)  # fmt: skip
MATHJAX = "mathjax/tex-svg.js"
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


def readable(notebook: NotebookNode, run: Run) -> NotebookNode:
    """Add the measured line below the title of a chapter; drop what needs a kernel."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(LIVE, None)
    title, _, rest = notebook.cells[0].source.partition("\n")
    notebook.cells[0].source = f"{title}\n\n{run.line()}\n{rest}"
    return notebook


def chapter_pages(runs: dict[Path, Run]) -> dict[str, bytes]:
    """Return the executed chapters as they are published, by their path in the book."""
    pages = {}
    for source, run in runs.items():
        notebook = nbformat.read(chapters.executed(source), as_version=4)
        pages[f"chapters/{source.name}"] = nbformat.writes(readable(notebook, run)).encode()
    return pages


def course_pages() -> dict[str, bytes]:
    """Return what the course offers to students, as `book.course.assignments` left it."""
    found = files_under(paths.COURSE / "pages")
    if not found:
        raise UserError("expected what students get in _build/course/pages; run make book")
    return {f"assignments/{path.name}": path.read_bytes() for path in found}


def mathjax() -> bytes:
    """Read MathJax, one file that needs no other, from the package that carries it."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None or package.origin is None:
        raise UserError("expected the package sphinx-mathjax-offline; run make setup")
    return (Path(package.origin).parent / "static" / MATHJAX).read_bytes()


def stage(book: Path, target: Path, made: dict[str, bytes]) -> None:
    """Write anew what Jupyter Book reads: the published files of `book`, and what was made."""
    published = (path for pattern in PUBLISHED for path in book.glob(pattern))
    files = {path.relative_to(book).as_posix(): path.read_bytes() for path in published}
    shutil.rmtree(target, ignore_errors=True)
    for name, content in (files | made).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)


def pages_key() -> str:
    """Hash all that the pages are made from; the package is, for its docstrings."""
    others = [paths.ROOT / "_config.yml", paths.ROOT / "requirements.lock", Path(__file__)]
    return digest([*files_under(paths.STAGE), *files_under(paths.PACKAGE), *others])


def make_pages(key: str) -> None:
    """Let Jupyter Book make the pages, unless they are made from the same bytes already."""
    record = paths.BUILD / "html.json"
    if remembered(record, key) is not None and paths.ARCHIVE.exists():
        print("pages: nothing changed")
        return
    record.unlink(missing_ok=True)
    for folder in (paths.HTML, paths.BUILD / ".doctrees"):
        shutil.rmtree(folder, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(paths.STAGE)]
    command += ["--config", str(paths.ROOT / "_config.yml"), "--path-output", str(paths.ROOT)]
    if subprocess.run([*command, "-W", "-n", "--keep-going"], cwd=paths.ROOT).returncode != 0:
        raise UserError("the pages have warnings, named above; mend them and run again")
    for page in paths.HTML.rglob("*.html"):
        page.write_text(mended(page.read_text(encoding="utf-8")), encoding="utf-8")
    pack(paths.HTML, paths.ARCHIVE)
    remember(record, key)


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


def build() -> None:
    """Build the book and say where it is."""
    cards = [path for path in files_under(paths.PACKAGE) if path.suffix == ".md"]
    made = chapter_pages(chapters.run_all()) | {f"assets/{MATHJAX}": mathjax()}
    made |= {f"package/{c.relative_to(paths.PACKAGE)}": c.read_bytes() for c in cards}
    made |= ledger.pages() | diagrams.pages() | browser.pages() | scale.pages() | course_pages()
    stage(paths.BOOK, paths.STAGE, made)
    make_pages(pages_key())
    index, archive = (path.relative_to(paths.ROOT) for path in (paths.HTML, paths.ARCHIVE))
    print(f"open {index / 'index.html'}, or pass on {archive}")


if __name__ == "__main__":
    sys.exit(exit_status("book", build))
