"""The report of a benchmark: what the curves of all codecs amount to, as JSON and as plain text."""

import json
import math
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from mrdcae_lite.evaluation import curves
from mrdcae_lite.evaluation.curves import Points, compare, mean, mean_curve, to_columns
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
    """The report on some pictures, each with the points of every codec, of plain values.

    Titles are those of the codecs, by their names, the anchor among them; models what is to be said
    of the models behind them; conditions what other codecs depend on, besides the pictures.
    """
    whole = [name for name in titles if ":" not in name]  # the start of a file is short
    packages = ["mrdcae-lite", "numpy", "scipy", "constriction"]
    equal = [_at_equal_bpp(photographs, whole, key, bpp) for bpp in RATES for key in REGIONAL]
    report: dict[str, Any] = rounded(
        {
            "n": len(photographs),
            "units": UNITS,
            "conditions": conditions,
            "models": models,
            "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
            "anchor": ANCHOR,
            "codecs": {n: {"title": t, **_summary(n, photographs)} for n, t in titles.items()},
            "at_equal_bpp": equal,
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
            p["sha256"]: {name: curves.from_columns(c) for name, c in p["points"].items()}
            for p in report["photographs"]
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
    megapixels = sum(p.width * p.height * len(p.points[name]) for p in photographs) / 1e6
    every = [point for p in photographs for point in p.points[name]]
    return {
        **{measure: _averages(name, photographs, measure) for measure in MEASURES},
        "mean_curve": to_columns(mean_curve([p.points[name] for p in photographs])),
        "encode_mp_per_s": megapixels / sum(point.encode_s for point in every),
        "decode_mp_per_s": megapixels / sum(point.decode_s for point in every),
    }


def _averages(name: str, photographs: Sequence[Photograph], measure: str) -> dict[str, Any]:
    """Both ways to average: over the pictures' BD-rates, and the BD-rate of the mean curves."""
    each = [compare(p.points[ANCHOR], p.points[name], measure) for p in photographs]
    rates, lows, highs, gains = np.array([astuple(c) for c in each]).T
    known = np.isfinite(rates)
    gains = gains[np.isfinite(gains)]
    anchor, own = (mean_curve([p.points[codec] for p in photographs]) for codec in (ANCHOR, name))
    return {
        "n": int(known.sum()),
        "bd_rate_mean": mean(rates[known]),
        "bd_rate_median": float(np.median(rates[known])) if known.any() else math.nan,
        "low_mean": mean(lows[known]),
        "high_mean": mean(highs[known]),
        "of_mean_curves": asdict(compare(anchor, own, measure)),
        "gain_mean": mean(gains),
        "gain_lowest": min(gains.tolist(), default=math.nan),
        "gain_n": len(gains),
    }


def _at_equal_bpp(
    photographs: Sequence[Photograph], names: Sequence[str], measure: str, bpp: float
) -> dict[str, Any]:
    """Means over the pictures on which every codec reaches the rate."""
    read = [[curves.value_at(p.points[n], measure, bpp) for n in names] for p in photographs]
    values = np.array(read)
    complete = values[np.isfinite(values).all(axis=1)]
    means = {name: mean(column) for name, column in zip(names, complete.T, strict=True)}
    return {"bpp": bpp, "measure": measure, "n": len(complete), "means": means}


def _record(photograph: Photograph) -> dict[str, Any]:
    columns = {name: to_columns(points) for name, points in photograph.points.items()}
    others = dict(photograph.points)
    anchor = others.pop(ANCHOR)
    against = {
        name: {measure: asdict(compare(anchor, points, measure)) for measure in MEASURES}
        for name, points in others.items()
    }
    return {**vars(photograph), "points": columns, "against_anchor": against}


def to_json(report: Mapping[str, Any]) -> str:
    """The report as JSON, with each list of numbers on one line."""
    text = json.dumps(report, indent=1, allow_nan=False, ensure_ascii=False)
    return re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def table(report: Mapping[str, Any]) -> str:
    """The report as aligned plain text."""
    codecs = report["codecs"]
    sizes = sorted({(p["width"], p["height"]) for p in report["photographs"]})
    span = " to ".join(dict.fromkeys(f"{w} x {h}" for w, h in (sizes[0], sizes[-1])))
    parts = [f"{report['n']} photographs of {span} pixels, each against {codecs[ANCHOR]['title']}"]
    for measure, title in zip(MEASURES, ("PSNR", "SSIM in dB"), strict=True):
        head = [title, "BD-rate %", "median", "of mean curve", "over dB", "gain dB", "lowest", "n"]
        rows = [_comparison(name, c[measure]) for name, c in codecs.items() if name != ANCHOR]
        parts.append(_aligned([head, *rows]))
    head = ["at equal bpp", "n", *report["at_equal_bpp"][0]["means"]]
    parts.append(_aligned([head, *map(_rate, report["at_equal_bpp"])]))
    speeds = [[c["title"], c["encode_mp_per_s"], c["decode_mp_per_s"]] for c in codecs.values()]
    parts.append(_aligned([["megapixels per CPU second", "encode", "decode"], *speeds]))
    if report.get("skipped"):
        parts.append(f"{len(report['skipped'])} skipped: {', '.join(report['skipped'])}")
    if OURS in codecs:
        parts.append(_conclusion(report))
    return "\n\n".join(parts)


def _comparison(name: str, row: Mapping[str, Any]) -> list[Any]:
    rates = [row["bd_rate_mean"], row["bd_rate_median"], row["of_mean_curves"]["bd_rate"]]
    span = f"{_show(row['low_mean'])} - {_show(row['high_mean'])}"
    return [name, *rates, span, row["gain_mean"], row["gain_lowest"], row["n"]]


def _rate(row: Mapping[str, Any]) -> list[Any]:
    digits = 2 if row["measure"].startswith("psnr") else 4
    means = [_show(value, digits) for value in row["means"].values()]
    return [f"{row['bpp']:.3f} {row['measure']}", row["n"], *means]


def _conclusion(report: Mapping[str, Any]) -> str:
    """One sentence on our codec at equal file size."""
    ours, anchor = report["codecs"][OURS], report["codecs"][ANCHOR]
    if ours["psnr"]["gain_n"] == 0:
        return (
            f"{ours['title']} and {anchor['title']} make no files of equal size here: neither is "
            "above the other. Take other pictures, or more qualities."
        )
    gains = [p["against_anchor"][OURS]["psnr"]["gain"] for p in report["photographs"]]
    better = sum(gain is not None and gain > 0 for gain in gains)
    return (
        f"At equal file size {ours['title']} is {_show(ours['psnr']['gain_mean'])} dB of PSNR "
        f"above {anchor['title']} on the mean of {ours['psnr']['gain_n']} photographs, "
        f"above it on {better} of {ours['psnr']['gain_n']}."
    )


def _show(value: Any, digits: int = 2) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _aligned(rows: Iterable[Sequence[Any]]) -> str:
    cells = [[_show(value) for value in row] for row in rows]
    first, *others = (max(map(len, column)) for column in zip(*cells, strict=True))
    layout = "  ".join([f"{{:<{first}}}", *(f"{{:>{width}}}" for width in others)])
    return "\n".join(layout.format(*row) for row in cells)
