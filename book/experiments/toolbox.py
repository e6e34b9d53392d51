"""What the experiment notebooks share: pictures, codecs at equal bytes, artefacts, figures.

    python -m book.experiments.toolbox stand-ins

makes a folder of tiny pictures that stand in for the data sets, so that every notebook runs
without any download. What is measured on them means nothing.
"""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation
from skimage import data as skimage_data
from skimage.color import deltaE_ciede2000, gray2rgb, rgb2gray, rgb2lab
from skimage.filters import sobel

import mrdcae_lite as mr
from book.experiments.measured import Measured as Measured
from data_scripts import DataError, flowers17
from data_scripts.manifest import verify
from mrdcae_lite.core.pyramid import PATCH
from mrdcae_lite.evaluation import benchmark, curves, inspection
from mrdcae_lite.evaluation.baselines import BASELINES, encode_to_size
from mrdcae_lite.evaluation.metrics import ssim_db
from mrdcae_lite.evaluation.report import OURS
from mrdcae_lite.io.images import read_image, standardise, write_image

Pixels = NDArray[np.uint8]

STAND_INS = "STAND-INS"  # the file that marks a folder of them
STAND_IN_SIDE = 192
EVERY = 10  # of flowers17's test split
COLOURS = {
    "jpeg": "#888888",
    "jpeg2000": "#8c6d31",
    "webp": "#3182bd",
    "avif": "#31a354",
    "avif444": "#756bb1",
    OURS: "#d62728",
    "standard": "#e7969c",
}
MARKS = {"jpeg": "s", "jpeg2000": "^", "webp": "D", "avif": "v", "avif444": "x", OURS: "o"}
DASHES = {"jpeg2000": "--", "webp": (0, (3, 1)), "avif": "-.", "avif444": (0, (1, 1))}
DOMAINS = {
    "medical": ("retina", "immunohistochemistry", "cell"),
    "sky": ("hubble_deep_field", "moon"),
    "text": ("page", "text"),
    "face": ("astronaut",),
    "surface": ("brick", "grass", "gravel"),
}
EDGE = 0.1  # Sobel magnitude of grey values in [0, 1] above which a pixel lies on an edge
NEAR_EDGE = 4  # pixels beside an edge in which ringing is looked for


# --- pictures -------------------------------------------------------------------------------


def paths(name: str, data: str, limit: int | None = None) -> list[Path]:
    """The pictures of a set: bundled, kodak, flowers17 (every tenth of its test split), training.

    Pictures of a data set are compared with its list of checksums, unless the folder is one of
    stand-ins.
    """
    folder = Path(data) / name
    if (Path(data) / STAND_INS).exists():
        return benchmark.pictures([folder], limit)[0]
    if name == "bundled":
        return benchmark.bundled()[:limit]
    if not folder.is_dir():
        raise DataError(f"expected pictures in {folder}, found none; run make data, or give DATA=")
    if name == "kodak":
        return verify("kodak", benchmark.pictures([folder], limit)[0])
    test = flowers17.splits(folder).test[::EVERY]
    return verify("flowers17", benchmark.pictures(test, limit)[0])


def pictures(name: str, data: str, limit: int | None = None) -> dict[str, Pixels]:
    """The same as arrays by name; a name that ends in -256 stands for squares of that side."""
    base, _, side = name.partition("-")
    found = {path.name: read_image(path) for path in paths(base, data, limit)}
    return {key: standardise(image, int(side)) for key, image in found.items()} if side else found


def domain(name: str, side: int | None = None) -> dict[str, Pixels]:
    """Pictures of another kind, which come with scikit-image; at most `side` pixels a side."""
    found = {key: getattr(skimage_data, key)() for key in DOMAINS[name]}
    if name == "face":
        found = {key: image[:256, 96:352] for key, image in found.items()}
    return {
        key: np.ascontiguousarray((gray2rgb(image) if image.ndim == 2 else image)[:side, :side])
        for key, image in found.items()
    }


def stand_ins(folder: Path) -> None:
    """Write tiny pictures for every data set: corners of the bundled photographs."""
    for number, name in enumerate(mr.sample_names()):
        image = mr.sample(name)
        corners = (image[:STAND_IN_SIDE, :STAND_IN_SIDE], image[-STAND_IN_SIDE:, -STAND_IN_SIDE:])
        first, last = (np.ascontiguousarray(corner) for corner in corners)
        part = "validation" if number % 4 == 0 else "train"
        for target in (f"bundled/{name}", f"kodak/{name}", f"training/{part}/{name}"):
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            write_image(folder / f"{target}.png", first)
        (folder / "flowers17").mkdir(exist_ok=True)
        Image.fromarray(last).save(folder / "flowers17" / f"{name}.jpg", quality=75)
    (folder / STAND_INS).touch()


# --- codecs at equal bytes ------------------------------------------------------------------


def within(name: str, image: Pixels, size: int, codec: mr.Codec) -> tuple[bytes, Pixels]:
    """The largest file of a codec that has at most `size` bytes, and the picture in it."""
    if name == OURS:
        data = codec.compress(image, target_bpp=8 * size / (image.shape[0] * image.shape[1]))
        return data, codec.decompress(data)
    data = encode_to_size(BASELINES[name], image, size)
    return data, BASELINES[name].decode(data)


def at_rate(report: Mapping[str, Any], codec: str, measure: str, bpp: float) -> list[float]:
    """A measure of a codec at a rate on each picture; NaN where its curve does not reach it."""
    each = report["photographs"]
    return [curves.value_at(curves.from_columns(p["points"][codec]), measure, bpp) for p in each]


def rate_for(curve: Mapping[str, Sequence[float]], measure: str, wanted: float) -> float:
    """The bits per pixel at which a mean curve reaches a value; NaN where it does not."""
    values, rates = np.array(curve[measure]), np.log(curve["bpp"])
    order = np.argsort(values)
    found = np.interp(wanted, values[order], rates[order], left=math.nan, right=math.nan)
    return float(np.exp(found))


# --- artefacts ------------------------------------------------------------------------------


def edges(image: Pixels) -> NDArray[np.float64]:
    """Strength of the edges, by Sobel's filter, of the grey picture in [0, 1]."""
    return np.asarray(sobel(rgb2gray(image)))


def blockiness(image: Pixels, restored: Pixels) -> float:
    """How much more the error jumps at borders of 8 x 8 blocks than elsewhere; 1 is not at all."""
    height, width = image.shape[:2]
    return mr.seam_ratio(image, restored, range(8, height, 8), range(8, width, 8))


def ringing(image: Pixels, restored: Pixels) -> float:
    """Mean absolute error in grey values on flat pixels near an edge: where ripples show."""
    strength = edges(image)
    near = binary_dilation(strength > EDGE, iterations=NEAR_EDGE) & (strength < EDGE / 4)
    error = abs(image.astype(float) - restored).mean(axis=2)
    return float(error[near].mean()) if near.any() else math.nan


def sharpness(image: Pixels, restored: Pixels) -> float:
    """Strength of the restored edges over that of the original ones; below 1 is blurred."""
    before, after = edges(image), edges(restored)
    there = before > EDGE
    return float(after[there].mean() / before[there].mean()) if there.any() else math.nan


def colour_error(image: Pixels, restored: Pixels) -> float:
    """Mean colour difference by CIEDE2000; about 1 can just be seen."""
    return float(np.mean(deltaE_ciede2000(rgb2lab(image), rgb2lab(restored))))


# --- bits -----------------------------------------------------------------------------------


def bits_a_patch(codec: mr.Codec, file: bytes) -> NDArray[np.float64]:
    """Bits that the symbols of a file take in each patch, (rows, columns).

    A vector that stands for several patches is shared among them.
    """
    spent = inspection.information(codec.model, file)
    total: NDArray[np.float64] = np.zeros(())
    for bits, level in zip(spent, codec.architecture.levels, strict=True):
        blocks = level.stride // 8  # on a side, of 8 x 8 pixels
        total = total + np.kron(bits, np.full((blocks, blocks), blocks**-2.0))
    side = PATCH // 8
    rows, columns = (length // side for length in total.shape)
    shares: NDArray[np.float64] = total.reshape(rows, side, columns, side).sum(axis=(1, 3))
    return shares


# --- figures --------------------------------------------------------------------------------


def draw_curves(report: Mapping[str, Any], published: Mapping[str, Any] | None = None) -> Figure:
    """Mean rate-distortion curves, PSNR above and SSIM below; ours is the strongest."""
    labels = {"psnr": "PSNR (dB)", "ssim_db": "SSIM (dB)"}
    figure, axes = plt.subplots(2, 1, figsize=(6, 10), layout="constrained")
    for axis, measure in zip(axes, labels, strict=True):
        for name, codec in report["codecs"].items():
            curve = codec["mean_curve"]
            values = curve[measure] if measure in curve else list(map(ssim_db, curve["ssim"]))
            style: dict[str, Any] = {"lw": 3.5, "zorder": 3} if name == OURS else {"lw": 1.4}
            style |= {"ls": DASHES.get(name, "-"), "marker": MARKS.get(name, "."), "markersize": 5}
            if ":" in name:
                style |= {"lw": 1.2, "ls": ":"}
            if "@" in name:
                style |= {"lw": 1.4, "marker": "P"}
            colour = COLOURS.get(re.split("[:@]", name)[0])
            axis.plot(curve["bpp"], values, color=colour, label=codec["title"], **style)
        if published and measure == "psnr":
            _draw_published(axis, published)
        axis.set_xlabel("bits per pixel", size=11)
        axis.set_ylabel(labels[measure], size=11)
        axis.set(xlim=(0, 2))
        axis.tick_params(labelsize=11)
        axis.grid(alpha=0.3)
        visible = [y for line in axis.lines for x, y in zip(*line.get_data(), strict=True) if x < 2]
        axis.set_ylim(min(visible), max(visible))
    axes[0].set_title(f"mean of {report['n']} pictures", size=11)
    figure.legend(
        *axes[0].get_legend_handles_labels(), fontsize=11, loc="outside lower left", ncols=2
    )
    return figure


def _draw_published(axis: Axes, published: Mapping[str, Any]) -> None:
    for curve in published["curves"].values():
        if curve["learned"]:
            axis.plot(curve["bpp"], curve["psnr"], "--", lw=1, label=fill(curve["title"], 28))


if __name__ == "__main__":
    stand_ins(Path(sys.argv[1]))
