"""The figures of the data chapter: how they are measured, and that the committed ones are whole."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from book.experiments import jpeg_past
from data_scripts import DataError, leaks, manifest
from mrdcae_lite.core.distortion import psnr
from mrdcae_lite.evaluation.baselines import BASELINES
from mrdcae_lite.io.images import read_image, sample

ROOT = Path(__file__).parents[2]
COMMITTED = json.loads((ROOT / "book" / "results" / "data.json").read_text("utf-8"))


@pytest.fixture
def found(tmp_path):
    """Four JPEG files of one photograph, of which the first two are as those of the flower set."""
    picture = Image.fromarray(sample("flowers")[100:400, 100:460])
    kinds = [(75, "4:2:0"), (75, "4:2:0"), (75, "4:4:4"), (90, "4:2:0")]
    for i, (quality, chroma) in enumerate(kinds):
        picture.save(tmp_path / f"{i}.jpg", quality=quality, subsampling=chroma, optimize=i == 1)
    return sorted(tmp_path.glob("*.jpg"))


def test_quality_and_chroma_are_read_off_the_files(found):
    facts = jpeg_past.stored(found)
    assert (facts["files"], facts["quality_75"], facts["chroma_halved"]) == (4, 3, 3)
    sizes = np.array([path.stat().st_size for path in found])
    assert facts["bytes"] == sizes.sum()
    assert facts["bpp"] == pytest.approx(8 * sizes.sum() / (4 * 300 * 360))
    assert facts["ratio"] == pytest.approx(24 / facts["bpp"])
    assert facts["least_bpp"] < facts["mean_bpp"] < facts["most_bpp"]
    assert facts["beyond_42"] == 0


def test_what_is_no_jpeg_is_named(tmp_path):
    Image.fromarray(sample("dog")).save(tmp_path / "a.jpg", "PNG")
    with pytest.raises(DataError, match=r"expected a JPEG file, .*a\.jpg is PNG; fetch it again"):
        jpeg_past.stored([tmp_path / "a.jpg"])


def test_a_second_time_at_the_same_quality_is_nearly_free(found):
    same, other = jpeg_past.encoded_again(found[:2]), jpeg_past.encoded_again(found[3:])
    assert same["least_psnr"] > 45
    assert 0.97 < same["mean_size_share"] < 1.06
    assert other["mean_psnr_of_changed"] < same["least_psnr"] - 5


def test_a_picture_that_does_not_change_is_counted_and_not_averaged(tmp_path):
    Image.new("RGB", (64, 64), (128, 128, 128)).save(tmp_path / "a.jpg", quality=75)
    Image.fromarray(sample("dog")).save(tmp_path / "b.jpg", quality=75)
    facts = jpeg_past.encoded_again([tmp_path / "a.jpg", tmp_path / "b.jpg"])
    assert (facts["files"], facts["unchanged"]) == (2, 1)
    assert math.isfinite(facts["least_psnr"])
    assert math.isfinite(facts["mean_psnr_of_changed"])


def test_the_three_ways_to_read_a_rate_agree_on_one_picture(found):
    facts = jpeg_past.at_42(found[3:] * 2, np.asarray, "one")
    assert facts["each"]["mean"] == pytest.approx(facts["averaged_curve"])
    assert facts["each"]["standard_error"] == pytest.approx(0, abs=1e-9)
    assert facts["real_files"]["mean"] == pytest.approx(facts["each"]["mean"], abs=0.7)
    picture, jpeg = read_image(found[3]), BASELINES["jpeg"]
    data = jpeg.encode(picture, 20)
    assert facts["curve"]["quality"][3] == 20
    assert facts["curve"]["bpp"][3] == pytest.approx(8 * len(data) / (300 * 360))
    assert facts["curve"]["psnr"][3] == psnr(picture, jpeg.decode(data), data_range=255)


def test_a_missing_set_is_one_line_and_code_2(tmp_path, capsys):
    folder = str(tmp_path / "none")
    arguments = ["--flowers", folder, "--kodak", folder, "--out", str(tmp_path / "out.json")]
    assert jpeg_past.main(arguments) == 2
    error = capsys.readouterr().err
    assert "image_0001.jpg is missing; run python -m data_scripts.flowers17" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


def test_the_committed_figures_belong_to_the_listed_files():
    assert COMMITTED["data"] == jpeg_past.provenance("flowers17", "kodak")["data"]
    files, listed = COMMITTED["flowers17"], manifest.entry("flowers17")
    assert (files["files"], files["bytes"]) == (listed["files"], listed["bytes"])
    assert files["mean_bytes"] == pytest.approx(listed["bytes"] / listed["files"], abs=1e-4)
    assert files["ratio"] == pytest.approx(24 / files["bpp"], rel=1e-3)
    pairs = sum(map(len, leaks.copies("flowers17").values())) // 2
    assert COMMITTED["splits"]["pairs_of_copies"] == pairs


def test_the_data_card_states_the_committed_figures():
    card = " ".join((ROOT / "book" / "back" / "data-card.md").read_text("utf-8").split())
    files, again = COMMITTED["flowers17"], COMMITTED["encoded_again"]
    split, at_42 = COMMITTED["splits"], COMMITTED["jpeg_at_42"]
    expected = [
        f"{files['mean_bytes']:,.0f} bytes on average",
        f"{files['bpp']:.3f} bits per pixel, a ratio of {files['ratio']:.1f}:1",
        f"the files is {files['mean_bpp']:.3f} bits per pixel; single files go from "
        f"{files['least_bpp']:.2f} to {files['most_bpp']:.2f}",
        f"{files['beyond_42']} of the files already lie beyond 42:1",
        f"{again['least_psnr']:.0f} dB in the worst of {again['files']} pictures, "
        f"{again['median_psnr']:.0f} dB in the median",
        f"gives {split['train']}, {split['validation']} and {split['test']}",
        f"after leaving out {split['dropped']} pictures",
    ]
    expected += [
        f"| {facts['each']['mean']:.1f} ± {facts['each']['standard_error']:.1f} dB |"
        for facts in at_42.values()
    ]
    assert [sentence for sentence in expected if sentence not in card] == []
