import json
import math

import pytest

from book.command import UserError
from book.experiments import bench_scale
from book.tools import scale

PRICES = {"megapixels": 2.0, "core_hour": 3600.0, "gb_month": 1e9, "gb_out": 1e9}


def test_a_picture_costs_its_seconds_and_its_bytes():
    found = scale.cost(4.0, encode_mp_s=0.5, decode_mp_s=4.0, assumed=PRICES)
    assert found == scale.Cost(1e6, 4.0, 0.5, 4.0, 0.5, 1e6, 1e6)


def test_saved_bytes_repay_slower_encoding_and_larger_files_never_do():
    ours = scale.cost(2.0, 1.0, 1.0, PRICES)
    other = scale.cost(4.0, 2.0, 1.0, PRICES)
    assert scale.months_to_repay(ours, other) == pytest.approx((2 - 1) / (1e6 - 0.5e6))
    assert scale.months_to_repay(other, ours) is None
    assert scale.months_to_repay(ours, other._replace(encode=9)) == 0


def test_decoding_uses_up_years_of_what_storage_saves():
    ours = scale.cost(2.0, 1.0, 1.0, PRICES)
    other = scale.cost(4.0, 1.0, 2.0, PRICES)
    assert scale.years_used_up(ours, other) == pytest.approx((2 - 1) / (12 * 0.5e6))
    assert scale.years_used_up(other, ours) == math.inf


def test_readings_repay_slower_encoding_only_where_each_is_cheaper():
    ours = scale.cost(2.0, 1.0, 1.0, PRICES)
    other = scale.cost(4.0, 2.0, 1.0, PRICES)
    assert scale.readings_to_repay(ours, other) == pytest.approx((2 - 1) / (1e6 - 0.5e6))
    assert scale.readings_to_repay(other, ours) == math.inf


def test_few_workers_are_busy_and_many_get_what_the_scheduler_can_do():
    few, many = (scale.simulated(workers, 0.1, 100.0) for workers in (2, 40))
    assert few == pytest.approx(20, rel=0.05)
    assert many == pytest.approx(100, rel=0.01)
    at_the_limit = scale.simulated(10, 0.1, 100.0)
    assert few < at_the_limit < 100
    assert scale.simulated(1, 0.1, 1e9) == pytest.approx(10, rel=0.05)


def test_every_place_of_the_page_has_a_number():
    page = scale.pages()["back/scale.md"].decode()
    assert "{{" not in page
    measured = json.loads((scale.RESULTS / "scale.json").read_text())
    assert f"| 1 | {measured['pictures_a_second']['1']:.1f} |" in page


def test_a_place_without_a_number_is_named():
    with pytest.raises(UserError, match="scale.md: no number is called missing"):
        scale.filled("{{here}} {{missing}}", {"here": "1"})


def test_crops_are_different_pictures(tmp_path):
    assert len({path.read_bytes() for path in bench_scale.crops(tmp_path, 40)}) == 40


def test_the_list_of_names_is_measured_for_each_name(tmp_path):
    (tmp_path / "names").mkdir()
    found = bench_scale.list_of_names(tmp_path / "names", 50)
    assert found["names"] == 50
    assert 0 < found["kept_bytes_a_name"] <= found["peak_bytes_a_name"]


def test_a_picture_that_fails_spoils_the_measurement(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="expected a file that is written. Received: .*a.png"):
        bench_scale.throughput(tmp_path / "in", tmp_path / "out", None)
