"""What a reader moves: a divider, a slider over prepared states, curves to read off, a blind test.

All functions return an `Interactive`, which a notebook displays. Its static form is one piece of
HTML that holds everything it needs, so it moves in a live notebook, on a built page and in a page
opened from disk, without a kernel and without a request:

- the pictures are lossless WebP files inside the page: exactly the pixels that were passed, at
  about three quarters of the size of PNG;
- a native range input does the moving, or native buttons do, so that mouse, touch and keys work
  alike;
- the script is in the element's own event handler (see the templates beside this file) and finds
  its pictures from there. No element needs an id, so two widgets on a page cannot clash and the
  same call always gives the same bytes;
- what the pictures show is said in visible text as well: `caption` is the finding over all of them,
  for those who see them and those who do not. `zoom` is how many pixels of the screen a pixel gets,
  where there is room.

`explore` has a live form besides: with a kernel, a control of ipywidgets computes any state, not
only the prepared ones. Both forms are in the same output, and the program that shows it
takes the one it can: a live notebook prefers the control, the build of the book keeps the HTML.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from importlib import resources
from io import BytesIO
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mrdcae_lite.core.pixels import RGB, check_rgb
from mrdcae_lite.extras import extra

with extra("notebooks"):
    import ipywidgets
    from matplotlib.ticker import MaxNLocator

WEBP_SIDE = 16_383
"""Pixels a side that a WebP file can have; larger pictures are shown as PNG."""

_FILES = resources.files(__package__)
_STYLE = " ".join(_FILES.joinpath("widgets.css").read_text("utf-8").split())
_COLOURS = ("#1f77b4", "#d95f02", "#1b9e77", "#e7298a", "#8a63d2", "#a6761d", "#7f7f7f")
_DASHES = ("", "8 3", "3 3", "10 3 3 3", "14 4", "2 5", "6 2 2 2 2 2")
_MARKS = (  # at the points of each curve: where to go from there, and what to draw
    "-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0", "-3-3h6v6h-6z", "0-5l5 9h-10z", "0-5l4 5-4 5-4-5z",
    "0 5l5-9h-10z", "-4-4l8 8m-8 0l8-8", "-5 0h10m-5-5v10",
)  # fmt: skip
_ACROSS, _UP, _STOPS = (64, 460), (300, 12), 40  # ends of the axes in plot.html; of the slider
Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]
LIVE = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Interactive:
    """Something a notebook displays: `html`, and what `live` makes where there is a kernel."""

    html: str = field(repr=False)
    live: Callable[[], ipywidgets.DOMWidget] | None = field(default=None, repr=False, compare=False)

    def _repr_html_(self) -> str:
        return self.html

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Name the control to ipywidgets 7 and 8 alike; HTML and plain text come by themselves."""
        if self.live is None:
            return {}
        model = self.live().model_id
        return {LIVE: {"version_major": 2, "version_minor": 0, "model_id": model}}


def compare(
    left: RGB, right: RGB, *, labels: tuple[str, str], caption: str, zoom: int = 1
) -> Interactive:
    """Two pictures on top of each other and a divider to drag between them.

    Both are uint8 (height, width, 3), of one shape. The labels say what they are, such as ("JPEG,
    12 kB", "ours, 12 kB").
    """
    _check_frames([left, right], zoom)
    pictures = _picture(left, f"Left of the divider: {labels[0]}")
    pictures += _picture(right, f"Right of the divider: {labels[1]}", "class='mr-right'")
    words = {"left": escape(labels[0]), "right": escape(labels[1]), "caption": escape(caption)}
    return Interactive(_filled("divider", **_sizes(left, zoom), **words, pictures=pictures))


def steps(
    frames: Sequence[RGB],
    *,
    label: str,
    captions: Sequence[str],
    caption: str,
    start: int = 0,
    zoom: int = 1,
) -> Interactive:
    """A slider over prepared pictures.

    Args:
        frames: two or more pictures of one shape, uint8 (height, width, 3).
        label: what the slider changes, such as "Quality".
        captions: what each picture shows, in the same order.
        start: the picture to begin with.
    """
    _check_frames(frames, zoom)
    if len(captions) != len(frames):
        raise ValueError(
            f"captions must hold one text for each of the {len(frames)} frames. "
            f"Received: {len(captions)}."
        )
    if start not in range(len(frames)):
        raise ValueError(f"start must be from 0 to {len(frames) - 1}. Received: {start}.")
    pictures = [
        _picture(frame, f"{label}: {text}", "" if n == start else "style='visibility: hidden'")
        for n, (frame, text) in enumerate(zip(frames, captions, strict=True))
    ]
    sizes = _sizes(frames[0], zoom)
    shown = f'<div class="{sizes["stage"]}">{"".join(pictures)}</div>'
    more = {"before": f"{escape(label)}: ", "title": "All steps", "kind": "stepped", "step": 0}
    return Interactive(_slider(shown, captions, start, label, caption, **sizes, **more))


def explore(
    show: Callable[[Any], tuple[RGB, str]],
    stops: Sequence[Any],
    *,
    every: Sequence[Any],
    label: str,
    caption: str,
    start: Any = None,
    zoom: int = 1,
) -> Interactive:
    """A slider over what a function shows: its stops on a page, every value where a kernel runs.

    Args:
        show: takes a value, returns its picture and what to say about it.
        stops: the values that are computed at once, for the page; two or more.
        every: the values that a live slider offers, the stops among them, in order.
        label: what the slider changes, such as "Quality".
        start: the stop to begin with, by default the first.
    """
    first = stops[0] if start is None else start
    if not {first} <= set(stops) <= set(every):
        raise ValueError(
            "start must be one of the stops, and the stops must be among every value. "
            f"Received: start {first!r}, stops {list(stops)!r}."
        )
    prepared = {stop: show(stop) for stop in stops}
    frames, captions = zip(*prepared.values(), strict=True)
    place = list(prepared).index(first)
    page = steps(frames, label=label, captions=captions, caption=caption, start=place, zoom=zoom)
    known = partial(_live, lambda value: prepared.get(value) or show(value))
    return Interactive(page.html, partial(known, every, first, label, zoom))


def _live(
    show: Callable[[Any], tuple[RGB, str]], every: Sequence[Any], start: Any, label: str, zoom: int
) -> ipywidgets.DOMWidget:
    """A control and below it what `show` returns for its value, or how it failed."""

    def drawn(value: Any) -> str:
        try:
            frame, text = show(value)
        except Exception as error:  # a callback has no cell to show it in
            return f"<p>{escape(f'{label} {value}: {type(error).__name__}: {error}')}</p>"
        picture = _picture(frame, f"{label}: {text}")
        return _filled("live", **_sizes(frame, zoom), picture=picture, caption=escape(text))

    control = ipywidgets.SelectionSlider(
        options=list(every),
        value=start,
        description=label,
        continuous_update=False,  # a state may take a second to compute
        style={"description_width": "initial"},
        layout={"width": "100%"},
    )
    picture = ipywidgets.HTML(drawn(start))
    control.observe(lambda change: setattr(picture, "value", drawn(change["new"])), "value")
    return ipywidgets.VBox([control, picture])


def blind(
    trials: Sequence[tuple[RGB, RGB, RGB]], *, labels: tuple[str, str], caption: str, zoom: int = 1
) -> Interactive:
    """A blind test of which of two pictures is closer to the original.

    Each trial is an original and two versions of it, all uint8 (height, width, 3) of one shape. The
    labels say what the first and the second versions are; the reader sees them as A and B, in an
    order drawn anew for each trial, and learns after the last one how often each was chosen, and
    how often a coin would be as one-sided. The page keeps the choices in memory only.
    """
    if not trials:
        raise ValueError(
            "trials must hold at least one original with two versions. Received: none."
        )
    _check_frames([picture for trial in trials for picture in trial], zoom)
    hidden, pictures = "style='visibility: hidden'", []
    for number, (original, *versions) in enumerate(trials, start=1):
        of = f"pair {number} of {len(trials)}"
        pictures.append(_picture(original, f"The original of {of}", hidden if number > 1 else ""))
        text = f"One of the two versions of {of}"
        pictures += [_picture(version, text, hidden) for version in versions]
    words = {"first": escape(labels[0]), "second": escape(labels[1]), "caption": escape(caption)}
    sizes = _sizes(trials[0][0], zoom)
    return Interactive(
        _filled("blind", **sizes, **words, count=len(trials), pictures="".join(pictures))
    )


def curves(lines: Lines, *, labels: tuple[str, str], caption: str) -> Interactive:
    """Curves in one plot and a slider that reads all of them at the same place.

    The lines, at most seven, are for each name the x values, ascending, and the y values; the first
    is the strongest. The labels say what x and y are, with units, such as ("bits per pixel", "PSNR
    (dB)").
    """
    if not 1 <= len(lines) <= len(_COLOURS):
        raise ValueError(f"lines must be 1 to {len(_COLOURS)} curves. Received: {len(lines)}.")
    for name, (x, y) in lines.items():
        if len(x) != len(y) or len(x) < 2 or not np.all(np.diff(x) > 0):
            raise ValueError(
                f"each curve must have two or more ascending x values and as many y values. "
                f"Received for {name!r}: {len(x)} and {len(y)}. Sort the points by x."
            )
        if not np.isfinite([x, y]).all():
            raise ValueError(
                f"each curve must have finite values. Received for {name!r}: others. "
                "Leave them out."
            )
    every_x, every_y = (np.concatenate(values) for values in zip(*lines.values(), strict=True))
    left, right = every_x.min(), every_x.max()
    readings = []  # straight lines between the points
    for x in np.linspace(left, right, _STOPS + 1):
        found = {name: np.interp(x, *line, np.nan, np.nan) for name, line in lines.items()}
        read = ", ".join(f"{name} {y:.4g}" for name, y in found.items() if np.isfinite(y))
        readings.append(f"{x:.2f} {labels[0]}, {labels[1]}: {read or 'no curve'}")
    xs, ys = _ticks(every_x), _ticks(every_y)
    start, end = np.interp([left, right], xs[[0, -1]], _ACROSS)
    middle, step = _STOPS // 2, (end - start) / _STOPS
    drawn = _drawn(lines, xs, ys)
    words = {"x": escape(labels[0]), "y": escape(labels[1])}
    plot = _filled("plot", **words, drawn=drawn, start=f"{start:g}", rule=f"{step * middle:g}")
    more = {"before": "", "title": "All readings", "kind": "curves", "step": f"{step:g}"}
    return Interactive(_slider(plot, readings, middle, labels[0], caption, width=560, **more))


def _ticks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round numbers for an axis that holds all values between its first and its last."""
    low, high = values.min(), values.max()
    margin = 0.5 if low == high else 0  # a flat line lies in the middle
    locator = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
    return np.asarray(locator.tick_values(low - margin, high + margin))


def _drawn(lines: Lines, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> str:
    """Numbers at the axes from end to end, legend and curves, as SVG."""

    def place(x: Any, y: Any) -> Any:
        return np.interp(x, xs[[0, -1]], _ACROSS), np.interp(y, ys[[0, -1]], _UP)

    parts = []
    for x in xs:
        parts.append(f'<text x="{place(x, 0)[0]:.0f}" y="320" text-anchor="middle">{x:g}</text>')
    for y in ys:
        up = place(0, y)[1]
        parts.append(f'<text x="60" y="{up + 5:.0f}" text-anchor="end">{y:g}</text>')
    for number, (name, line) in reversed([*enumerate(lines.items())]):  # the first on top
        colour, wide = f"stroke: {_COLOURS[number]}", 4 if number == 0 else 2
        points = [f"{x:.1f} {y:.1f}" for x, y in zip(*place(*line), strict=True)]
        key = 308 - 20 * (len(lines) - number)
        marks = "".join(f"M{point}m{_MARKS[number]}" for point in [f"295 {key - 5}", *points])
        style = f'style="{colour}; --wide: {wide}" stroke-dasharray="{_DASHES[number]}"'
        parts.append(f'<path {style} d="M280 {key - 5}h30M{"L".join(points)}"/>')
        parts.append(f'<path style="{colour}" d="{marks}"/>')
        parts.append(f'<text x="316" y="{key}">{escape(name)}</text>')
    return "".join(parts)


def _slider(
    shown: str, texts: Sequence[str], start: int, label: str, caption: str, **more: Any
) -> str:
    """What is shown and the input that moves through it; its script finds the texts in a list."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    words = {"now": escape(texts[start]), "label": escape(label), "caption": escape(caption)}
    places = {"start": start, "last": len(texts) - 1}
    return _filled("slider", shown=shown, items=items, **words, **places, **more)


def _filled(name: str, **values: Any) -> str:
    """One of the templates beside this file, with HTML in its places, and its style."""
    text = Template(_FILES.joinpath(f"{name}.html").read_text("utf-8")).substitute(values)
    return text if name == "plot" else f"<style>{_STYLE}</style>{text}"


def _sizes(frame: RGB, zoom: int) -> dict[str, Any]:
    stage = "mr-stage mr-pixels" if zoom > 1 else "mr-stage"
    return {"width": frame.shape[1] * zoom, "stage": stage}


def _picture(image: RGB, text: str, attribute: str = "") -> str:
    file = BytesIO()
    height, width = image.shape[:2]
    if max(height, width) <= WEBP_SIDE:
        kind, options = "webp", {"lossless": True, "exact": True}
    else:
        kind, options = "png", {}
    Image.fromarray(image).save(file, kind, **options)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    source = f'src="data:image/{kind};base64,{data}"'
    return f'<img {attribute} width="{width}" height="{height}" alt="{escape(text)}" {source}>'


def _check_frames(frames: Sequence[RGB], zoom: int) -> None:
    for frame in frames:
        check_rgb(frame)
    shapes = {frame.shape for frame in frames}
    if len(frames) < 2 or len(shapes) != 1:
        raise ValueError(
            f"the pictures must be two or more of one shape. Received: {len(frames)} of shapes "
            f"{sorted(shapes)}. Cut them to the same size first."
        )
    if zoom < 1:
        raise ValueError(f"zoom must be a whole number from 1. Received: {zoom}.")
