"""Make slides from the executed chapters, a page of plain HTML for each, for `book.tools.site`.

A slide has a heading, one sentence and one figure, and is never taller than the screen; what a
chapter asks to remember is a list. The sentence is what the chapter says that one should see; all
else that it says there becomes the speaker's notes. A page asks nothing from the network: the space
bar or the arrow keys go on and back, N shows the notes, and printing gives one slide a sheet.
"""

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.filters import markdown2html
from nbformat import NotebookNode

from book.tools import chapters

MOST_ROWS = 12  # of a table or of printed text
FEWEST_WORDS = 5  # of a sentence
MOST_COLUMNS = 90  # letters of printed text
LEFT_OUT = {"Your turn", "A short quiz"}  # they are for the reader, not for the room
BULLET = re.compile(r"^(?:[-*]|\d+\.) ")
LEAD = re.compile(r"\*\*[^*]+\*\*")  # bold words that only name what follows
SEEN = re.compile(r"^\*\*What you should see\.?\*\*:?\s*")
SENTENCE = re.compile(r".+?[.!?][*_)”\"]*(?=\s|$)", re.DOTALL)
FORMULA = re.compile(r"^\$\$.+?\$\$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"(?:^\|.*\n?)+", re.MULTILINE)

STYLE = """
html { scroll-snap-type: y mandatory; font-family: system-ui, sans-serif; color: #222; }
body { margin: 0; }
section { position: relative; height: 100vh; box-sizing: border-box; padding: 4vh 6vw; gap: 2vh;
  display: grid; grid-template-rows: auto auto minmax(0, 1fr); scroll-snap-align: start;
  overflow: hidden; border-bottom: 1px solid #ccc; }
section.first { grid-template-rows: auto auto auto; align-content: center; }
h1, h2 { margin: 0; font-size: min(6vh, 3.4vw); } h1 { font-size: min(9vh, 5vw); }
.sentence { font-size: min(4vh, 2.3vw); line-height: 1.35; } .sentence p { margin: 0; }
.figure { display: flex; gap: 2vw; justify-content: center; align-items: center; min-height: 0; }
.figure > img, .figure > svg { min-width: 0; min-height: 0; flex: 1; width: 100%;
  height: 100%; object-fit: contain; }
.figure > svg { font: 14px sans-serif; fill: currentColor; }
.figure > svg path { fill: none; stroke-width: var(--wide, 1.5); }
.figure > svg .mr-rule { stroke: currentColor; stroke-dasharray: 4 3; }
.figure pre { font-size: min(3vh, 1.7vw); margin: 0; }
.figure pre.short { font-size: min(5vh, 3vw); } .figure > p { font-size: min(4vh, 2.3vw); }
.figure > ul { font-size: min(4vh, 2.3vw); line-height: 1.35; align-self: start; flex: 1; }
.figure ul { margin: 0; } .figure li { margin-bottom: 1.5vh; }
table { border-collapse: collapse; font-size: min(2.6vh, 1.6vw); }
td, th { padding: 0.2em 0.7em; border-bottom: 1px solid #ccc; text-align: left; }
aside { display: none; position: absolute; inset: auto 0 0; max-height: 45vh; overflow: auto;
  box-sizing: border-box; padding: 1vh 6vw; background: #fffbe6; border-top: 2px solid #b3541e;
  font-size: min(2.6vh, 1.5vw); line-height: 1.4; }
body.notes aside { display: block; }
.keys { color: #666; font-size: min(2.6vh, 1.5vw); }
@page { size: 320mm 180mm; margin: 0; }
@media print {
  section { break-after: page; border: 0; }
  aside, .keys { display: none !important; }
}
"""
KEYS = """
const slides = [...document.querySelectorAll("section")];
const here = () => slides.findLastIndex(s => s.getBoundingClientRect().top < innerHeight / 2);
const steps = {ArrowRight: 1, PageDown: 1, " ": 1, ArrowLeft: -1, PageUp: -1};
addEventListener("keydown", event => {
  if (event.key.toLowerCase() === "n") document.body.classList.toggle("notes");
  const next = slides[here() + steps[event.key]];
  if (!next) return;
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
<script defer src="../mathjax/tex-svg.js"></script>
</head>
<body>
{slides}
<script>{keys}</script>
</body>
</html>
"""


@dataclass
class Slide:
    """A heading, a sentence and a figure; the notes are Markdown."""

    heading: str
    sentence: str = ""
    figure: str = ""
    notes: list[str] = field(default_factory=list)


def plain_markdown(source: str) -> str:
    """Prose without what only the book understands: citations, and links to other notebooks."""
    source = re.sub(r"\s*\{cite:\w+\}`[^`]*`", "", source)
    source = re.sub(r"\{(?:doc|ref)\}`([^<`]*?) ?(?:<[^>]*>)?`", r"\1", source)
    source = re.sub(r"^```\{.*?^```$", "", source, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\((?:\.\./chapters/)?([\w-]+)\.ipynb\)", r"(\1.html)", source)


def parts(notebook: NotebookNode) -> Iterator[tuple[str, Any]]:
    """Headings, paragraphs, figures and printed text in order, without exercises and quiz."""
    wanted = True
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for text in re.split(r"\n\s*\n", plain_markdown(cell.source)):
                kind = "heading" if text.startswith("#") else "prose"
                if kind == "heading":
                    wanted = text.partition("\n")[0].lstrip("# ") not in LEFT_OUT
                if wanted and text.strip() and "cell installs the package" not in text:
                    yield kind, text.strip()
        for output in cell.get("outputs", []):
            figure = figure_of(output, cell.metadata.get("mystnb", {}))
            if figure and wanted:
                yield ("printed" if output.output_type == "stream" else "figure"), figure


def figure_of(output: NotebookNode, about: dict[str, Any]) -> str:
    """What a slide shows of an output, as HTML; nothing if it is no figure or too large for one."""
    if output.output_type == "stream":
        return printed_of(output.text)
    data = output.get("data", {})
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            alt = html.escape(about.get("image", {}).get("alt", ""))
            return f'<img src="data:{kind};base64,{data[kind].strip()}" alt="{alt}">'
    shown = data.get("text/html", "")
    pictures = [tag for tag in re.findall(r"<img[^>]*>", shown) if "hidden" not in tag]
    if pictures:  # of an interactive figure its two ends
        return "".join([pictures[0], *pictures[1:][-1:]])
    if drawing := re.search(r"<svg.*?</svg>", shown, re.DOTALL):
        return drawing[0]
    if table := TABLE.search(data.get("text/markdown", "")):
        return table_of(table[0])
    return ""


def printed_of(text: str) -> str:
    """Printed text as HTML, if it fits on a slide, without what answers a reader's guess."""
    lines = [line for line in text.rstrip().splitlines() if "you guessed" not in line.lower()]
    wide = max(map(len, lines), default=0)
    if not wide or len(lines) > MOST_ROWS or wide > MOST_COLUMNS:
        return ""
    short = ' class="short"' if len(lines) <= MOST_ROWS / 2 and wide <= MOST_COLUMNS / 2 else ""
    return f"<pre{short}>{html.escape(chr(10).join(lines))}</pre>"


def table_of(text: str) -> str:
    """A table as HTML, if it fits on a slide."""
    rows = text.strip().splitlines()
    return str(markdown2html("\n".join(rows))) if len(rows) <= MOST_ROWS + 2 else ""


def first_sentence(text: str) -> str:
    """The first sentence of a paragraph that says something for itself.

    A few words, such as "Old friends.", and a question are taken only if there is nothing else.
    """
    text = BULLET.sub("", SEEN.sub("", text))
    found = [re.sub(r"\s+", " ", one.strip()) for one in SENTENCE.findall(text)]
    says = [one for one in found if not one.endswith("?") and not LEAD.fullmatch(one)]
    whole = [one for one in says if len(one.split()) >= FEWEST_WORDS]
    return next(iter([*whole, *says, *found]), re.sub(r"\s+", " ", text))


def list_of(text: str) -> str:
    """The points of a list as HTML, a sentence each; nothing if the text is no list."""
    if not BULLET.match(text):
        return ""
    points = re.split(r"\n(?=(?:[-*]|\d+\.) )", text)
    return str(markdown2html("\n".join(f"- {first_sentence(point)}" for point in points)))


def slides_of(notebook: NotebookNode) -> list[Slide]:
    """One slide for each figure, and one for each section that has none."""
    made: list[Slide] = []
    notes: list[str] = []  # what was said since the last figure
    printed = ""
    heading = notebook.cells[0].source.partition("\n")[0].removeprefix("# ")

    def close_section() -> None:
        nonlocal printed
        prose = [text for text in notes if not text.startswith(("|", "$$"))]
        if made and made[-1].heading == heading:
            made[-1].notes += notes
        elif prose:
            formula = next(iter(FORMULA.findall("\n\n".join(notes))), "")
            table = next((table_of(text) for text in notes if text.startswith("|")), "")
            figure = f"<p>{html.escape(formula)}</p>" if formula else table or printed
            points = list_of(prose[0]) if made and not figure else ""
            figure = figure or points if made else ""  # a chapter's own slide is its title
            said = "" if points else first_sentence(prose[0])
            made.append(Slide(heading, said, figure, list(notes)))
        printed = ""
        notes.clear()

    for kind, content in parts(notebook):
        if kind == "heading" and not content.startswith("# "):
            close_section()
            heading = content.partition("\n")[0].lstrip("#").strip()
        elif kind == "heading":
            notes += content.split("\n")[1:]
        elif kind == "prose":
            if SEEN.match(content) and made and made[-1].heading == heading and not notes:
                made[-1].sentence = first_sentence(content)
            notes.append(content)
        elif kind == "printed":
            printed = content
        else:
            if not made:
                close_section()  # the chapter's own slide comes first
            prose = [text for text in notes if not text.startswith(("|", "$$"))]
            said = first_sentence(prose[-1]) if prose else made[-1].sentence
            made.append(Slide(heading, said, content, list(notes)))
            notes.clear()
    close_section()
    return made


def section(slide: Slide, number: int) -> str:
    """A slide as HTML."""
    level, kind = ("h1", ' class="first"') if number == 0 else ("h2", "")
    notes = markdown2html("\n\n".join(slide.notes))
    keys = '<p class="keys">Space and arrow keys go on and back, N shows notes.</p>'
    return (
        f"<section{kind}>\n<{level}>{html.escape(slide.heading)}</{level}>\n"
        f'<div class="sentence">{markdown2html(slide.sentence)}</div>\n'
        f'<div class="figure">{slide.figure or (keys if number == 0 else "")}</div>\n'
        f"<aside>{notes}</aside>\n</section>"
    )


def page(notebook: NotebookNode) -> str:
    """The slides of a chapter as a page."""
    made = slides_of(notebook)
    shown = "\n".join(section(slide, number) for number, slide in enumerate(made))
    title = html.escape(made[0].heading)
    return PAGE.format(title=title, style=STYLE, keys=KEYS, slides=shown)


def make(folder: Path, sources: Iterable[Path]) -> None:
    """Write a page for each chapter into a folder beside that of MathJax."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        notebook = nbformat.read(chapters.executed(source), as_version=4)
        (folder / f"{source.stem}.html").write_text(page(notebook), encoding="utf-8")
