"""Measure all codecs on a set of pictures again: the report, its table and its figure.

    python -m data_scripts.results kodak --data data [--jobs 2]

| set | pictures |
| --- | --- |
| kodak | the 24 Kodak photographs, with the published curves of other learned codecs |
| flowers17 | every tenth picture of the test split at its native size |
| flowers17-256 | the same pictures as 256 x 256 squares |
| bundled | the photographs that come with the package, with each prefix of our files |

Reports go to book/results, figures to book/assets. Points of other codecs that the old report
holds are taken from there if pictures, settings and libraries are the same.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_scripts import DataError, flowers17
from data_scripts.fetch import Parser, guarded
from mrdcae_lite import cli, evaluation
from mrdcae_lite.codec import registry
from mrdcae_lite.evaluation import CODECS, OURS, Settings
from mrdcae_lite.images import write_atomically
from mrdcae_lite.metrics import ssim_db

BOOK = Path(__file__).resolve().parent.parent / "book"
PUBLISHED = BOOK / "results" / "published_kodak.json"
SETS = ("kodak", "flowers17", "flowers17-256", "bundled")
EVERY = 10  # of flowers17's test split
STANDARD = "standard"
COLOURS = {
    "jpeg": "#888888",
    "jpeg2000": "#8c6d31",
    "webp": "#3182bd",
    "avif": "#31a354",
    "jpegxl": "#756bb1",
    "mrdcae": "#d62728",
    STANDARD: "#e7969c",
}
LABELS = {"psnr": "PSNR (dB)", "ssim_db": "SSIM (dB)"}


def chosen(name: str, data: Path) -> tuple[list[Path], Settings]:
    """The pictures of a set and how they are measured."""
    codecs = (*CODECS, *(name for name in (STANDARD,) if name in registry()))
    if name == "kodak":
        return evaluation.pictures([_folder(data / "kodak")]), Settings(codecs)
    if name == "bundled":
        return evaluation.bundled(), Settings((*codecs, f"{OURS}:1", f"{OURS}:2"))
    test = flowers17.splits(_folder(data / "flowers17")).test[::EVERY]
    return list(test), Settings(codecs, resize=256 if name.endswith("256") else None)


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(f"expected pictures in {path}, found none; run make data, or give --data")
    return path


def draw(report: Mapping[str, Any], published: Mapping[str, Any] | None) -> Figure:
    """Mean rate-distortion curves, PSNR left and SSIM right."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    for axis, measure in zip(axes, LABELS, strict=True):
        for name, codec in report["codecs"].items():
            curve = codec["mean_curve"]
            values = curve[measure] if measure in curve else list(map(ssim_db, curve["ssim"]))
            style: dict[str, Any] = {"lw": 2.5, "zorder": 3} if name == OURS else {"lw": 1.4}
            if ":" in name:
                style = {"lw": 1.2, "ls": ":"}
            colour = COLOURS.get(name.partition(":")[0])
            axis.plot(curve["bpp"], values, marker=".", color=colour, label=codec["title"], **style)
        if published and measure == "psnr":
            _draw_published(axis, published)
        axis.set(xlabel="bits per pixel", ylabel=LABELS[measure], xlim=(0, 2))
        axis.grid(alpha=0.3)
        visible = [y for line in axis.lines for x, y in zip(*line.get_data(), strict=True) if x < 2]
        axis.set_ylim(min(visible), max(visible))
        axis.legend(fontsize=8, loc="lower right")
    axes[0].set_title(f"mean of {report['n']} pictures")
    return figure


def _draw_published(axis: Axes, published: Mapping[str, Any]) -> None:
    for curve in published["curves"].values():
        if curve["learned"]:
            axis.plot(curve["bpp"], curve["psnr"], "--", lw=1, label=curve["title"])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure a set, print its table, write its report and its figure."""
    parser = Parser(prog="data_scripts.results")
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--data", type=Path, default=Path("data"), help="where make data put it")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (1)")
    options = parser.parse_args(argv)
    return guarded(parser.prog, partial(_run, options.set, options.data, options.jobs))


def _run(name: str, data: Path, jobs: int) -> None:
    paths, settings = chosen(name, data)
    out = BOOK / "results" / f"{name}.json"

    earlier = json.loads(out.read_text("utf-8")) if out.exists() else None
    if earlier and earlier["conditions"] != evaluation.conditions(settings):
        earlier = None
    try:
        announce = cli.announcer(len(paths))
        report = evaluation.evaluate(paths, settings, jobs=jobs, earlier=earlier, announce=announce)
    except ValueError as error:
        raise DataError(str(error)) from error
    write_atomically(out, evaluation.to_json(report).encode())
    published = json.loads(PUBLISHED.read_text("utf-8")) if name == "kodak" else None
    plt.rcParams["svg.hashsalt"] = name
    picture = BOOK / "assets" / f"rate-distortion-{name}.svg"
    draw(report, published).savefig(picture, metadata={"Date": None})
    print(evaluation.table(report))
    print(f"\n{out}\n{picture}")


if __name__ == "__main__":
    sys.exit(main())
