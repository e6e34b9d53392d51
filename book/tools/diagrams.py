"""The architecture of the shipped codec as vector drawings, with the numbers of the model itself.

Strides and channels come from the codec's architecture: another model gives another drawing.
"""

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from mrdcae_lite.core import pyramid
from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.models import load

NAMES = ("low", "medium", "high")
FILL = {"data": "#f3ede4", "step": "#dbe9f6", "level": "#fbe3d6", "file": "#e3f0dc"}
LINE = 16  # pixels between two lines of text


class Box(NamedTuple):
    """A rectangle with words in it; the first line is set in bold."""

    x: int
    y: int
    width: int
    lines: Sequence[str]
    kind: str = "step"

    @property
    def height(self) -> int:
        return LINE * len(self.lines) + 14

    def draw(self) -> str:
        """The rectangle and its words as SVG."""
        middle = self.x + self.width // 2
        weights = ["bold", *["normal"] * (len(self.lines) - 1)]
        words = "".join(
            f'<text x="{middle}" y="{self.y + 20 + LINE * number}" text-anchor="middle" '
            f'font-weight="{weight}">{escape(line)}</text>'
            for number, (line, weight) in enumerate(zip(self.lines, weights, strict=True))
        )
        return (
            f'<rect x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="6" '
            f'fill="{FILL[self.kind]}" stroke="#555"/>{words}'
        )


def arrow(x1: int, y1: int, x2: int, y2: int, word: str = "") -> str:
    """A straight arrow, with a word beside its middle."""
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    beside = f'<text x="{x + 6}" y="{y - 4}" font-size="11">{escape(word)}</text>' if word else ""
    ends = f'x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"'
    return f'<line {ends} stroke="#555" stroke-width="1.5" marker-end="url(#head)"/>{beside}'


def drawing(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    """A whole SVG file."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12" role="img">'
        f"<title>{escape(title)}</title>"
        f'<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def chain(boxes: Sequence[Box]) -> list[str]:
    """Boxes one below the other, with arrows between them."""
    arrows = [
        arrow(a.x + a.width // 2, a.y + a.height, b.x + b.width // 2, b.y)
        for a, b in pairwise(boxes)
    ]
    return [*(box.draw() for box in boxes), *arrows]


def _filters(model: Architecture) -> list[str]:
    """What corrects the picture after synthesis, in short lines."""
    widths = {"deblocking": model.deblocking, "refinement": model.refinement}
    return [f"{name}, {width} channels" for name, width in widths.items() if width]


def _name(number: int, model: Architecture) -> str:
    """The section of the file that a level of the pyramid is written to."""
    return NAMES[pyramid.section(number, model.resolutions)]


def system(model: Architecture) -> str:
    """The whole way of a picture: prepared, scored, encoded, written, and back."""
    count, patch = model.resolutions, f"{pyramid.PATCH} x {pyramid.PATCH} patch"
    steps: list[tuple[str, list[str]]] = [
        ("data", ["picture", "8 bits, any size"]),
        ("step", ["preparation", f"pad to multiples of {model.unit}, scale to 0 to 1"]),
        ("step", ["encoder", f"{count} pathways, one learned matrix at each scale"]),
        ("step", ["patch attention", f"a score for each {patch} proposes its level"]),
        ("step", ["routing", "the proposals, checked against what they cost"]),
        ("step", ["quantisation and range coding", f"context model, {model.prior_width} channels"]),
        ("file", ["file", "header, maps, low, medium and high section"]),
        ("step", ["decoder", "the inverse of the encoder's matrices"]),
        ("step", ["filters", *_filters(model)]),
        ("data", ["restored picture", "back to 8 bits"]),
    ]
    boxes: list[Box] = []
    below = 20
    for kind, lines in steps:
        boxes.append(Box(40, below, 360, lines, kind))
        below += boxes[-1].height + 26
    return drawing(440, below - 6, "From a picture to a file and back", chain(boxes))


def encoder(model: Architecture) -> str:
    """The nested pathways: what each grid holds, passes on and keeps as a level."""
    levels = list(enumerate(model.levels))
    carried = f"{pyramid.CARRIED} channels passed on"
    parts = [Box(20, 20, 200, ["picture", "3 colours"], "data").draw()]
    for step, (number, level) in enumerate(reversed(levels)):
        y = 110 + 120 * step
        words = "transform of 8 x 8 blocks" if step == 0 else "merge 2 x 2 neighbours"
        box = Box(20, y, 200, [f"grid at 1/{level.stride}", words, "192 channels"])
        kept = [
            _name(number, model),
            f"{len(level.bands)} channels",
            f"every {level.stride} pixels",
        ]
        parts += [box.draw(), Box(284, y, 146, kept, "level").draw()]
        parts.append(arrow(120, y - 120 + box.height if step else 66, 120, y))
        parts.append(arrow(220, y + 31, 284, y + 31, "kept"))
        if step:
            parts.append(f'<text x="128" y="{y - 14}" font-size="11">{carried}</text>')
    return drawing(440, 110 + 120 * len(levels), "The multi-resolution encoder", parts)


def mirrored(model: Architecture) -> str:
    """Encoder and decoder face to face, the levels between them."""
    filters = Box(275, 80, 155, ["filters", *_filters(model)])
    parts = [
        Box(10, 20, 130, ["picture"], "data").draw(),
        Box(275, 20, 155, ["restored picture"], "data").draw(),
        filters.draw(),
        arrow(352, 80, 352, 50),
    ]
    start = filters.y + filters.height + 30
    for step, (number, level) in enumerate(reversed(list(enumerate(model.levels)))):
        y = start + 92 * step
        kept = [_name(number, model), f"{len(level.bands)} channels"]
        parts += [
            Box(10, y, 130, [f"analysis 1/{level.stride}", "a learned", "matrix"]).draw(),
            Box(155, y + 8, 105, kept, "level").draw(),
            Box(275, y, 155, [f"synthesis 1/{level.stride}", "its inverse,", "computed"]).draw(),
            arrow(140, y + 31, 155, y + 31),
            arrow(260, y + 31, 275, y + 31),
            arrow(75, y - 30 if step else 50, 75, y),
            arrow(352, y, 352, y - 30),
        ]
    return drawing(440, start + 92 * model.resolutions, "Encoder and mirrored decoder", parts)


def pages() -> dict[str, bytes]:
    """All drawings of the shipped codec, by their path in the book."""
    model = load("lite").architecture
    drawn = {"system": system, "encoder": encoder, "mirrored": mirrored}
    return {f"assets/architecture-{name}.svg": f(model).encode() for name, f in drawn.items()}
