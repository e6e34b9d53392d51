"""Pictures that are no photographs, made here: pages, plots, maps, pixel art, codes, dithers.

`DRAWINGS` names them; each is drawn anew, the same every time, as uint8 (height, width, 3).
"""

from collections.abc import Callable, Sequence
from functools import partial

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import mrdcae_lite as mr

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (128, 128, 128)
SIZE = 640, 480
SENTENCE = (
    "a picture is cut into patches and each of them is transformed so that few numbers are large "
    "the rest is close to zero and costs next to nothing what the decoder does not get it has to "
    "guess from what it has and the better it guesses the fewer bits a file takes in the end"
)


def _text(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [str(word) for word in rng.choice(SENTENCE.split(), count)]


def _font(family: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont(family), size)


def page(
    family: str = "DejaVu Serif", size: int = 13, ink: Colour = BLACK, paper: Colour = WHITE
) -> Pixels:
    """A page of running text."""
    image = Image.new("RGB", SIZE, paper)
    draw, font = ImageDraw.Draw(image), _font(family, size)
    words, at, seed = _text(2000, size), 24, 0
    while at < SIZE[1] - 24:
        line = ""
        while draw.textlength(f"{line} {words[seed]}", font) < SIZE[0] - 60:
            line, seed = f"{line} {words[seed]}", seed + 1
        draw.text((28, at), line.strip(), ink, font)
        at += round(1.5 * size)
    return np.asarray(image)


def scan() -> Pixels:
    """A page as a scanner sees it: slightly turned, blurred, with noise and a shade."""
    turned = Image.fromarray(page(size=14)).rotate(0.7, Image.Resampling.BICUBIC, fillcolor=WHITE)
    soft = np.asarray(turned.filter(ImageFilter.GaussianBlur(0.7)), np.float64)
    shade = np.linspace(0.88, 0.96, SIZE[0])[None, :, None]
    noise = np.random.default_rng(0).normal(0, 3, (*SIZE[::-1], 1))
    return np.clip(soft * shade + noise, 0, 255).astype(np.uint8)


def _rendered(figure: Figure) -> Pixels:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _figure() -> Figure:
    with matplotlib.rc_context({"svg.hashsalt": "0"}):
        return Figure((SIZE[0] / 100, SIZE[1] / 100), dpi=100)


def plot() -> Pixels:
    """Curves with axes and a legend."""
    figure, x = _figure(), np.linspace(0, 10, 400)
    axes = figure.add_subplot()
    for number in range(5):
        axes.plot(x, np.sin(x + number) * np.exp(-x / (number + 3)), label=f"curve {number}")
    axes.legend()
    axes.grid(visible=True)
    return _rendered(figure)


def scatter() -> Pixels:
    """Many small coloured points."""
    figure, rng = _figure(), np.random.default_rng(1)
    axes = figure.add_subplot()
    x, y, colour = rng.normal(size=800), rng.normal(size=800), rng.random(800)
    axes.scatter(x, y, c=colour, s=12, cmap="viridis")
    return _rendered(figure)


def bars() -> Pixels:
    """Saturated bars with hatching."""
    figure, rng = _figure(), np.random.default_rng(2)
    axes = figure.add_subplot()
    for group, hatch in enumerate(("//", "..", "xx")):
        heights = rng.random(6)
        axes.bar(np.arange(6) + group / 4, heights, 0.25, color="rgb"[group], hatch=hatch)
    return _rendered(figure)


def contours() -> Pixels:
    """A map of heights with labelled lines."""
    y, x = np.mgrid[-3:3:200j, -4:4:260j]
    height = np.sin(x) * np.cos(1.3 * y) + 0.4 * np.sin(2.1 * x + y)
    figure = _figure()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.contourf(height, 14, cmap="terrain")
    axes.clabel(axes.contour(height, 14, colors="k", linewidths=0.5), fontsize=7)
    return _rendered(figure)


def streets() -> Pixels:
    """A street map: flat areas, thin and thick lines, names."""
    rng, image = np.random.default_rng(3), Image.new("RGB", SIZE, (242, 239, 233))
    draw = ImageDraw.Draw(image)
    for colour in ((200, 230, 190), (170, 211, 223), (224, 220, 210)) * 4:
        corners = rng.uniform(0, 1, (6, 2)) * (180, 140) + rng.uniform(0, 1, 2) * (520, 380)
        draw.polygon([(float(x), float(y)) for x, y in corners], colour)
    for number in range(40):
        ends = rng.uniform(0, 1, (2, 2)) * SIZE
        line = [(float(x), float(y)) for x, y in ends]
        wide = 7 if number % 6 == 0 else 3
        draw.line(line, (160, 150, 140), wide + 2)
        draw.line(line, (250, 214, 120) if wide == 7 else WHITE, wide)
    for word in _text(30, 3):
        x, y = rng.uniform(0, 1, 2) * SIZE
        draw.text((float(x), float(y)), word, (60, 60, 60), _font("DejaVu Sans", 10))
    return np.asarray(image)


def sprites(cell: int) -> Pixels:
    """Pixel art: mirrored figures of few colours, in squares of `cell` pixels."""
    rng = np.random.default_rng(4)
    palette = rng.integers(0, 256, (12, 3)).astype(np.uint8)
    rows, columns = SIZE[1] // cell // 10, SIZE[0] // cell // 10
    small = np.zeros((rows * 10, columns * 10), int)
    for row, column in np.ndindex(rows, columns):
        half = rng.choice([0, 0, *rng.integers(1, 12, 3)], (8, 4))
        whole = np.concatenate([half, half[:, ::-1]], axis=1)
        small[row * 10 + 1 : row * 10 + 9, column * 10 + 1 : column * 10 + 9] = whole
    return palette[small].repeat(cell, 0).repeat(cell, 1)


def code(module: int) -> Pixels:
    """A square code of black and white modules with three position marks and a quiet zone."""
    side = 41
    grid = np.random.default_rng(module).integers(0, 2, (side, side))
    mark = np.pad(np.pad(np.ones((3, 3), int), 1), 1, constant_values=1)
    for rows, columns in ((slice(7), slice(7)), (slice(7), slice(-7, None))):
        grid[rows, columns] = mark
        grid[columns, rows] = mark
    quiet = np.pad(grid, 4)
    grey = ((1 - quiet) * 255).astype(np.uint8).repeat(module, 0).repeat(module, 1)
    return np.repeat(grey[..., None], 3, axis=2)


def board(cell: int, first: Colour, second: Colour) -> Pixels:
    """Squares of two colours."""
    row, column = np.indices((256, 256)) // cell
    colours = np.array([first, second], np.uint8)
    return colours[(row + column) % 2]


def stripes() -> Pixels:
    """Vertical stripes that become narrower."""
    phase = np.cumsum(np.linspace(1 / 40, 1 / 2, 512)).astype(int) % 2
    line = np.array([(20, 20, 120), (250, 240, 40)], np.uint8)[phase]
    return np.repeat(line[None], 256, axis=0)


def dithered(name: str, colours: int) -> Pixels:
    """A bundled photograph in few colours, with the error spread out."""
    picture = Image.fromarray(mr.sample(name))
    if colours == 2:
        return np.asarray(picture.convert("1").convert("RGB"))
    palette = picture.quantize(colours)
    return np.asarray(
        picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")
    )


def ordered() -> Pixels:
    """A gradient in four levels of each colour, with an ordered dither."""
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16
    y, x = np.mgrid[0:1:320j, 0:1:480j]
    smooth = np.stack([x, y, 1 - x], axis=-1)
    levels = np.floor(smooth * 3 + np.tile(bayer, (80, 120))[..., None])
    return (np.clip(levels, 0, 3) * 85).astype(np.uint8)


def window() -> Pixels:
    """A window of a program: a bar with a gradient, buttons, a list, a photograph."""
    image = Image.new("RGB", SIZE, (236, 236, 240))
    draw, font = ImageDraw.Draw(image), _font("DejaVu Sans", 11)
    for row in range(28):
        draw.line([(0, row), (SIZE[0], row)], (90 + row, 120 + row, 190))
    draw.text((10, 7), "Untitled - Editor", WHITE, font)
    for number, word in enumerate(("File", "Edit", "View", "Help", "Undo", "Redo")):
        box = (10 + number * 84, 36, 86 + number * 84, 60)
        draw.rounded_rectangle(box, 5, (250, 250, 252), (170, 170, 180))
        draw.text((box[0] + 22, 42), word, BLACK, font)
    for number, word in enumerate(_text(22, 5)):
        shade = (225, 232, 250) if number % 2 else WHITE
        draw.rectangle((10, 72 + number * 18, 250, 89 + number * 18), shade)
        draw.text((16, 74 + number * 18), f"{number:03d}  {word}.txt", (40, 40, 40), font)
    image.paste(Image.fromarray(mr.sample("dog")).resize((360, 360)), (265, 80))
    return np.asarray(image)


def table() -> Pixels:
    """A spreadsheet: grid lines and figures."""
    rng, image = np.random.default_rng(6), Image.new("RGB", SIZE, WHITE)
    draw, font = ImageDraw.Draw(image), _font("DejaVu Sans Mono", 10)
    for row, column in np.ndindex(30, 9):
        box = (column * 71, row * 16, column * 71 + 71, row * 16 + 16)
        fill = (218, 227, 243) if row == 0 else (255, 244, 204) if rng.random() < 0.1 else WHITE
        draw.rectangle(box, fill, (200, 200, 200))
        draw.text((box[0] + 6, box[1] + 2), f"{rng.normal() * 1000:8.2f}", BLACK, font)
    return np.asarray(image)


def diagram() -> Pixels:
    """Boxes, circles and arrows with smooth edges."""
    large = Image.new("RGB", (SIZE[0] * 3, SIZE[1] * 3), WHITE)
    draw, rng = ImageDraw.Draw(large), np.random.default_rng(7)
    for number in range(14):
        x, y = (int(v) for v in rng.uniform(0, 1, 2) * (SIZE[0] * 2.5, SIZE[1] * 2.5))
        colour = tuple(int(v) for v in rng.integers(80, 256, 3))
        shape = draw.ellipse if number % 2 else draw.rectangle
        shape((x, y, x + 330, y + 240), colour, BLACK, 5)
        draw.line([(x + 165, y + 240), (SIZE[0] * 3 // 2, SIZE[1] * 3 // 2)], (60, 60, 60), 5)
    return np.asarray(large.resize(SIZE, Image.Resampling.LANCZOS))


def signs() -> Pixels:
    """Large words in saturated colours on saturated colours of the same brightness."""
    image = Image.new("RGB", (480, 320), (0, 160, 0))
    draw, font = ImageDraw.Draw(image), _font("DejaVu Sans:bold", 34)
    inks = ((160, 0, 0), (0, 0, 160), (80, 0, 80), (160, 0, 0), (160, 160, 0))
    for number, (ink, word) in enumerate(zip(inks, _text(5, 8), strict=True)):
        draw.text((20, 14 + number * 60), f"{word} 4871-3906", ink, font)
    return np.asarray(image)


def halftone() -> Pixels:
    """A photograph as dots of ink."""
    grey = np.asarray(Image.fromarray(mr.sample("bulb")).convert("L"), np.float64) / 255
    y, x = np.indices(grey.shape)
    screen = (np.cos((x + y) * np.pi / 6) + np.cos((x - y) * np.pi / 6)) / 4 + 0.5
    return np.repeat(((grey > screen) * 255).astype(np.uint8)[..., None], 3, axis=2)


def few_colour_noise() -> Pixels:
    """Noise of the eight corners of the colour cube."""
    return np.random.default_rng(9).integers(0, 2, (256, 256, 3), np.uint8) * np.uint8(255)


def gradient() -> Pixels:
    """Smooth ramps of colour, such as a slide's background."""
    y, x = np.mgrid[0:1:360j, 0:1:512j]
    colours = np.stack([30 + 200 * x, 60 + 120 * y, 220 - 150 * x * y], axis=-1)
    return np.rint(colours).astype(np.uint8)


DRAWINGS: dict[str, Callable[[], Pixels]] = {
    "page, serif": page,
    "page, sans": partial(page, "DejaVu Sans", 12),
    "program, dark": partial(page, "DejaVu Sans Mono", 11, (210, 220, 170), (30, 30, 46)),
    "page, scanned": scan,
    "plot": plot,
    "scatter": scatter,
    "bars": bars,
    "contours": contours,
    "streets": streets,
    "pixel art, 4": partial(sprites, 4),
    "pixel art, 8": partial(sprites, 8),
    "code, 4": partial(code, 4),
    "code, 8": partial(code, 8),
    "board, 1": partial(board, 1, BLACK, WHITE),
    "board, 8": partial(board, 8, BLACK, WHITE),
    "board, red and cyan": partial(board, 2, (255, 0, 0), (0, 255, 255)),
    "stripes": stripes,
    "dither, 2 colours": partial(dithered, "flowers", 2),
    "dither, 16 colours": partial(dithered, "path", 16),
    "dither, ordered": ordered,
    "halftone": halftone,
    "window": window,
    "table": table,
    "diagram": diagram,
    "signs": signs,
    "noise, 8 colours": few_colour_noise,
    "gradient": gradient,
}


def drawings(names: Sequence[str] | None = None) -> dict[str, Pixels]:
    """Those of some names, or all."""
    return {name: np.ascontiguousarray(DRAWINGS[name]()) for name in names or DRAWINGS}
