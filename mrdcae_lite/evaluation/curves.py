"""Rate-distortion curves: the points of a codec on a picture, and two codecs compared.

A curve is a tuple of points, one for each quality setting. It is interpolated over the logarithm of
the rate by a monotone piecewise cubic (pchip) and never extended beyond its ends.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator

from mrdcae_lite.core.distortion import Floats
from mrdcae_lite.evaluation.metrics import ssim_db


@dataclass(frozen=True)
class Point:
    """One file of one codec. `report.UNITS` has the units; NaN is what cannot be measured."""

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


def to_columns(points: Points) -> dict[str, list[float]]:
    """Points as a report holds them: for each name of `COLUMNS` the values of all points."""
    return {key: [getattr(point, key) for point in points] for key in COLUMNS}


def from_columns(columns: Mapping[str, Sequence[float | None]]) -> Points:
    """Inverse of `to_columns`; None, which stands for what cannot be measured, becomes NaN."""
    rows = zip(*(columns[key] for key in COLUMNS), strict=True)
    return tuple(Point(*(math.nan if v is None else v for v in row)) for row in rows)


def mean_curve(curves: Sequence[Points]) -> Points:
    """Curve of the mean picture: each column averaged, one quality setting at a time."""
    settings = zip(*curves, strict=True)
    return tuple(Point(*np.mean([astuple(p) for p in same], axis=0).tolist()) for same in settings)


def value_at(points: Points, measure: str, bpp: float) -> float:
    """A measure (an attribute of `Point`) at a rate, interpolated; NaN beyond the curve's ends."""
    return at_rate(*_finite(points, measure), bpp)


def at_rate(rates: Floats, values: Floats, bpp: float) -> float:
    """Value at a rate on a curve of ascending rates, all finite; NaN beyond its ends."""
    if len(rates) < 2 or not rates[0] <= bpp <= rates[-1]:
        return math.nan
    return float(PchipInterpolator(np.log(rates), values)(math.log(bpp)))


def _finite(points: Points, measure: str) -> tuple[Floats, Floats]:
    """Rates, strictly ascending, and the values there, all finite."""
    pairs = {p.bpp: getattr(p, measure) for p in points}
    rates, values = np.array(sorted(pairs.items()), np.float64).reshape(-1, 2).T
    finite = np.isfinite(values)
    return rates[finite], values[finite]


def mean(values: ArrayLike) -> float:
    """Arithmetic mean of the finite values; NaN of none."""
    numbers = np.asarray(values, np.float64)
    finite = numbers[np.isfinite(numbers)]
    return float(finite.mean()) if finite.size else math.nan


@dataclass(frozen=True)
class Comparison:
    """A codec against the anchor in one measure; NaN where the curves do not allow it.

    `bd_rate` is in percent, taken where both curves lie between `low` and `high` dB. `gain` is the
    mean difference in dB, over the codec's files, to the anchor's curve at the same file size.
    """

    bd_rate: float
    low: float
    high: float
    gain: float


def compare(anchor: Points, points: Points, measure: str) -> Comparison:
    """Compare two curves in "psnr" or "ssim_db".

    Files that are larger but no better than a smaller one are left out of the BD-rate.
    """
    curves = []
    for rates, values in (_finite(anchor, measure), _finite(points, measure)):
        better = np.diff(np.maximum.accumulate(values), prepend=-math.inf) > 0
        curves += [rates[better], values[better]]
    gain = mean([getattr(p, measure) - value_at(anchor, measure, p.bpp) for p in points])
    try:
        found = bd_rate(*curves)
    except ValueError:  # fewer than four points, or nothing in common
        found = BDRate(math.nan, math.nan, math.nan)
    return Comparison(*found, gain)


class BDRate(NamedTuple):
    """A Bjontegaard delta rate in percent, and the range of quality it was averaged over."""

    percent: float
    low: float
    high: float


def bd_rate(
    anchor_rates: ArrayLike, anchor_qualities: ArrayLike, rates: ArrayLike, qualities: ArrayLike
) -> BDRate:
    """Mean difference in rate at equal quality against an anchor codec, in percent.

    -50 means: half the bytes of the anchor for the same quality.

    Parameters
    ----------
    anchor_rates, rates : four or more positive numbers, bits per pixel or bytes, in any order
    anchor_qualities, qualities : as many, which grow with the rate: PSNR or SSIM in dB

    Notes
    -----
    The logarithm of the rate is interpolated over quality by a monotone piecewise cubic (pchip) and
    integrated over the qualities both curves reach. The result depends on this range, which belongs
    beside the figure. Other numbers, and curves without a common range, are a `ValueError`.

    References
    ----------
    Bjontegaard: Calculation of average PSNR differences between RD-curves. ITU-T VCEG-M33, 2001.
    Fritsch, Butland: A method for constructing local monotone piecewise cubic interpolants. SIAM J.
    Sci. Stat. Comput. 5, 1984. doi:10.1137/0905021
    """
    anchor = _rate_curve(anchor_rates, anchor_qualities, "the anchor")
    curve = _rate_curve(rates, qualities, "the codec")
    low, high = max(anchor.x[0], curve.x[0]), min(anchor.x[-1], curve.x[-1])
    if low >= high:
        raise ValueError(
            "the two curves must share a range of qualities. Received: "
            f"{anchor.x[0]:.2f} to {anchor.x[-1]:.2f} and {curve.x[0]:.2f} to {curve.x[-1]:.2f}. "
            "Measure both at more rates."
        )
    mean = (curve.integrate(low, high) - anchor.integrate(low, high)) / (high - low)
    return BDRate(percent=100 * math.expm1(mean), low=float(low), high=float(high))


def _rate_curve(rates: ArrayLike, qualities: ArrayLike, owner: str) -> PchipInterpolator:
    x, y = np.asarray(qualities, np.float64), np.asarray(rates, np.float64)
    if x.shape != y.shape or x.ndim != 1 or x.size < 4:
        raise ValueError(
            f"{owner} needs at least four rates and as many qualities. "
            f"Received: shapes {y.shape} and {x.shape}."
        )
    y, x = np.array(sorted(zip(y, x, strict=True))).T
    if not np.isfinite([x, y]).all() or y[0] <= 0:
        raise ValueError(
            f"{owner} needs finite qualities and positive finite rates. "
            f"Received: rates {y.tolist()}, qualities {x.tolist()}."
        )
    if not (np.diff(x) > 0).all():
        raise ValueError(
            f"the quality of {owner} must grow with the rate. Received, by rate: {x.tolist()}. "
            "Leave out the points where it does not."
        )
    return PchipInterpolator(x, np.log(y))
