"""Hold still what moves: the staged book for paper and for readers of e-books, without scripts.

`copy` takes what `book.tools.site` staged. In it

- a widget becomes one picture of all it can show, its caption and the address of the page on which
  it moves;
- code that a page folds is left out, and so is what it prints; what it draws stays;
- what unfolds (the quiz, the drop-downs) is open, and a part that needs a script is named with its
  address.
"""

import base64
import re
import shutil
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from bs4 import BeautifulSoup, Tag
from nbformat import NotebookNode
from PIL import Image

GAP = 12  # pixels between the pictures of a widget
LEFT_OUT = ("assets/codec", "assets/front", "assignments")  # no page of paper can use them
RAW = re.compile(r"^(`{3,})\{raw\} html\n(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)
INCLUDED = re.compile(r"^```\{include\} (\S+)\n```[ ]*$", re.MULTILINE)
QUIZ = re.compile(r'<details class="quiz"><summary>(.*?)</summary>(.*?)</details>', re.DOTALL)
DOWNLOAD = re.compile(r"\{download\}`([^`<]+?) <[^`]*>`")
STATIC = re.compile(r"(?<=href=\")(?:\.\./)?_static/")
ASKED = "Choose an answer and unfold it. Nothing is sent anywhere."
PLOT = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="560" height="420" '
    'font-family="sans-serif" font-size="14">'
    "<style>path {fill: none; stroke-width: var(--wide, 2)}</style>"
)


@dataclass(frozen=True)
class Still:
    """What is left of a widget: a picture, and the words below it, as Markdown."""

    kind: str  # "image/png" or "image/svg+xml"
    picture: bytes
    caption: str
    words: str

    @property
    def suffix(self) -> str:
        """How the picture's file is named."""
        return ".png" if self.kind == "image/png" else ".svg"


def still(html: str, static: Path, address: str) -> Still | None:
    """Return what a widget's HTML shows when nothing moves; None if it is no widget.

    Args:
        html: what a cell or a page holds.
        static: the folder in which files named `_static/...` lie.
        address: where the page with the widget is published.
    """
    figure = BeautifulSoup(html, "html.parser").select_one("figure.mr-widget")
    if figure is None:
        return None
    caption = " ".join(_own_text(figure.select_one("figcaption")).split())
    there = f"It moves at <{address}>."
    if (plot := figure.select_one("svg")) is not None:
        drawn = re.sub(r"<line class=\"mr-rule\".*?</line>", "", plot.decode_contents())
        inner = f'<g transform="scale({560 / 480:.4f})">{drawn}</g>'
        svg = PLOT + inner.replace("currentColor", "#000") + "</svg>"
        return Still("image/svg+xml", svg.encode(), caption, f"{_escaped(caption)} {there}")
    pictures = [_pixels(str(img["src"]), static) for img in figure.select("img")]
    words = [item.get_text() for item in figure.select("li")]
    if figure.select_one(".mr-divider, .mr-words"):
        words = [part.get_text().strip("◀▶\xa0 ") for part in figure.select(".mr-words span")]
    if "mr-blind" in figure["class"]:
        pictures = pictures[:3]
        words = ["an original", "one version of it", "the other one; the page tells which is which"]
    enlarged = figure.select_one(".mr-pixels") is not None
    listed = "; ".join(f"({n}) {_escaped(text)}" for n, text in enumerate(words, start=1))
    picture = _png(_side_by_side(pictures, 2 if enlarged else 1))
    order = "Line by line" if len(pictures) > _columns(len(pictures)) else "From left to right"
    return Still("image/png", picture, caption, f"{_escaped(caption)} {order}: {listed}. {there}")


def _own_text(caption: Tag | None) -> str:
    """Return a caption without the advice how to move, and without its list."""
    return "" if caption is None else "".join(caption.find_all(string=True, recursive=False))


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>$|])", r"\\\1", text)


def _pixels(source: str, static: Path) -> Image.Image:
    inside = re.match(r"data:image/\w+;base64,", source)
    data = (
        base64.b64decode(source[inside.end() :])
        if inside
        else (static / source.removeprefix("_static/")).read_bytes()
    )
    return Image.open(BytesIO(data)).convert("RGB")


def _columns(count: int) -> int:
    return count if count <= 3 else 2 if count == 4 else 3


def _side_by_side(pictures: list[Image.Image], scale: int) -> Image.Image:
    """Put pictures of one size into rows, each pixel `scale` times as large."""
    tiles = [np.asarray(picture).repeat(scale, 0).repeat(scale, 1) for picture in pictures]
    (height, width, _), columns = tiles[0].shape, _columns(len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full(
        (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, dtype=np.uint8
    )
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = row * (height + GAP), column * (width + GAP)
        sheet[top : top + height, left : left + width] = tile
    return Image.fromarray(sheet)


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def notebook(chapter: NotebookNode, static: Path, address: str) -> NotebookNode:
    """Hold an executed chapter still, in place."""
    for cell in chapter.cells:
        if cell.cell_type == "markdown":
            cell.source = _open(cell.source)
        elif cell.cell_type == "code":
            _code(cell, static, address)
    return chapter


def _code(cell: NotebookNode, static: Path, address: str) -> None:
    tags: list[str] = cell.metadata.get("tags", [])
    if "hide-input" in tags:
        cell.metadata.tags = [*tags, "remove-input"]
        cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
    outputs: list[NotebookNode] = []
    for output in cell.outputs:
        found = still(_text(output.get("data", {}).get("text/html", "")), static, address)
        if found is None:
            outputs.append(output)
            continue
        image = cell.metadata.setdefault("mystnb", {}).setdefault("image", {})
        image.setdefault("alt", found.caption)
        drawn = found.suffix == ".svg"
        shown = (found.picture if drawn else base64.b64encode(found.picture)).decode()
        for data in ({found.kind: shown}, {"text/markdown": found.words}):
            outputs.append(nbformat.v4.new_output("display_data", data))
    cell.outputs = outputs


def _text(html: Any) -> str:
    return html if isinstance(html, str) else "".join(html)


def _open(text: str) -> str:
    """Unfold the quiz of a text."""
    text = text.replace(ASKED, "Behind each answer stands what to say to it.")
    return QUIZ.sub(lambda found: f"- *{found[1]}.* {found[2]}".replace("?.*", "?*"), text)


def page(name: Path, stage: Path, target: Path, base: str) -> str:
    """Return the text of a staged page held still; pictures of its widgets go into `target`.

    `base` is the address of the published book, to which `name` is added.
    """
    address = f"{base}/{name.with_suffix('.html').as_posix()}"

    def included(found: re.Match[str]) -> str:
        return (stage / name.parent / found[1]).read_text(encoding="utf-8")

    def raw(found: re.Match[str]) -> str:
        shown = still(found[2], stage / "assets", address)
        if shown is not None:
            picture = f"still-{len(list(target.glob('still-*')))}{shown.suffix}"
            (target / picture).write_bytes(shown.picture)
            return f"```{{figure}} /{picture}\n:alt: {shown.caption}\n\n{shown.words}\n```"
        if "<script" in found[2]:
            return f"*This part needs a browser: <{address}>.*"
        return found[0]

    text = INCLUDED.sub(included, (stage / name).read_text(encoding="utf-8"))
    text = DOWNLOAD.sub(r"\1", RAW.sub(raw, text)).replace("{dropdown}", "{admonition}")
    return _open(STATIC.sub(f"{base}/_static/", text))


def copy(stage: Path, target: Path, base: str) -> None:
    """Write the staged book anew below `target`, held still; `base` is its published address."""
    shutil.rmtree(target, ignore_errors=True)
    left_out = {stage / name for name in LEFT_OUT}
    shutil.copytree(
        stage,
        target,
        ignore=lambda folder, names: [name for name in names if Path(folder, name) in left_out],
    )
    for path in sorted([*target.rglob("*.ipynb"), *target.rglob("*.md")]):
        name = path.relative_to(target)
        if path.suffix == ".md":
            path.write_text(page(name, stage, target, base), encoding="utf-8")
        else:
            address = f"{base}/{name.with_suffix('.html').as_posix()}"
            chapter = nbformat.read(path, as_version=4)
            nbformat.write(notebook(chapter, stage / "assets", address), path)
