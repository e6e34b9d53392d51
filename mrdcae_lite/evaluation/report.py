"""The report of a benchmark: what the curves of all codecs amount to, as JSON and as plain text."""

import json
import math
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from mrdcae_lite.evaluation.curves import (
    Points,
    compare,
    from_columns,
    mean,
    mean_curve,
    to_columns,
    value_at,
)
from mrdcae_lite.evaluation.metrics import MS_SSIM_SIDE

ANCHOR, OURS = "jpeg", "mrdcae"
MEASURES = ("psnr", "ssim_db")
RATES = (0.25, 24 / 42, 1.0)  # 24 / 42 is the 42:1 of raw size over file size
REGIONAL = ("psnr", "psnr_smooth", "psnr_complex", "ssim", "ssim_smooth", "ssim_complex")
UNITS = {
    "size": "bytes of the file",
    "bpp": "8 x size / pixels",
    "psnr": "dB, 8-bit RGB",
    "ssim": "Gaussian window of sigma 1.5, population covariance, mean of R, G, B",
    "ssim_db": "-10 log10(1 - ssim)",
    "ms_ssim": f"five scales; none for sides below {MS_SSIM_SIDE} pixels",
    "..._smooth, ..._complex": "over the patches of low and of high complexity",
    "encode_s, decode_s": "CPU seconds over all threads; compare within this file only",
}


@dataclass(frozen=True)
class Photograph:
    """A picture and the points of every codec on it, by the codec's name."""

    name: str
    sha256: str
    width: int
    height: int
    complex_share: float
    points: Mapping[str, Points]


def summarise(
    photographs: Sequence[Photograph],
    titles: Mapping[str, str],
    models: Mapping[str, Any],
    conditions: Mapping[str, Any],
) -> dict[str, Any]:
    """The report on some pictures, of plain values.

    Args:
        photographs: each with the points of every codec.
        titles: of the codecs, by their names, the anchor among them.
        models: what is to be said of the models behind them.
        conditions: what the points of the other codecs depend on, besides the pictures.
    """
    whole = tuple(name for name in titles if ":" not in name)  # the start of a file is short
    packages = ["mrdcae-lite", "numpy", "scipy", "constriction"]
    report: dict[str, Any] = rounded(
        {
            "n": len(photographs),
            "units": UNITS,
            "conditions": conditions,
            "models": models,
            "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
            "anchor": ANCHOR,
            "codecs": {
                name: {"title": title, **_summary(name, photographs)}
                for name, title in titles.items()
            },
            "at_equal_bpp": [
                _at_equal_bpp(photographs, whole, measure, bpp)
                for bpp in RATES
                for measure in REGIONAL
            ],
            "photographs": [_record(photograph) for photograph in photographs],
        }
    )
    return report


def rounded(value: Any) -> Any:
    """A nest of plain values for JSON: floats to six digits, None for what is not finite."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def load_previous(
    report: Mapping[str, Any], conditions: Mapping[str, Any]
) -> dict[str, dict[str, Points]]:
    """The points in an earlier report, by the SHA-256 of the picture and the name of the codec.

    Raises `ValueError` if it is no report, or was made under other conditions.
    """
    try:
        then = {key: report["conditions"].get(key) for key in conditions}
        points = {
            photograph["sha256"]: {
                name: from_columns(columns) for name, columns in photograph["points"].items()
            }
            for photograph in report["photographs"]
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "the earlier report must be one that `mrdcae evaluate --out` wrote. Received: "
            f"something else ({error}). Measure all codecs again."
        ) from error
    if then != conditions:
        raise ValueError(
            f"the earlier report must come from the same set-up: {conditions}. Received: {then}. "
            "Measure all codecs again."
        )
    return points


def _summary(name: str, photographs: Sequence[Photograph]) -> dict[str, Any]:
    pixels = sum(p.width * p.height * len(p.points[name]) for p in photographs)
    every = [point for p in photographs for point in p.points[name]]
    return {
        **{measure: _averages(name, photographs, measure) for measure in MEASURES},
        "mean_curve": to_columns(mean_curve([p.points[name] for p in photographs])),
        "encode_mp_per_s": pixels / 1e6 / sum(point.encode_s for point in every),
        "decode_mp_per_s": pixels / 1e6 / sum(point.decode_s for point in every),
    }


def _averages(name: str, photographs: Sequence[Photograph], measure: str) -> dict[str, Any]:
    """Both ways to average: over the pictures' BD-rates, and the BD-rate of the mean curves."""
    each = [compare(p.points[ANCHOR], p.points[name], measure) for p in photographs]
    rates = [c for c in each if math.isfinite(c.bd_rate)]
    gains = [c.gain for c in each if math.isfinite(c.gain)]
    anchor, own = (mean_curve([p.points[codec] for p in photographs]) for codec in (ANCHOR, name))
    return {
        "n": len(rates),
        "bd_rate_mean": mean([c.bd_rate for c in rates]),
        "bd_rate_median": float(np.median([c.bd_rate for c in rates])) if rates else math.nan,
        "low_mean": mean([c.low for c in rates]),
        "high_mean": mean([c.high for c in rates]),
        "of_mean_curves": asdict(compare(anchor, own, measure)),
        "gain_mean": mean(gains),
        "gain_lowest": min(gains, default=math.nan),
        "gain_n": len(gains),
    }


def _at_equal_bpp(
    photographs: Sequence[Photograph], names: tuple[str, ...], measure: str, bpp: float
) -> dict[str, Any]:
    """Means over the pictures on which every codec reaches the rate."""
    values = np.array(
        [[value_at(p.points[name], measure, bpp) for name in names] for p in photographs]
    )
    complete = values[np.isfinite(values).all(axis=1)]
    means = {name: mean(column) for name, column in zip(names, complete.T, strict=True)}
    return {"bpp": bpp, "measure": measure, "n": len(complete), "means": means}


def _record(photograph: Photograph) -> dict[str, Any]:
    points = photograph.points
    return {
        **{key: getattr(photograph, key) for key in ("name", "sha256", "width", "height")},
        "complex_share": photograph.complex_share,
        "points": {name: to_columns(of_codec) for name, of_codec in points.items()},
        "against_anchor": {
            name: {m: asdict(compare(points[ANCHOR], of_codec, m)) for m in MEASURES}
            for name, of_codec in points.items()
            if name != ANCHOR
        },
    }


def to_json(report: Mapping[str, Any]) -> str:
    """The report as JSON, with each list of numbers on one line."""
    text = json.dumps(report, indent=1, allow_nan=False, ensure_ascii=False)
    return re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def table(report: Mapping[str, Any]) -> str:
    """The report as aligned plain text."""
    codecs = report["codecs"]
    sizes = sorted({(p["width"], p["height"]) for p in report["photographs"]})
    span = " to ".join(dict.fromkeys(f"{w} x {h}" for w, h in (sizes[0], sizes[-1])))
    lines = [f"{report['n']} photographs of {span} pixels, each against {codecs[ANCHOR]['title']}"]
    for measure, title in zip(MEASURES, ("PSNR", "SSIM in dB"), strict=True):
        head = [title, "BD-rate %", "median", "of mean curve", "over dB", "gain dB", "lowest", "n"]
        lines += ["", *_aligned([head, *_comparison_rows(codecs, measure)])]
    head = ["at equal bpp", "n", *report["at_equal_bpp"][0]["means"]]
    lines += ["", *_aligned([head, *(_rate_row(row) for row in report["at_equal_bpp"])])]
    speeds = [
        [codec["title"], _show(codec["encode_mp_per_s"]), _show(codec["decode_mp_per_s"])]
        for codec in codecs.values()
    ]
    lines += ["", *_aligned([["megapixels per CPU second", "encode", "decode"], *speeds])]
    if report.get("skipped"):
        lines += ["", f"{len(report['skipped'])} skipped: {', '.join(report['skipped'])}"]
    return "\n".join([*lines, *_conclusion(report)])


def _comparison_rows(codecs: Mapping[str, Any], measure: str) -> Iterator[list[str]]:
    for name, codec in codecs.items():
        if name != ANCHOR:
            row = codec[measure]
            numbers = [
                *(row["bd_rate_mean"], row["bd_rate_median"], row["of_mean_curves"]["bd_rate"]),
                *(row["low_mean"], row["high_mean"], row["gain_mean"], row["gain_lowest"]),
            ]
            mean, median, of_mean, low, high, gain, lowest = map(_show, numbers)
            yield [name, mean, median, of_mean, f"{low} - {high}", gain, lowest, str(row["n"])]


def _rate_row(row: Mapping[str, Any]) -> list[str]:
    digits = 2 if row["measure"].startswith("psnr") else 4
    means = [_show(value, digits) for value in row["means"].values()]
    return [f"{row['bpp']:.3f} {row['measure']}", str(row["n"]), *means]


def _conclusion(report: Mapping[str, Any]) -> list[str]:
    """One sentence on our codec at equal file size, if it took part."""
    if OURS not in report["codecs"]:
        return []
    ours, anchor = report["codecs"][OURS], report["codecs"][ANCHOR]
    gains = [p["against_anchor"][OURS]["psnr"]["gain"] for p in report["photographs"]]
    better = sum(gain is not None and gain > 0 for gain in gains)
    return [
        "",
        f"At equal file size {ours['title']} is {_show(ours['psnr']['gain_mean'])} dB of PSNR "
        f"above {anchor['title']} on the mean of {ours['psnr']['gain_n']} photographs, "
        f"above it on {better} of {ours['psnr']['gain_n']}.",
    ]


def _show(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [list(row) for row in rows]
    first, *others = (max(map(len, column)) for column in zip(*cells, strict=True))
    layout = "  ".join([f"{{:<{first}}}", *(f"{{:>{width}}}" for width in others)])
    return [layout.format(*row) for row in cells]
