"""What a reader moves: a before/after divider, a slider over prepared states, curves to read off.

All functions return an `Interactive`, which a notebook displays. Its static form is one piece of
HTML that holds everything it needs, so it moves in a live notebook, on a built page and in a page
opened from disk, without a kernel and without a request:

- the pictures are lossless WebP files inside the page: exactly the pixels that were passed, at
  about three quarters of the size of PNG;
- a native range input does the moving, so that mouse, touch and arrow keys work alike;
- the script (`divider.js`, `slider.js`) is in the input's own event handler and finds its pictures
  from there. No element needs an id, so two widgets on a page cannot clash and the same call always
  gives the same bytes;
- what the pictures show is said in visible text as well: `caption` is the finding over all of them,
  for those who see them and those who do not. `zoom` is how many pixels of the screen a pixel gets,
  where there is room.

`explore` has a live form besides: with a kernel, a control of ipywidgets computes any state, not
only the prepared ones. Both forms are in the same output, and whoever shows it takes the one it can
show: a live notebook prefers the control, the build of the book keeps the HTML alone.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from mrdcae_lite.core.pixels import RGB, check_rgb
from mrdcae_lite.extras import extra

with extra("notebooks"):
    import ipywidgets

_STYLE, _MOVE_DIVIDER, _MOVE_SLIDER = (
    " ".join(resources.files(__package__).joinpath(name).read_text("utf-8").split())
    for name in ("widgets.css", "divider.js", "slider.js")
)
_COLOURS = ("#1f77b4", "#d95f02", "#1b9e77", "#e7298a", "#8a63d2", "#a6761d")
_DASHES = ("", "8 3", "3 3", "10 3 3 3", "14 4", "2 5")
_WIDE, _HIGH, _LEFT, _TOP, _STOPS = 460, 300, 64, 12, 40  # the plot in an SVG of 480 x 360
Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]
Span = tuple[float, float]
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

    Args:
        left: shown to the left of the divider, uint8 (height, width, 3).
        right: shown to its right, of the same shape.
        labels: what the two are, such as ("JPEG, 12 kB", "ours, 12 kB").
        caption, zoom: as everywhere.
    """
    _check_frames([left, right], zoom)
    first, second = map(escape, labels)
    parts = (
        _picture(left, f"Left of the divider: {labels[0]}"),
        _picture(right, f"Right of the divider: {labels[1]}", 'class="mr-right"'),
        '<span class="mr-line"></span><input type="range" min="0" max="100" value="50" ',
        f'oninput="{_MOVE_DIVIDER}" aria-label="Divider between {first} and {second}" ',
        'aria-valuetext="50 % from the left">',
    )
    words = f"<span>◀&nbsp;{first}</span><span>{second}&nbsp;▶</span>"
    body = f'<div class="mr-words">{words}</div>{_stage("".join(parts), zoom)}'
    hint = "<em>Drag the divider, or use the arrow keys.</em>"
    width = left.shape[1] * zoom
    return Interactive(_figure(body, f"{escape(caption)} {hint}", width, " mr-divider"))


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
        caption, zoom: as everywhere.
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
        _picture(frame, f"{label}: {text}", "" if n == start else 'style="visibility: hidden"')
        for n, (frame, text) in enumerate(zip(frames, captions, strict=True))
    ]
    control = f"<label>{escape(label)}: {_slider(captions, start, label)}"
    words = _words(caption, "steps", captions)
    width = frames[0].shape[1] * zoom
    return Interactive(_figure(_stage("".join(pictures), zoom) + control, words, width))


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
        caption, zoom: as everywhere.
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

    def live() -> ipywidgets.DOMWidget:
        return _live(lambda value: prepared.get(value) or show(value), every, first, label, zoom)

    return Interactive(page.html, live)


def _live(
    show: Callable[[Any], tuple[RGB, str]], every: Sequence[Any], start: Any, label: str, zoom: int
) -> ipywidgets.DOMWidget:
    """A control and below it what `show` returns for its value, or how it failed."""

    def drawn(value: Any) -> str:
        try:
            frame, text = show(value)
        except Exception as error:  # a callback has no cell to show it in
            return f"<p>{escape(f'{label} {value}: {type(error).__name__}: {error}')}</p>"
        picture = _stage(_picture(frame, f"{label}: {text}"), zoom)
        return _figure(picture, escape(text), frame.shape[1] * zoom)

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


def curves(lines: Lines, *, labels: tuple[str, str], caption: str) -> Interactive:
    """Curves in one plot and a slider that reads all of them at the same place.

    Args:
        lines: for each name the x values, ascending, and the y values; at most six.
        labels: what x and y are, with units, such as ("bits per pixel", "PSNR (dB)").
        caption: as everywhere.
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
    (left, low), (right, high) = (
        [float(end(np.concatenate([line[axis] for line in lines.values()]))) for axis in (0, 1)]
        for end in (np.min, np.max)
    )
    margin = 0.5 if low == high else 0  # a flat line lies in the middle
    readings = []  # straight lines between the points
    for x in np.linspace(left, right, _STOPS + 1):
        found = {name: np.interp(x, *line, np.nan, np.nan) for name, line in lines.items()}
        read = ", ".join(f"{name} {y:.4g}" for name, y in found.items() if np.isfinite(y))
        readings.append(f"{x:.2f} {labels[0]}, {labels[1]}: {read or 'no curve'}")
    step = (_WIDE - _LEFT) / _STOPS
    svg = _plot(lines, labels, (left, right), (low - margin, high + margin), step * (_STOPS // 2))
    control = f"{svg}<label>{_slider(readings, _STOPS // 2, labels[0], step)}"
    return Interactive(_figure(control, _words(caption, "readings", readings), 560, " mr-curves"))


def _plot(lines: Lines, labels: tuple[str, str], xs: Span, ys: Span, rule: float) -> str:
    """Axes from end to end, legend and curves as SVG, and the rule so far from the left."""

    def place(x: Any, y: Any) -> Any:
        return np.interp(x, xs, (_LEFT, _WIDE)), np.interp(y, ys, (_HIGH, _TOP))

    x_label, y_label = map(escape, labels)
    parts = [
        f'<svg viewBox="0 0 480 360" role="img" aria-label="{y_label} over {x_label}">'
        f'<path stroke="currentColor" d="M{_LEFT} {_TOP}V{_HIGH}H{_WIDE}"/>'
        f'<text x="256" y="345" text-anchor="middle">{x_label}</text>'
        f'<text transform="translate(13 156) rotate(-90)" text-anchor="middle">{y_label}</text>'
    ]
    for x, y in zip(np.linspace(*xs, 5), np.linspace(*ys, 5), strict=True):
        across, up = place(x, y)
        parts.append(f'<text x="{across:.0f}" y="320" text-anchor="middle">{x:.2f}</text>')
        parts.append(f'<text x="60" y="{up + 5:.0f}" text-anchor="end">{y:.3g}</text>')
    for number, (name, line) in enumerate(lines.items()):
        style = f'stroke="{_COLOURS[number]}" stroke-dasharray="{_DASHES[number]}"'
        drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(*place(*line), strict=True))
        key = _HIGH - 20 * (len(lines) - number) + 8
        parts.append(f'<path {style} d="M{drawn}"/><path {style} d="M280 {key - 5}h30"/>')
        parts.append(f'<text x="316" y="{key}">{escape(name)}</text>')
    ends = f'x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{_HIGH}"'
    parts.append(f'<line class="mr-rule" {ends} transform="translate({rule:g})"></line></svg>')
    return "".join(parts)


def _figure(body: str, caption: str, width: int, kind: str = "") -> str:
    return (
        f'<style>{_STYLE}</style><figure class="mr-widget{kind}" style="width: {width}px">{body}'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _stage(content: str, zoom: int) -> str:
    pixels = " mr-pixels" if zoom > 1 else ""
    return f'<div class="mr-stage{pixels}">{content}</div>'


def _slider(texts: Sequence[str], start: int, name: str, step: float = 0) -> str:
    """What is shown now, in words, and the input that moves through all of it."""
    now = escape(texts[start])
    return (
        f'<output>{now}</output><input class="mr-steps" type="range" min="0" '
        f'max="{len(texts) - 1}" value="{start}" data-step="{step:g}" oninput="{_MOVE_SLIDER}" '
        f'aria-label="{escape(name)}" aria-valuetext="{now}"></label>'
    )


def _words(caption: str, what: str, texts: Sequence[str]) -> str:
    """The caption of a slider; its list is also where the slider finds its texts."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return (
        f"{escape(caption)} <em>Move the slider, or use the arrow keys.</em>"
        f"<details><summary>All {what} in words</summary><ol>{items}</ol></details>"
    )


def _picture(image: RGB, text: str, more: str = "") -> str:
    file = BytesIO()
    Image.fromarray(image).save(file, "WEBP", lossless=True, exact=True)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    height, width = image.shape[:2]
    source = f'src="data:image/webp;base64,{data}"'
    return f'<img {more} width="{width}" height="{height}" alt="{escape(text)}" {source}>'


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
