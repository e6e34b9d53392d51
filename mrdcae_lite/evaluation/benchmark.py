"""Codecs side by side on the same pictures: real bytes, quality, time, and who needs fewer bytes.

What is kept of a codec on a picture is a tuple of points, one for each quality setting; everything
else is computed from the points. Curves are interpolated over the logarithm of the bits per pixel
by a monotone cubic (pchip) and never extended beyond their ends.

    report = evaluate(paths, Settings(model="lite"))
    print(table(report))
"""

import hashlib
import json
import math
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import features
from scipy.interpolate import PchipInterpolator

from mrdcae_lite.coding.bitstream import up_to_level
from mrdcae_lite.core.distortion import bits_per_pixel, psnr
from mrdcae_lite.core.files import one_line
from mrdcae_lite.core.pixels import RGB
from mrdcae_lite.core.quality import check_quality
from mrdcae_lite.evaluation.baselines import BASELINES
from mrdcae_lite.evaluation.metrics import bd_rate, ms_ssim, ssim_db, ssim_map
from mrdcae_lite.io.batch import shared
from mrdcae_lite.io.images import (
    PICTURES,
    pictures_in,
    read_image,
    sample,
    sample_names,
    standardise,
)
from mrdcae_lite.models import load, registry
from mrdcae_lite.training.complexity import (
    SWITCH_PATCH,
    TEXTURE_THRESHOLD,
    local_complexity,
    patch_means,
)

Floats = NDArray[np.float64]

ANCHOR, OURS = "jpeg", "mrdcae"
CODECS = (*(n for n in ("jpeg", "jpeg2000", "webp", "avif", "jpegxl") if n in BASELINES), OURS)
SWEEP = (5, 20, 35, 50, 65, 80, 95)
MEASURES = ("psnr", "ssim_db")
RATES = (0.25, 24 / 42, 1.0)  # 24 / 42 is the 42:1 of raw size over file size
REGIONAL = ("psnr", "psnr_smooth", "psnr_complex", "ssim", "ssim_smooth", "ssim_complex")
MS_SSIM_SIDE = 161
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
class Settings:
    """What is compared.

    A codec is named as in `baselines`, "mrdcae" for the one that `model` stands for, by the name
    of a shipped codec, or "NAME=FILE" for a codec file that is to be called NAME. ":1" or ":2"
    after a codec of ours stands for its files cut off after the low or the medium level.
    `qualities` are those of our codecs; the others have sweeps of their own.
    """

    codecs: tuple[str, ...] = CODECS
    model: str = "lite"
    qualities: tuple[int, ...] = SWEEP
    resize: int | None = None


@dataclass(frozen=True)
class Entrant:
    """A codec that takes part, reduced to what a comparison needs of it."""

    title: str
    qualities: tuple[float, ...]
    encode: Callable[[RGB, float], bytes]
    decode: Callable[[bytes], RGB]
    model: str | None = None


@dataclass(frozen=True)
class Point:
    """One file of one codec. `UNITS` says what the numbers are; NaN is what cannot be measured."""

    quality: float
    size: float
    bpp: float
    psnr: float
    ssim: float
    ms_ssim: float
    psnr_smooth: float
    psnr_complex: float
    ssim_smooth: float
    ssim_complex: float
    encode_s: float
    decode_s: float

    @property
    def ssim_db(self) -> float:
        """Structural similarity in dB."""
        return ssim_db(self.ssim)


Points = tuple[Point, ...]
COLUMNS = tuple(field.name for field in fields(Point))


@dataclass(frozen=True)
class Photograph:
    """A picture and the points of every codec on it, by the codec's name."""

    name: str
    sha256: str
    width: int
    height: int
    complex_share: float
    points: Mapping[str, Points]


# --- taking part ----------------------------------------------------------------------------


@cache
def entrants(settings: Settings) -> Mapping[str, Entrant]:
    """The codecs by name, the anchor first and always; loads ours once in a process."""
    found = {}
    for name in dict.fromkeys((ANCHOR, *settings.codecs)):
        if name in BASELINES:
            codec = BASELINES[name]
            found[name] = Entrant(codec.title, codec.sweep, codec.encode, codec.decode)
        else:
            label, _, file = name.partition("=")
            if label in found or label in BASELINES:
                raise ValueError(
                    f"expected a name of its own for each codec. Received: {name!r}, but {label} "
                    "stands for another one. Call it otherwise."
                )
            found[label] = _learned(label, file, settings)
    return found


def _learned(name: str, file: str, settings: Settings) -> Entrant:
    base, _, level = name.partition(":")
    source = file or (settings.model if base == OURS else base)
    try:
        codec = load(source)
    except ValueError as error:
        raise ValueError(
            f"codecs must be {', '.join((*BASELINES, OURS))}, a shipped codec or NAME=FILE. "
            f"Received: {name!r}: {error}"
        ) from error
    if level not in ("", "1", "2", "3"):
        raise ValueError(f"expected {base}:1, {base}:2 or {base}:3. Received: {name!r}.")
    qualities = tuple(sorted({check_quality(quality) for quality in settings.qualities}))
    codec.decompress(codec.compress(sample("flowers")[:64, :64]))  # warm up, before times are taken
    title = f"MR-DCAE {base if file else Path(source).stem}"
    if not file:
        title = registry().get(source, {}).get("title", title)
    if not level:
        return Entrant(
            title,
            qualities,
            lambda image, quality: codec.compress(image, int(quality)),
            codec.decompress,
            codec.id.hex(),
        )
    return Entrant(
        f"{title}, up to level {level}",
        qualities,
        lambda image, quality: up_to_level(codec.compress(image, int(quality)), int(level)),
        lambda data: codec.decompress(data, level=int(level)),
        codec.id.hex(),
    )


def bundled() -> list[Path]:
    """Paths of the bundled photographs."""
    return [Path(__file__).parents[1] / "samples" / f"{name}.png" for name in sample_names()]


def pictures(sources: Sequence[Path], limit: int | None = None) -> list[Path]:
    """The pictures that paths stand for, a folder being sorted; evenly spaced if limited."""
    paths: list[Path] = []
    for source in sources:
        if not source.exists():
            raise ValueError(f"{source}: no such picture or folder. Check the path.")
        paths += pictures_in(source) if source.is_dir() else [source]
    if not paths or (limit is not None and limit < 1):
        raise ValueError(
            f"expected at least one picture ({' '.join(PICTURES)}). Received: {len(paths)} in "
            f"{', '.join(map(str, sources))}, limit {limit}. Name a picture or a folder with some."
        )
    count = min(limit or len(paths), len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


# --- measuring ------------------------------------------------------------------------------


def measure_point(image: RGB, entrant: Entrant, quality: float, textured: NDArray[Any]) -> Point:
    """Compress and restore a picture, and score it: whole, and where `textured` says."""
    started = time.process_time()
    data = entrant.encode(image, quality)
    encoded = time.process_time()
    restored = entrant.decode(data)
    decoded = time.process_time()
    score, similarity = ssim_map(image, restored, data_range=255)
    squared = (image.astype(np.float64) - restored) ** 2
    errors, similarities = patch_means(squared), patch_means(similarity)
    large = min(image.shape[:2]) >= MS_SSIM_SIDE
    return Point(
        quality=quality,
        size=len(data),
        bpp=bits_per_pixel(data, image.shape),
        psnr=psnr(image, restored, data_range=255),
        ssim=score,
        ms_ssim=ms_ssim(image, restored, data_range=255) if large else math.nan,
        psnr_smooth=_decibels(_mean(errors[~textured])),
        psnr_complex=_decibels(_mean(errors[textured])),
        ssim_smooth=_mean(similarities[~textured]),
        ssim_complex=_mean(similarities[textured]),
        encode_s=encoded - started,
        decode_s=decoded - encoded,
    )


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _decibels(error: float) -> float:
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def measure(
    path: Path, settings: Settings, earlier: Mapping[str, Mapping[str, Points]]
) -> Photograph | str:
    """All codecs on one picture, or in one line why it was not possible.

    Points that `earlier` holds, by the picture's SHA-256 and the codec, are taken from there.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        image = read_image(path)
        if settings.resize is not None:
            image = standardise(image, settings.resize)
        if min(image.shape[:2]) < SWITCH_PATCH:
            raise ValueError(f"{path}: expected {SWITCH_PATCH} x {SWITCH_PATCH} pixels or more.")
        textured = local_complexity(image / 255) > TEXTURE_THRESHOLD
        points = {
            name: _known(earlier.get(digest, {}).get(name), entrant)
            or tuple(measure_point(image, entrant, q, textured) for q in entrant.qualities)
            for name, entrant in entrants(settings).items()
        }
    except (OSError, ValueError) as error:
        return one_line(error, path)
    height, width = image.shape[:2]
    return Photograph(path.name, digest, width, height, float(textured.mean()), points)


def _measured(path: Path, **known: Any) -> tuple[Path, Photograph | str]:
    return path, measure(path, **known)


def _known(points: Points | None, entrant: Entrant) -> Points | None:
    same = points and tuple(p.quality for p in points) == entrant.qualities
    return points if same and entrant.model is None else None


def evaluate(
    paths: Sequence[Path],
    settings: Settings,
    *,
    jobs: int = 1,
    earlier: Mapping[str, Any] | None = None,
    announce: Callable[[int, Path, str | None], None] = lambda *_: None,
) -> dict[str, Any]:
    """The report on all pictures, ready for `to_json` and `table`.

    Parameters
    ----------
    jobs
        Processes to share the pictures among.
    earlier
        A report on the same pictures, to take the points of the other codecs from.
    announce
        Called after each picture with its number, its path, and what was wrong with it if it was.

    Raises `ValueError` if no picture could be measured.
    """
    entrants(settings)  # a wrong name or model shows here, not once a picture
    task = partial(_measured, settings=settings, earlier=_recall(earlier, settings))
    results: dict[Path, Photograph | str] = {}
    for number, (path, result) in enumerate(shared(task, paths, jobs), 1):
        results[path] = result
        announce(number, path, None if isinstance(result, Photograph) else result)
    each = [(path, results[path]) for path in paths]
    found = [result for _, result in each if isinstance(result, Photograph)]
    skipped = [path.name for path, result in each if not isinstance(result, Photograph)]
    if not found:
        raise ValueError(f"none of {len(paths)} pictures could be measured. Name others.")
    return {**summarise(found, settings), "skipped": skipped, "reused": earlier is not None}


def _recall(earlier: Mapping[str, Any] | None, settings: Settings) -> dict[str, dict[str, Points]]:
    if earlier is None:
        return {}
    now = conditions(settings)
    try:
        then = {key: earlier["conditions"].get(key) for key in now}
        points = {p["sha256"]: _points(p["points"]) for p in earlier["photographs"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "the earlier report must be one that `mrdcae evaluate --out` wrote. Received: "
            f"something else ({error}). Measure all codecs again."
        ) from error
    if then != now:
        raise ValueError(
            f"the earlier report must come from the same set-up: {now}. Received: {then}. "
            "Measure all codecs again."
        )
    return points


def _points(recorded: Mapping[str, Mapping[str, Sequence[float | None]]]) -> dict[str, Points]:
    """Inverse of `_columns`, for each codec."""
    return {
        name: tuple(
            Point(*(math.nan if value is None else value for value in row))
            for row in zip(*(columns[key] for key in COLUMNS), strict=True)
        )
        for name, columns in recorded.items()
    }


def conditions(settings: Settings) -> dict[str, Any]:
    """What the points of the other codecs depend on, besides the pictures."""
    libraries = {name: features.version(name) for name in ("libjpeg_turbo", "webp", "avif")}
    return {
        "resize": settings.resize,
        "region_patch": SWITCH_PATCH,
        "complex_above": TEXTURE_THRESHOLD,
        "pillow": version("pillow"),
        "scikit-image": version("scikit-image"),
        **libraries,
        "openjpeg": features.version("jpg_2000"),
    }


# --- comparing ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Versus:
    """A codec against the anchor in one measure; NaN where the curves do not allow it.

    `bd_rate` is in percent, taken where both curves lie between `low` and `high` dB. `gain` is the
    mean difference in dB, over the codec's files, to the anchor's curve at the same file size.
    """

    bd_rate: float
    low: float
    high: float
    gain: float


def value_at(points: Points, measure: str, bpp: float) -> float:
    """A measure at a rate, interpolated; NaN beyond the ends of the curve."""
    return at_rate(*_curve(points, measure), bpp)


def at_rate(rates: Floats, values: Floats, bpp: float) -> float:
    """The value at a rate on a curve of ascending rates; NaN beyond its ends."""
    if len(rates) < 2 or not rates[0] <= bpp <= rates[-1]:
        return math.nan
    return float(PchipInterpolator(np.log(rates), values)(math.log(bpp)))


def _curve(points: Points, measure: str) -> tuple[Floats, Floats]:
    """Rates, strictly ascending, and the values there, all finite."""
    pairs = {p.bpp: getattr(p, measure) for p in points}
    finite = sorted((rate, value) for rate, value in pairs.items() if math.isfinite(value))
    rates, values = np.array(finite, np.float64).reshape(-1, 2).T
    return rates, values


def versus(anchor: Points, points: Points, measure: str) -> Versus:
    """Compare two curves; files that are larger but no better than a smaller one are left out."""
    curves = []
    for rates, values in (_curve(anchor, measure), _curve(points, measure)):
        best = np.maximum.accumulate(np.concatenate([[-math.inf], values[:-1]]))
        curves += [rates[values > best], values[values > best]]
    gains = [getattr(p, measure) - value_at(anchor, measure, p.bpp) for p in points]
    gain = _mean([g for g in gains if math.isfinite(g)])
    try:
        found = bd_rate(*curves)
    except ValueError:  # fewer than four points, or nothing in common
        return Versus(math.nan, math.nan, math.nan, gain)
    return Versus(found.percent, found.low, found.high, gain)


def summarise(photographs: Sequence[Photograph], settings: Settings) -> dict[str, Any]:
    """What the points of all codecs on all pictures amount to: the report, of plain values."""
    field = entrants(settings)
    whole = tuple(name for name in field if ":" not in name)  # the start of a file is short
    packages = ["mrdcae-lite", "numpy", "scipy", "constriction"]
    report = {
        "n": len(photographs),
        "units": UNITS,
        "conditions": conditions(settings),
        "models": {
            name: {"file": entrant.title, "id": entrant.model}
            for name, entrant in field.items()
            if entrant.model
        },
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
        "anchor": ANCHOR,
        "codecs": {name: _standing(name, field[name], photographs) for name in field},
        "at_equal_bpp": [
            _at_equal_bpp(photographs, whole, measure, bpp) for bpp in RATES for measure in REGIONAL
        ],
        "photographs": [_record(photograph) for photograph in photographs],
    }
    return {key: _plain(value) for key, value in report.items()}


def _plain(value: Any) -> Any:
    """Six digits, None for what is not finite: the same in memory as in the file."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _standing(name: str, entrant: Entrant, photographs: Sequence[Photograph]) -> dict[str, Any]:
    pixels = sum(p.width * p.height * len(p.points[name]) for p in photographs)
    every = [point for p in photographs for point in p.points[name]]
    return {
        "title": entrant.title,
        **{measure: _spread(name, photographs, measure) for measure in MEASURES},
        "mean_curve": _columns(_mean_curve(name, photographs)),
        "encode_mp_per_s": pixels / 1e6 / sum(point.encode_s for point in every),
        "decode_mp_per_s": pixels / 1e6 / sum(point.decode_s for point in every),
    }


def _mean_curve(name: str, photographs: Sequence[Photograph]) -> Points:
    """The mean picture: each column of the points averaged, one quality at a time."""
    settings = zip(*(p.points[name] for p in photographs), strict=True)
    return tuple(Point(*np.mean([astuple(p) for p in same], axis=0).tolist()) for same in settings)


def _spread(name: str, photographs: Sequence[Photograph], measure: str) -> dict[str, Any]:
    """Both ways to average: over the pictures' BD-rates, and the BD-rate of the mean curves."""
    each = [versus(p.points[ANCHOR], p.points[name], measure) for p in photographs]
    rates = [v for v in each if math.isfinite(v.bd_rate)]
    gains = [v.gain for v in each if math.isfinite(v.gain)]
    anchor, own = (_mean_curve(codec, photographs) for codec in (ANCHOR, name))
    return {
        "n": len(rates),
        "bd_rate_mean": _mean([v.bd_rate for v in rates]),
        "bd_rate_median": float(np.median([v.bd_rate for v in rates])) if rates else math.nan,
        "low_mean": _mean([v.low for v in rates]),
        "high_mean": _mean([v.high for v in rates]),
        "of_mean_curves": asdict(versus(anchor, own, measure)),
        "gain_mean": _mean(gains),
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
    means = {name: _mean(column) for name, column in zip(names, complete.T, strict=True)}
    return {"bpp": bpp, "measure": measure, "n": len(complete), "means": means}


def _record(photograph: Photograph) -> dict[str, Any]:
    points = photograph.points
    return {
        **{key: getattr(photograph, key) for key in ("name", "sha256", "width", "height")},
        "complex_share": photograph.complex_share,
        "points": {name: _columns(of_codec) for name, of_codec in points.items()},
        "against_anchor": {
            name: {m: asdict(versus(points[ANCHOR], of_codec, m)) for m in MEASURES}
            for name, of_codec in points.items()
            if name != ANCHOR
        },
    }


def _columns(points: Points) -> dict[str, list[float]]:
    return {key: [getattr(point, key) for point in points] for key in COLUMNS}


# --- showing --------------------------------------------------------------------------------


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
        lines += ["", *_aligned([head, *_versus_rows(codecs, measure)])]
    head = ["at equal bpp", "n", *report["at_equal_bpp"][0]["means"]]
    lines += ["", *_aligned([head, *(_rate_row(row) for row in report["at_equal_bpp"])])]
    speeds = [
        [codec["title"], _show(codec["encode_mp_per_s"]), _show(codec["decode_mp_per_s"])]
        for codec in codecs.values()
    ]
    lines += ["", *_aligned([["megapixels per CPU second", "encode", "decode"], *speeds])]
    if report.get("skipped"):
        lines += ["", f"{len(report['skipped'])} skipped: {', '.join(report['skipped'])}"]
    return "\n".join([*lines, *_verdict(report)])


def _versus_rows(codecs: Mapping[str, Any], measure: str) -> Iterator[list[str]]:
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


def _verdict(report: Mapping[str, Any]) -> list[str]:
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
