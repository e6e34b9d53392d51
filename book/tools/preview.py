"""What others show of the book: the icon of its pages, and the picture beside a link to it."""

from io import BytesIO

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

import mrdcae_lite as mr

INK, PALE = "#0f5cc0", "#cfe0f7"
SQUARES = ((4, 4, 28), (36, 4, 12), (52, 4, 8), (36, 20, 8), (4, 36, 12), (20, 36, 8), (36, 36, 24))


def icon() -> bytes:
    """Squares of several sizes, as a codec of several resolutions sees a picture: 64 x 64, PNG."""
    picture = Image.new("RGBA", (64, 64), "#00000000")
    draw = ImageDraw.Draw(picture)
    for number, (x, y, side) in enumerate(SQUARES):
        draw.rectangle((x, y, x + side - 1, y + side - 1), fill=INK if number % 2 else "#79aef2")
    file = BytesIO()
    picture.save(file, "png")
    return file.getvalue()


def card() -> bytes:
    """The title beside the curves of four codecs on Kodak: 1200 x 630, PNG."""
    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor="white")
    figure.text(0.05, 0.62, "Image compression\nyou can read", size=35, weight="bold")
    figure.text(0.05, 0.44, "MR-DCAE Lite: a small learned codec,\nand the book about it", size=21)
    axes = figure.add_axes((0.6, 0.17, 0.36, 0.7))
    lines = {"avif444": "#8a63d2", "mrdcae": INK, "avif": "#777777", "jpeg": "#d95f02"}
    for name, colour in lines.items():
        codec = mr.result("kodak")["codecs"][name]
        rate, quality = (np.array(codec["mean_curve"][key]) for key in ("bpp", "psnr"))
        style = {"color": colour, "lw": 5 if name == "mrdcae" else 2.5, "label": codec["title"]}
        axes.plot(rate[rate < 2], quality[rate < 2], **style)
    axes.set_xlabel("bits per pixel", size=16)
    axes.set_ylabel("PSNR (dB)", size=16)
    axes.tick_params(labelsize=13)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=14, frameon=False, loc="lower right")
    file = BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def pages() -> dict[str, bytes]:
    """Both, by their path in the book."""
    return {"assets/favicon.png": icon(), "assets/preview.png": card()}
