"""Make slides from the chapters that `make book` has run, a page of plain HTML for each.

    python -m book.tools.slides

A heading or a paragraph begins a slide; the code and the pictures below belong to it. A page asks
nothing from the network: the space bar or the arrow keys go on and back, printing gives one slide
a sheet. The code of a slide is folded.
"""

import html
import re
import sys
from collections.abc import Iterable

import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from traitlets.config import Config

from book.command import UserError, exit_status
from book.tools import chapters, paths, site

STYLE = """
html { scroll-snap-type: y proximity; font: 1.5rem/1.45 system-ui, sans-serif; }
body { margin: 0; }
section { min-height: 100vh; box-sizing: border-box; padding: 5vh 8vw; scroll-snap-align: start;
  border-bottom: 1px solid #ccc; display: flex; flex-direction: column; justify-content: center; }
h1 { font-size: 2em; } h2 { font-size: 1.5em; } a.anchor-link { display: none; }
img { max-width: 100%; max-height: 70vh; } pre { font-size: 0.75em; overflow: auto; }
table { border-collapse: collapse; } td, th { padding: 0.2em 0.6em; }
details > summary { cursor: pointer; color: #555; font-size: 0.75em; }
@media print { section { break-after: page; border: 0; } details { display: none; } }
"""
KEYS = """
const slides = [...document.querySelectorAll("section")];
const here = () => slides.findLastIndex(s => s.getBoundingClientRect().top < innerHeight / 2);
const steps = {ArrowRight: 1, PageDown: 1, " ": 1, ArrowLeft: -1, PageUp: -1};
addEventListener("keydown", event => {
  const next = slides[here() + steps[event.key]];
  if (!next || event.target.closest("input, button, summary")) return;
  event.preventDefault();
  next.scrollIntoView();
});
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}</style>
<script>window.MathJax = {{tex: {{inlineMath: [["$", "$"]]}}}};</script>
<script defer src="mathjax.js"></script>
</head>
<body>
{slides}
<script>{keys}</script>
</body>
</html>
"""
NO_ALT = 'alt="No description has been provided for this image"'  # what nbconvert writes


def groups(notebook: NotebookNode) -> list[list[NotebookNode]]:
    """The cells of a chapter, slide by slide, without its installation and its exercises."""
    found: list[list[NotebookNode]] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## Your turn"):
            break
        if "parameters" in cell.metadata.get("tags", []):
            continue
        for part in parts_of(cell):
            if part.cell_type == "markdown" or not found:
                found.append([])
            found[-1].append(part)
    return [cells for cells in found if not any("%pip" in cell.source for cell in cells)]


def parts_of(cell: NotebookNode) -> list[NotebookNode]:
    """A cell of prose cut before each of its headings; any other cell as it is."""
    if cell.cell_type != "markdown":
        return [cell]
    texts = re.split(r"^(?=## )", plain_markdown(cell.source), flags=re.MULTILINE)
    return [nbformat.v4.new_markdown_cell(text) for text in texts if text.strip()]


def plain_markdown(source: str) -> str:
    """Prose without what only the book understands: citations, and links to other notebooks."""
    source = re.sub(r"\s*\{cite:\w+\}`[^`]*`", "", source)
    source = re.sub(r"\{(?:doc|ref)\}`([^<`]*?) ?(?:<[^>]*>)?`", r"\1", source)
    source = re.sub(r"^```\{figure\}.*?^```$", "", source, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\((?:\.\./chapters/)?([\w-]+)\.ipynb\)", r"(\1.html)", source)


def exporter() -> HTMLExporter:
    """Bare HTML of cells, without the page around them."""
    settings = Config()
    settings.HTMLExporter.exclude_input = True  # `slide` shows the code, folded
    settings.HTMLExporter.exclude_output_prompt = True
    return HTMLExporter(template_name="basic", config=settings)


def slide(cells: Iterable[NotebookNode], convert: HTMLExporter) -> str:
    """One slide: prose and pictures to see, code to unfold."""
    pieces = []
    for cell in cells:
        if cell.cell_type == "code":
            code = f"<pre><code>{html.escape(cell.source)}</code></pre>"
            pieces.append(f"<details><summary>code</summary>{code}</details>")
        body, _ = convert.from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
        alt = html.escape(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", ""))
        pieces.append(body.replace(NO_ALT, f'alt="{alt}"'))
    return "<section>\n" + "\n".join(pieces) + "\n</section>"


def page(notebook: NotebookNode, convert: HTMLExporter) -> str:
    """The slides of a chapter as a page."""
    title = notebook.cells[0].source.partition("\n")[0].removeprefix("# ")
    shown = "\n".join(slide(cells, convert) for cells in groups(notebook))
    return PAGE.format(title=html.escape(title), style=STYLE, keys=KEYS, slides=shown)


def make() -> None:
    """Write a page for each chapter."""
    folder, convert = paths.COURSE / "slides", exporter()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mathjax.js").write_bytes(site.mathjax())
    for source in chapters.sources():
        if not chapters.executed(source).exists():
            raise UserError(f"expected chapter {source.stem} to have run; run make book")
        notebook = nbformat.read(chapters.executed(source), as_version=4)
        (folder / f"{source.stem}.html").write_text(page(notebook, convert), encoding="utf-8")
    print(f"{len(chapters.sources())} pages of slides are in {folder.relative_to(paths.ROOT)}")


if __name__ == "__main__":
    sys.exit(exit_status("slides", make))
