import json
import math
from dataclasses import replace
from pathlib import Path

import bjontegaard
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrdcae_lite.evaluation.curves import (
    bd_rate,
    compare,
    from_columns,
    to_columns,
    value_at,
)

PUBLISHED = Path(__file__).parents[3] / "book" / "results" / "published_kodak.json"
JPEG = ([0.2, 0.4, 0.8, 1.5, 2.4], [27.0, 30.1, 33.0, 35.9, 38.2])
OTHER = ([0.15, 0.3, 0.55, 1.1, 1.9, 3.0], [27.9, 30.6, 33.2, 36.6, 39.5, 41.0])


def test_points_are_columns_and_points_again(line):
    columns = to_columns(line())
    assert columns["bpp"] == [0.15, 0.3, 0.6, 1.2, 2.4]
    blank = {**columns, "ms_ssim": [None] * 5}
    restored = from_columns(blank)
    assert all(math.isnan(point.ms_ssim) for point in restored)
    assert [replace(p, ms_ssim=0) for p in restored] == [replace(p, ms_ssim=0) for p in line()]


def test_bd_rate_and_gain_of_parallel_lines_are_known(line):
    found = compare(line(), line(gain=1), "psnr")
    assert found.bd_rate == pytest.approx(100 * (2 ** (-1 / 5) - 1))
    assert found.gain == pytest.approx(1)
    found = compare(line(), line(gain=1), "ssim_db")
    assert found.bd_rate == pytest.approx(100 * (2 ** (-1 / 3) - 1))


def test_the_gain_counts_only_files_of_sizes_that_the_anchor_reaches(line):
    wide = line(gain=2, rates=(0.01, 0.2, 1.0, 9.0))
    bent = (replace(wide[0], psnr=0.0), *wide[1:3], replace(wide[3], psnr=99.0))
    assert compare(line(), bent, "psnr").gain == pytest.approx(2)
    assert math.isnan(value_at(line(), "psnr", 0.14))
    assert value_at(line(), "psnr", 0.5) == pytest.approx(25)


def test_a_larger_file_that_is_no_better_is_left_out(line):
    worse = replace(line()[3], bpp=1.9)
    assert compare(line(), (*line(gain=1), worse), "psnr").bd_rate == pytest.approx(
        compare(line(), line(gain=1), "psnr").bd_rate
    )


def test_bd_rates_beside_the_published_curves_follow_from_them():
    published = json.loads(PUBLISHED.read_text("utf-8"))
    curves = published["curves"]
    anchor = curves.pop(published["anchor"])
    assert len(curves) == 11
    for curve in curves.values():
        found = bd_rate(anchor["bpp"], anchor["psnr"], curve["bpp"], curve["psnr"])
        assert (curve["bd_rate"], curve["low"], curve["high"]) == pytest.approx(
            (found.percent, found.low, found.high), abs=0.006
        )


@given(st.integers(0, 2**32 - 1), st.integers(4, 9), st.integers(4, 9))
def test_bd_rate_of_random_curves_equals_the_bjontegaard_package(seed, points, other_points):
    rng = np.random.default_rng(seed)

    def curve(count):
        rates = np.cumsum(rng.uniform(0.05, 1, count))
        return rates, 26 + np.cumsum(rng.uniform(0.2, 3, count))

    anchor, codec = curve(points), curve(other_points)
    codec[1][:] += anchor[1][1] - codec[1][0]  # the curves share a range
    expected = bjontegaard.bd_rate(
        *anchor, *codec, method="pchip", require_matching_points=False, min_overlap=0
    )
    assert bd_rate(*anchor, *codec).percent == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_bd_rate_does_not_depend_on_the_order_of_the_points():
    backwards = [values[::-1] for values in OTHER]
    assert bd_rate(*JPEG, *backwards) == bd_rate(*JPEG, *OTHER)


@pytest.mark.parametrize(
    ("rates", "qualities", "message"),
    [
        ([0.1, 0.2, 0.3], [30, 31, 32], "at least four rates"),
        ([0.1, 0.2, 0.3, 0.4], [30, 31, 32], "as many qualities"),
        ([0.0, 0.2, 0.3, 0.4], [30, 31, 32, 33], "positive finite rates"),
        ([0.1, 0.2, 0.3, 0.4], [30, 31, 32, math.inf], "finite qualities"),
        ([0.1, 0.2, 0.3, 0.4], [30, 32, 31, 33], "must grow with the rate"),
        ([0.1, 0.2, 0.3, 0.4], [50, 51, 52, 53], "share a range of qualities"),
    ],
)
def test_bd_rate_refuses_curves_it_cannot_compare(rates, qualities, message):
    with pytest.raises(ValueError, match=message):
        bd_rate(*JPEG, rates, qualities)
