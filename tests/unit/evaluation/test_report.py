import json
import math

import numpy as np
import pytest

from mrdcae_lite.evaluation.report import (
    Photograph,
    load_previous,
    rounded,
    summarise,
    table,
    to_json,
)

TITLES = {"jpeg": "JPEG", "webp": "WebP"}
CONDITIONS = {"resize": None}


def report_on(*photographs):
    found = [Photograph("a.png", "0" * 64, 100, 50, 0.5, points) for points in photographs]
    return summarise(found, TITLES, {}, CONDITIONS)


def test_curves_without_a_common_range_have_no_bd_rate(line):
    report = report_on({"jpeg": line(), "webp": line(gain=50)})
    assert report["codecs"]["webp"]["psnr"]["bd_rate_mean"] is None
    assert report["codecs"]["webp"]["psnr"]["n"] == 0
    assert " - " in table(report)


def test_where_no_files_are_of_equal_size_the_last_sentence_says_so(line):
    points = {"jpeg": line(), "mrdcae": line(gain=500)}
    photograph = Photograph("a.png", "0" * 64, 100, 50, 0.5, points)
    report = summarise([photograph], {"jpeg": "JPEG", "mrdcae": "ours"}, {}, CONDITIONS)
    report["codecs"]["mrdcae"]["psnr"]["gain_n"] = 0
    assert "ours and JPEG make no files of equal size here" in table(report)


def test_the_mean_of_bd_rates_and_the_bd_rate_of_mean_curves_are_both_told(line):
    report = report_on(
        {"jpeg": line(), "webp": line(gain=1)}, {"jpeg": line(), "webp": line(gain=5)}
    )
    found = report["codecs"]["webp"]["psnr"]
    rates = [100 * (2 ** (-gain / 5) - 1) for gain in (1, 5)]
    assert found["n"] == 2
    assert found["bd_rate_mean"] == pytest.approx(np.mean(rates), rel=1e-5)
    assert found["bd_rate_median"] == pytest.approx(np.median(rates), rel=1e-5)
    expected = 100 * (2 ** (-3 / 5) - 1)
    assert found["of_mean_curves"]["bd_rate"] == pytest.approx(expected, rel=1e-5)
    assert found["gain_mean"] == pytest.approx(3)
    assert found["gain_lowest"] == pytest.approx(1)


def test_regions_are_compared_at_one_rate_where_every_codec_reaches_it(line):
    high = line(gain=2, rates=(0.5, 0.7, 1.0, 1.4, 2.0))
    report = report_on({"jpeg": line(), "webp": line(gain=4)}, {"jpeg": line(), "webp": high})
    rows = {(row["bpp"], row["measure"]): row for row in report["at_equal_bpp"]}
    quarter, whole = rows[0.25, "psnr_smooth"], rows[1.0, "psnr_complex"]
    assert (quarter["n"], whole["n"]) == (1, 2)
    assert quarter["means"] == pytest.approx({"jpeg": 34, "webp": 38})
    assert whole["means"] == pytest.approx({"jpeg": 28, "webp": 31})


def test_numbers_for_json_have_six_digits_or_are_none():
    nest = {"a": [1 / 3, (math.nan, -math.inf)], "b": "word", "c": 1234567, "d": np.float64(2e-9)}
    expected = {"a": [0.333333, [None, None]], "b": "word", "c": 1234567, "d": 2e-9}
    assert rounded(nest) == expected


def test_a_report_as_json_is_the_report_with_lists_on_one_line(line):
    report = report_on({"jpeg": line(), "webp": line(gain=1)})
    text = to_json(report)
    assert json.loads(text) == report
    assert '"bpp": [ 0.15, 0.3, 0.6, 1.2, 2.4 ],' in map(str.strip, text.splitlines())


def test_points_come_back_from_a_report(line):
    report = report_on({"jpeg": line(), "webp": line(gain=1)})
    points = load_previous(json.loads(to_json(report)), CONDITIONS)["0" * 64]["jpeg"]
    assert [p.psnr for p in points] == pytest.approx([p.psnr for p in line()], rel=1e-5)
    with pytest.raises(ValueError, match="must come from the same set-up"):
        load_previous(report, {"resize": 32})


@pytest.mark.parametrize("earlier", [{}, [], {"conditions": {}}, {"photographs": 3}])
def test_points_are_taken_from_a_report_only(earlier):
    with pytest.raises(ValueError, match="must be one that `mrdcae evaluate --out` wrote"):
        load_previous(earlier, CONDITIONS)
