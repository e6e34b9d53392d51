"""What a reader moves: a before/after divider, a slider over prepared states, curves to read off.

All functions return an `Interactive`, which a notebook displays. Its static form is one piece of
HTML that holds everything it needs, so it moves in a live notebook, on a built page and in a page
opened from disk, without a kernel and without a request:

- the pictures are lossless WebP files inside the page: exactly the pixels that were passed, at
  about three quarters of the size of PNG;
- a native range input does the moving, so that mouse, touch and arrow keys work alike;
- the script is in the input's own event handler and finds its pictures from there. No element needs
  an id, so two widgets on a page cannot clash and the same call always gives the same bytes;
- what the pictures show is said in visible text as well.

`explore` has a live form besides: with a kernel, a control of ipywidgets computes any state, not
only the prepared ones. Both forms are in the same output, and whoever shows it takes the one it can
show: a live notebook prefers the control, the build of the book keeps the HTML alone.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from mrdcae_lite.core.pixels import RGB, check_rgb
from mrdcae_lite.extras import extra

with extra("notebooks"):
    import ipywidgets

# `!important` keeps the styles of the page around from moving the pictures against each other.
_STYLE = """<style>
.mr-widget {margin: 1rem auto; max-width: 100%; font: inherit; color: inherit}
.mr-widget .mr-stage {position: relative; display: grid; overflow: hidden; max-width: 100%}
.mr-widget .mr-stage > img {grid-area: 1 / 1; width: 100%; height: auto; margin: 0;
  padding: 0 !important; border-radius: 0 !important; filter: none !important}
.mr-widget .mr-pixels > img {image-rendering: pixelated}
.mr-widget .mr-words {display: flex; justify-content: space-between; gap: 1rem; margin: .3rem 0;
  font-size: .9em; align-items: end}
.mr-widget .mr-words > :last-child {text-align: right}
.mr-widget input {margin: 0; accent-color: #b3541e; cursor: ew-resize}
.mr-widget label {display: block}
.mr-widget .mr-steps {width: 100%; height: 2.5rem}
.mr-widget figcaption {text-align: left; color: inherit !important; margin-inline: 0 !important}
.mr-curves svg {width: 100%; height: auto; font: 14px sans-serif; fill: currentColor}
.mr-curves svg path {fill: none; stroke-width: 2.5}
.mr-curves svg .mr-rule {stroke: currentColor; stroke-dasharray: 4 3}
.mr-divider .mr-right {clip-path: inset(0 0 0 var(--cut))}
.mr-divider .mr-line {position: absolute; top: 0; bottom: 0; left: var(--cut); width: 3px;
  margin-left: -1.5px; background: #fff; box-shadow: 0 0 3px #000; pointer-events: none}
.mr-divider .mr-line::after {content: "\\2194"; position: absolute; top: 50%; left: 50%;
  width: 2rem; height: 2rem; margin: -1rem; border-radius: 50%; background: #fff; color: #000;
  font: bold 1.3rem/2rem sans-serif; text-align: center; box-shadow: 0 0 3px #000}
.mr-divider input {position: absolute; top: 0; left: -1.5rem; width: calc(100% + 3rem);
  height: 100%; opacity: 0; appearance: none; touch-action: pan-y}
.mr-divider input::-webkit-slider-thumb {appearance: none; width: 3rem; height: 100vh}
.mr-divider input::-moz-range-thumb {width: 3rem; height: 100%; border: 0}
.mr-divider .mr-stage:focus-within {outline: 3px solid #b3541e; outline-offset: 2px}
</style>"""

_MOVE_DIVIDER = (
    "this.parentNode.style.setProperty('--cut',this.value+'%');"
    "this.setAttribute('aria-valuetext',this.value+' % from the left')"
)
_MOVE_STEP = (
    "const f=this.closest('figure'),n=+this.value,t=f.querySelectorAll('li')[n].textContent;"
    "f.querySelectorAll('img').forEach((p,i)=>p.style.visibility=i==n?'visible':'hidden');"
    "f.querySelector('output').textContent=t;this.setAttribute('aria-valuetext',t)"
)
_MOVE_RULE = (
    "const f=this.closest('figure'),n=+this.value,t=f.querySelectorAll('li')[n].textContent;"
    "f.querySelector('.mr-rule').setAttribute('transform','translate('+n*this.dataset.step+')');"
    "f.querySelector('output').textContent=t;this.setAttribute('aria-valuetext',t)"
)
_COLOURS = ("#1f77b4", "#d95f02", "#1b9e77", "#e7298a", "#8a63d2", "#a6761d")
_DASHES = ("", "8 3", "3 3", "10 3 3 3", "14 4", "2 5")
_WIDE, _HIGH, _LEFT, _TOP, _STOPS = 460, 300, 64, 12, 40  # the plot in an SVG of 480 x 360


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
        caption: the finding, for those who see the pictures and those who do not.
        zoom: how many pixels of the screen a pixel gets, where there is room.
    """
    _check_frames([left, right], zoom)
    first, second = map(escape, labels)
    pictures = _picture(left, f"Left of the divider: {labels[0]}") + _picture(
        right, f"Right of the divider: {labels[1]}", "mr-right"
    )
    return Interactive(
        f'{_STYLE}<figure class="mr-widget mr-divider" style="width: {left.shape[1] * zoom}px">'
        f'<div class="mr-words"><span>◀&nbsp;{first}</span><span>{second}&nbsp;▶</span></div>'
        f'<div class="{_stage(zoom)}" style="--cut: 50%">{pictures}<span class="mr-line"></span>'
        f'<input type="range" min="0" max="100" value="50" oninput="{_MOVE_DIVIDER}" '
        f'aria-label="Divider between {first} and {second}" '
        'aria-valuetext="50 % from the left"></div>'
        f"<figcaption>{escape(caption)} <em>Drag the divider, or use the arrow keys.</em>"
        "</figcaption></figure>"
    )


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
        caption: the finding over all of them.
        start: the picture to begin with.
        zoom: how many pixels of the screen a pixel gets, where there is room.
    """
    _check_frames(frames, zoom)
    if len(captions) != len(frames):
        raise ValueError(
            f"captions must hold one text for each of the {len(frames)} frames. "
            f"Received: {len(captions)}."
        )
    if start not in range(len(frames)):
        raise ValueError(f"start must be from 0 to {len(frames) - 1}. Received: {start}.")
    pictures = "".join(
        _picture(frame, f"{label}: {text}", hidden=number != start)
        for number, (frame, text) in enumerate(zip(frames, captions, strict=True))
    )
    move = f'oninput="{_MOVE_STEP}"'
    return Interactive(
        f'{_STYLE}<figure class="mr-widget" style="width: {frames[0].shape[1] * zoom}px">'
        f'<div class="{_stage(zoom)}">{pictures}</div>'
        f"<label>{escape(label)}: {_slider(captions, start, label, move)}</label>"
        f"{_words(caption, 'All steps in words', captions)}</figure>"
    )


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
        caption: the finding over all stops.
        start: the stop to begin with, by default the first.
        zoom: how many pixels of the screen a pixel gets, where there is room.
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
        return (
            f'{_STYLE}<figure class="mr-widget" style="width: {frame.shape[1] * zoom}px">'
            f'<div class="{_stage(zoom)}">{_picture(frame, f"{label}: {text}")}</div>'
            f"<figcaption>{escape(text)}</figcaption></figure>"
        )

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


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    labels: tuple[str, str],
    caption: str,
) -> Interactive:
    """Curves in one plot and a slider that reads all of them at the same place.

    Args:
        lines: for each name the x values, ascending, and the y values; at most six.
        labels: what x and y are, with units, such as ("bits per pixel", "PSNR (dB)").
        caption: the finding over all of them.
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
    every_x, every_y = (np.concatenate([line[n] for line in lines.values()]) for n in (0, 1))
    low, high = every_y.min(), every_y.max()
    margin = 0.5 if low == high else 0  # a flat line lies in the middle
    bounds = every_x.min(), every_x.max(), low - margin, high + margin
    readings = _readings(lines, labels, bounds)
    step = (_WIDE - _LEFT) / _STOPS
    across, up = map(escape, labels)
    move = f'data-step="{step:g}" oninput="{_MOVE_RULE}"'
    return Interactive(
        f'{_STYLE}<figure class="mr-widget mr-curves" style="width: 560px">'
        f'<svg viewBox="0 0 480 360" role="img" aria-label="{up} over {across}">'
        f"{_plot(lines, labels, bounds)}"
        f'<line class="mr-rule" x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{_HIGH}" '
        f'transform="translate({step * (_STOPS // 2):g})"></line></svg>'
        f"<label>{_slider(readings, _STOPS // 2, labels[0], move)}</label>"
        f"{_words(caption, 'All readings in words', readings)}</figure>"
    )


def _slider(texts: Sequence[str], start: int, name: str, move: str) -> str:
    """What is shown now, in words, and the input that moves through all of it."""
    now = escape(texts[start])
    return (
        f'<output>{now}</output><input class="mr-steps" type="range" min="0" '
        f'max="{len(texts) - 1}" value="{start}" {move} aria-label="{escape(name)}" '
        f'aria-valuetext="{now}">'
    )


def _words(caption: str, title: str, texts: Sequence[str]) -> str:
    """The caption of a slider; its list is also where the slider finds its texts."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return (
        f"<figcaption>{escape(caption)} <em>Move the slider, or use the arrow keys.</em>"
        f"<details><summary>{title}</summary><ol>{items}</ol></details></figcaption>"
    )


def _readings(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    labels: tuple[str, str],
    bounds: tuple[float, float, float, float],
) -> list[str]:
    """What the curves say at each stop of the slider, in words; straight lines between points."""
    texts = []
    for x in np.linspace(bounds[0], bounds[1], _STOPS + 1):
        found = {name: float(np.interp(x, *line, np.nan, np.nan)) for name, line in lines.items()}
        read = [f"{name} {y:.4g}" for name, y in found.items() if np.isfinite(y)]
        texts.append(f"{x:.2f} {labels[0]}, {labels[1]}: {', '.join(read) or 'no curve'}")
    return texts


def _plot(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    labels: tuple[str, str],
    bounds: tuple[float, float, float, float],
) -> str:
    """Axes, legend and curves as SVG."""
    left, right, low, high = bounds

    def at(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - left) / (right - left) * (_WIDE - _LEFT)
        return across, _HIGH - (y - low) / (high - low) * (_HIGH - _TOP)

    parts = [
        f'<path stroke="currentColor" d="M{_LEFT} {_TOP}V{_HIGH}H{_WIDE}"/>',
        f'<text x="256" y="345" text-anchor="middle">{escape(labels[0])}</text>',
        f'<text transform="translate(13 156) rotate(-90)" text-anchor="middle">'
        f"{escape(labels[1])}</text>",
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + share * (right - left), low + share * (high - low)
        place = at(x, y)
        parts.append(f'<text x="{place[0]:.0f}" y="320" text-anchor="middle">{x:.2f}</text>')
        parts.append(f'<text x="60" y="{place[1] + 5:.0f}" text-anchor="end">{y:.3g}</text>')
    for number, (name, (xs, ys)) in enumerate(lines.items()):
        places = [at(x, y) for x, y in zip(xs, ys, strict=True)]
        style = f'stroke="{_COLOURS[number]}" stroke-dasharray="{_DASHES[number]}"'
        drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        key = _HIGH - 20 * (len(lines) - number) + 8
        parts.append(f'<path {style} d="M{drawn}"/><path {style} d="M280 {key - 5}h30"/>')
        parts.append(f'<text x="316" y="{key}">{escape(name)}</text>')
    return "".join(parts)


def _stage(zoom: int) -> str:
    return "mr-stage mr-pixels" if zoom > 1 else "mr-stage"


def _picture(image: RGB, text: str, kind: str = "", *, hidden: bool = False) -> str:
    file = BytesIO()
    Image.fromarray(image).save(file, "WEBP", lossless=True, exact=True)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    height, width = image.shape[:2]
    seen = ' style="visibility: hidden"' if hidden else ""
    return (
        f'<img class="{kind}" width="{width}" height="{height}" alt="{escape(text)}"{seen} '
        f'src="data:image/webp;base64,{data}">'
    )


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
