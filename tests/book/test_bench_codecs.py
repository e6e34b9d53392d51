"""The benchmark of all codecs: what is timed, what is compared, and how it is reported."""

import numpy as np
import pytest

import mrdcae_lite as mr
from book.experiments import bench_codecs as bench


@pytest.fixture
def tiny(tiny_codec, monkeypatch):
    """The benchmark with a codec that is quick."""
    monkeypatch.setattr(bench.mr, "load", lambda: tiny_codec)
    return tiny_codec


@pytest.fixture
def image():
    return mr.sample("flowers")[200:360, 200:360]


@pytest.mark.parametrize("name", ["mrdcae", "mrdcae@5", "webp"])
def test_a_codec_is_timed_at_a_rate_that_it_keeps_below(tiny, image, name):
    row = bench.speed(name, 2.0, [image])
    assert 0.5 < row["bpp"] <= 2.0
    assert row["encode_mp_per_s"] > 0
    assert row["decode_mp_per_s"] > 0


def test_speeds_are_set_against_those_of_avif():
    rows = [
        {"codec": "avif", "encode_mp_per_s": 2.0, "decode_mp_per_s": 4.0},
        {"codec": "mrdcae", "encode_mp_per_s": 3.0, "decode_mp_per_s": 1.0},
    ]
    found = bench._against(rows[1], rows)
    assert (found["encode_against_avif"], found["decode_against_avif"]) == (1.5, 0.25)
    assert bench._against(rows[1], rows[1:]) == rows[1]


def test_routing_is_switched_off_from_the_least_salient_patch_upwards(tiny, image, monkeypatch):
    seen = []
    compress = tiny.compress

    def spy(image, quality, routing):
        seen.append(routing)
        return compress(image, quality, routing=routing)

    monkeypatch.setattr(tiny, "compress", spy)
    rows = bench.routing_cost([image])
    scores = tiny.saliency(image, bench.QUALITY)
    assert [row["low_share"] for row in rows] == list(bench.SHARES)
    assert [(routing == 1).mean() for routing in seen] == pytest.approx(bench.SHARES, abs=0.03)
    assert scores[seen[2] == 1].max() <= scores[seen[2] == 3].min()
    assert rows[0]["bpp"] > rows[-1]["bpp"]


def test_the_overhead_is_what_the_file_has_beyond_the_content_of_its_symbols(tiny, image):
    rows = bench.overhead({"piece": image})
    for row, quality in zip(rows, bench.SWEEP, strict=True):
        data = tiny.compress(image, quality)
        assert row["bytes"] == len(data)
        sections = sum(mr.info(data).lengths)
        # The streams end on whole words; the header is all that comes on top.
        assert abs(sections - row["content_bytes"]) < 40
        assert row["overhead_bytes"] == pytest.approx(len(data) - row["content_bytes"])


@pytest.mark.parametrize("size", [0.1, 1.6])
def test_large_pictures_have_the_size_asked_for(size):
    picture = bench.large_picture(size)
    assert picture.dtype == np.uint8
    assert picture.shape[1] / picture.shape[0] == pytest.approx(4 / 3, rel=0.01)
    assert picture.shape[0] * picture.shape[1] / 1e6 == pytest.approx(size, rel=0.01)


def test_both_steps_of_a_size_run_in_processes_of_their_own():
    found = bench.scaling(0.1)
    assert found["megapixels"] == pytest.approx(0.1, rel=0.01)
    for step in ("encode", "decode"):
        assert found[f"{step}_s"] > 0
        assert found[f"{step}_peak_mb"] > found[f"{step}_added_mb"] >= 0
