"""A second version of every figure, in light ink, for pages that are read in the dark.

`chapters` loads this as an extension into the kernels that run them. Each figure of Matplotlib that
a cell shows is then drawn twice: as always, and as `DARK`, in the same output. Images, and what was
drawn onto them, are the same in both.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from colorsys import hls_to_rgb, rgb_to_hls
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

DARK = "application/vnd.mrdcae.dark+png"
"""The kind of the second version: PNG in base64, as notebooks have it."""

PAGE = np.array([0x12, 0x12, 0x12]) / 255  # the theme's page in dark mode
CONTRAST = 4.5  # of ink to the page, at least
KINDS = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


def luminance(colour: Any) -> float:
    """The relative luminance of red, green and blue in [0, 1], as WCAG 2 defines it."""
    colour = np.asarray(colour)[:3]
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one: Any, other: Any) -> float:
    """The contrast of two colours, from 1 to 21, as WCAG 2 defines it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def in_the_dark(colour: Sequence[float]) -> tuple[float, ...]:
    """Turn greys and pale colours over, from black on white to light on `PAGE`; lighten others.

    `colour` is red, green, blue and opacity in [0, 1]; opacity stays.
    """
    hue, light, colourful = rgb_to_hls(*colour[:3])
    ink = np.array(colour[:3])
    if light == 1:
        ink = PAGE
    elif colourful < 0.1 or light > 0.8:
        ink = np.array(hls_to_rgb(hue, 0.1 + 0.82 * (1 - light), colourful))
    else:
        while contrast(ink, PAGE) < CONTRAST:
            ink = ink + 0.05 * (1 - ink)
    return (*map(float, ink), *colour[3:])


def drawing_in_the_dark(svg: str) -> str:
    """An SVG drawing for dark pages, from one for light ones; colours are #rgb or #rrggbb."""

    def changed(found: re.Match[str]) -> str:
        digits = found[1] if len(found[1]) == 6 else "".join(2 * digit for digit in found[1])
        ink = in_the_dark([int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)])
        return "#" + "".join(f"{round(255 * part):02x}" for part in ink)

    black = "#" + "".join(f"{round(255 * part):02x}" for part in in_the_dark((0, 0, 0)))
    svg = re.sub(r"(?<![\w&])#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b", changed, svg)
    return re.sub(r"<svg\b", f'<svg fill="{black}"', svg, count=1)  # what names no colour


@contextmanager
def dark(figure: Any) -> Iterator[None]:
    """Give a figure that was drawn before the colours for dark pages, and its own again after."""
    from matplotlib.colors import to_rgba_array

    drawn_onto = [
        id(artist)
        for axes in figure.axes
        if axes.images
        for artist in (*axes.texts, *axes.lines, *axes.patches, *axes.collections)
    ]
    sheets = [id(figure.patch), *(id(axes.patch) for axes in figure.axes)]
    with ExitStack() as stack:
        for artist in figure.findobj():
            mapped = getattr(artist, "get_array", lambda: None)() is not None
            if mapped or id(artist) in drawn_onto:
                continue
            own = {kind: getattr(artist, f"get_{kind}")() for kind in KINDS if _has(artist, kind)}
            for kind, old in own.items():
                new = [in_the_dark(one) for one in to_rgba_array(old)]
                if id(artist) in sheets and kind == "facecolor":
                    new = [(0, 0, 0, 0)]
                change = getattr(artist, f"set_{kind}")
                stack.callback(change, old)
                change(new[0] if len(new) == 1 else new)
        yield


def _has(artist: Any, kind: str) -> bool:
    """Whether an artist has a kind of colour that can be set."""
    return hasattr(artist, f"get_{kind}") and hasattr(artist, f"set_{kind}")


def both(figure: Any) -> dict[str, str]:
    """What a notebook gets of a figure beside what it gets anyway."""
    from IPython.core.pylabtools import print_figure

    figure.canvas.draw()  # makes the ticks
    with dark(figure):
        picture = print_figure(figure, "png")
    return {DARK: b64encode(picture).decode()} if isinstance(picture, bytes) else {}


def load_ipython_extension(shell: Any) -> None:
    """Let a kernel show figures in both versions; Matplotlib is loaded by whoever draws."""
    formatter = shell.display_formatter.mimebundle_formatter
    show: Callable[[Any], dict[str, str]] = both
    formatter.for_type_by_name("matplotlib.figure", "Figure", show)
