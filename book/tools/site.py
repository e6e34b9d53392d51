"""Build the book: run the chapters that changed, stage what is published, make the pages.

    python -m book.tools.site

1. `chapters` runs the chapters.
2. _build/stage gets what `PUBLISHED` lists and nothing else of book/; the package's cards (its
   Markdown files) in package/, MathJax for the slides, favicon and `preview`, the ledger of
   claims, the page about scale with its numbers, the drawings of the model, the list of modules,
   the codec for the browser, what `make course` offers to students, and the executed chapters,
   each with a line that says what it took.
3. Jupyter Book turns the stage into _build/html. A warning is an error. Then the pages are made
   light: `formulas` are drawn, `pictures` become small files, `icons` one small font, and scripts
   that no page needs are left out. Slides of every chapter (`slides`) go beside its pages.
4. The pages go into _build/mrdcae-lite-book.zip as well, to be unpacked and read from disk.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from base64 import b64decode
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from book.command import UserError, exit_status
from book.tools import (
    browser,
    chapters,
    diagrams,
    figures,
    formulas,
    icons,
    ledger,
    modules,
    paths,
    pictures,
    preview,
    scale,
    slides,
)
from book.tools.chapters import Run
from book.tools.records import digest, files_under, remember, remembered
from mrdcae_lite.notebook.widgets import LIVE

PUBLISHED = (
    "_toc.yml", "assets/*.css", "assets/*.svg", "back/*.md", "index.md", "references.bib", "try.md",
)  # fmt: skip
MATHJAX = "mathjax/tex-svg.js"  # of the slides: one file that needs no other
ROOT = re.compile(r'data-content_root="([^"]*)"')
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
    """Add the measured line to the first cell of a chapter; drop what its page does not show."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind in (LIVE, figures.DARK):
                output.get("data", {}).pop(kind, None)
    notebook.cells[0].source += f"\n\n{run.line()}"
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


def stage(book: Path, target: Path, made: dict[str, bytes]) -> None:
    """Write anew what Jupyter Book reads: the published files of `book`, and what was made."""
    published = (path for pattern in PUBLISHED for path in book.glob(pattern))
    files = {path.relative_to(book).as_posix(): path.read_bytes() for path in published}
    shutil.rmtree(target, ignore_errors=True)
    for name, content in (files | made).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)


def nights(runs: dict[Path, Run]) -> dict[str, bytes]:
    """Return the figures for dark pages by the SHA-256 of those for light ones."""
    found = {}
    for source in runs:
        for cell in nbformat.read(chapters.executed(source), as_version=4).cells:
            for data in (output.get("data", {}) for output in cell.get("outputs", [])):
                if figures.DARK in data:
                    day, night = (b64decode(data[kind]) for kind in ("image/png", figures.DARK))
                    found[hashlib.sha256(day).hexdigest()] = night
    return found


def pages_key() -> str:
    """Hash all that the pages are made from; the package is, for its docstrings."""
    others = [paths.ROOT / "_config.yml", paths.ROOT / "requirements.lock", Path(__file__)]
    others += [
        Path(str(module.__file__)) for module in (figures, formulas, icons, pictures, slides)
    ]
    others.append(formulas.PROGRAM)
    return digest([*files_under(paths.STAGE), *files_under(paths.PACKAGE), *others])


def make_pages(key: str, dark: dict[str, bytes]) -> None:
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
    lighten(paths.HTML, dark)
    slides.make(paths.HTML / "_static" / "slides", chapters.sources())
    pack(paths.HTML, paths.ARCHIVE)
    remember(record, key)


def lighten(html: Path, dark: dict[str, bytes]) -> None:
    """Rewrite the pages of a folder so that they load little and all can read them."""
    static = html / "_static"
    found = (path for path in html.rglob("*.html") if static not in path.parents)
    pages, sheet = formulas.typeset({path: path.read_text("utf-8") for path in found})
    (static / "formulas.css").write_text(sheet, "utf-8")
    made = pictures.Pictures(html, dark)
    pages = {path: mended(made.mended(path, page)) for path, page in pages.items()}
    for path, page in pages.items():
        path.write_text(page, "utf-8")
    made.clear(pages)
    text = "".join(pages.values())
    for drawing in static.glob("*.svg"):  # staged, but shown nowhere, or copied to its page's own
        if f"_static/{drawing.name}" not in text:
            drawing.unlink()
    icons.replace(static, pages.values())


def mended(page: str) -> str:
    """Mend what keeps a page from those who read it without eyes or without a mouse, or offline."""
    for found, better in MENDED.items():
        page = page.replace(found, better)
    page = icons.TAGS.sub("", THEBE.sub("", page))
    styles = ["icons.css", *(["formulas.css"] if "<mjx-container" in page else [])]
    root = ROOT.search(page)
    links = (f'<link rel="stylesheet" href="{root[1] if root else ""}_static/{s}">' for s in styles)
    return page.replace("</head>", "\n".join((*links, "</head>")), 1)


def pack(folder: Path, archive: Path) -> None:
    """Put the pages into one file; unpacked, they are a folder of its name."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files_under(folder):
            packed.write(path, Path(archive.stem) / path.relative_to(folder))


def build() -> None:
    """Build the book and say where it is."""
    cards = [path for path in files_under(paths.PACKAGE) if path.suffix == ".md"]
    runs = chapters.run_all()
    mathjax = (formulas.mathjax().parent / MATHJAX).read_bytes()
    made = chapter_pages(runs) | {f"assets/{MATHJAX}": mathjax} | preview.pages()
    made |= {f"package/{c.relative_to(paths.PACKAGE)}": c.read_bytes() for c in cards}
    made |= ledger.pages() | diagrams.pages() | modules.pages() | scale.pages()
    made |= browser.pages() | course_pages()
    stage(paths.BOOK, paths.STAGE, made)
    make_pages(pages_key(), nights(runs))
    index, archive = (path.relative_to(paths.ROOT) for path in (paths.HTML, paths.ARCHIVE))
    print(f"open {index / 'index.html'}, or pass on {archive}")


if __name__ == "__main__":
    sys.exit(exit_status("book", build))
