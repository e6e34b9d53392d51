"""What the experiment notebooks share: pictures, equal bytes, artefacts, measurements, curves."""

import json
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

import mrdcae_lite as mr
from book.experiments import toolbox
from book.experiments.measured import MEASURED
from data_scripts import DataError
from mrdcae_lite.evaluation import benchmark, inspection
from mrdcae_lite.evaluation.baselines import BASELINES

CURVE = {"bpp": [0.2, 0.5, 1.0, 3.0], "psnr": [28, 31, 34, 40], "ssim": [0.8, 0.9, 0.95, 0.99]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of stand-ins for all data sets."""
    folder = tmp_path_factory.mktemp("data")
    toolbox.stand_ins(folder)
    return str(folder)


@pytest.mark.parametrize("name", ["bundled", "kodak", "flowers17"])
def test_stand_ins_are_there_for_every_set_and_differ_from_the_pictures_themselves(name, data):
    found = toolbox.pictures(name, data, 3)
    side = toolbox.STAND_IN_SIDE
    assert [image.shape for image in found.values()] == [(side, side, 3)] * 3
    small = toolbox.pictures(f"{name}-64", data, 1)
    assert [image.shape for image in small.values()] == [(64, 64, 3)]


def test_missing_pictures_and_strange_ones_are_named(tmp_path):
    with pytest.raises(DataError, match="run make data, or give DATA="):
        toolbox.paths("kodak", str(tmp_path))
    (tmp_path / "kodak").mkdir()
    mr.write_image(tmp_path / "kodak" / "kodim01.png", mr.sample("dog")[:32, :32])
    with pytest.raises(
        DataError, match=r"kodim01.png is not the file that is listed; run python -m"
    ):
        toolbox.paths("kodak", str(tmp_path))


def test_bundled_photographs_need_no_folder():
    assert toolbox.paths("bundled", "nowhere", 2) == benchmark.bundled()[:2]


@pytest.mark.parametrize("kind", toolbox.DOMAINS)
def test_pictures_of_every_domain_come_without_a_download(kind):
    for image in toolbox.domain(kind, 100).values():
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert max(image.shape[:2]) <= 100


def test_no_codec_takes_more_bytes_than_it_may(photograph, tiny_codec):
    for name in ("jpeg", "mrdcae"):
        file, restored = toolbox.within(name, photograph, 8000, tiny_codec)
        assert len(file) <= 8000
        assert restored.shape == photograph.shape


def test_a_curve_is_read_at_a_value_and_not_beyond_its_ends():
    assert toolbox.rate_for(CURVE, "psnr", 31) == pytest.approx(0.5)
    assert 0.5 < toolbox.rate_for(CURVE, "psnr", 33) < 1
    assert math.isnan(toolbox.rate_for(CURVE, "psnr", 41))


def test_the_bits_of_all_levels_are_shared_among_patches(tiny_codec):
    image = mr.sample("flowers")[100:228, 200:392]
    file = tiny_codec.compress(image, 40)
    spent = inspection.information(tiny_codec.model, file)
    shares = toolbox.bits_a_patch(tiny_codec, file)
    assert shares.shape == (4, 6)
    assert shares.sum() == pytest.approx(sum(float(bits.sum()) for bits in spent))
    coarsest, *_, finest = spent  # 1/64 and 1/8
    assert shares[0, 0] > coarsest[0, 0] / 4 + finest[:4, :4].sum()


def test_blocks_blur_and_false_colours_are_seen(photograph):
    jpeg = BASELINES["jpeg"]
    blocky = jpeg.decode(jpeg.encode(photograph, 5))
    assert toolbox.blockiness(photograph, blocky) > 1.2
    assert toolbox.ringing(photograph, blocky) > 1
    average = np.mean([np.roll(photograph, shift, axis=1) for shift in range(5)], axis=0)
    assert toolbox.sharpness(photograph, average.astype(np.uint8)) < 0.9
    assert toolbox.colour_error(photograph, photograph[..., ::-1]) > 3


def test_a_perfect_copy_has_no_artefacts(photograph):
    assert toolbox.ringing(photograph, photograph) == 0
    assert toolbox.sharpness(photograph, photograph) == 1
    assert toolbox.colour_error(photograph, photograph) == 0


def test_measurements_are_means_with_their_spread_over_what_is_finite():
    measured = toolbox.Measured()
    measured.value("some", [1.0, 2.0, math.nan, 3.0], "dB")
    measured.value("none", math.nan, "dB")
    measured.value("exact", 0, "pixels", 0)
    some = {"value": 2.0, "unit": "dB", "n": 3, "spread": 1.0, "tolerance": 0.02}
    assert measured.values["some"] == some
    assert measured.values["none"]["value"] is None
    assert measured.values["exact"]["tolerance"] == 0


def test_what_a_notebook_shows_is_plain_json():
    measured = toolbox.Measured()
    measured.value("share", np.float32(0.25), "")
    measured.columns("curve", bpp=np.array([0.5, math.inf]), name=["a", "b"])
    bundle = measured._repr_mimebundle_()
    content = json.loads(json.dumps(bundle[MEASURED]))
    assert content["series"]["curve"] == {"bpp": [0.5, None], "name": ["a", "b"]}
    assert "share: 0.25" in bundle["text/plain"]


def test_the_figure_has_a_curve_for_every_codec_and_published_ones_in_psnr_alone():
    codecs = {name: {"title": name, "mean_curve": CURVE} for name in ("jpeg", "mrdcae", "mrdcae:1")}
    published = {
        "curves": {
            "hyperprior": {"title": "Hyperprior", "learned": True, "bpp": [1], "psnr": [35]},
            "bpg": {"title": "BPG", "learned": False, "bpp": [1], "psnr": [35]},
        }
    }
    figure = toolbox.draw_curves({"n": 1, "codecs": codecs}, published)
    plt.close(figure)
    psnr, ssim = figure.axes
    assert [line.get_label() for line in ssim.lines] == list(codecs)
    assert [line.get_label() for line in psnr.lines] == [*codecs, "Hyperprior"]
    assert psnr.get_ylim() == (28, 35)  # what lies beyond 2 bpp does not stretch the axis
    np.testing.assert_allclose(ssim.lines[0].get_ydata()[:2], [6.9897, 10], rtol=1e-4)
