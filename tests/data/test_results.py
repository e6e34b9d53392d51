"""The committed measurements: what is measured, how it is drawn, what twins and routers are."""

from pathlib import Path

import numpy as np
import pytest

import mrdcae_lite as mr
from data_scripts import DataError, ablations, results
from mrdcae_lite import evaluation

CURVE = {"bpp": [0.2, 0.5, 1.0, 3.0], "psnr": [28, 31, 34, 40], "ssim": [0.8, 0.9, 0.95, 0.99]}


def test_kodak_is_compared_with_every_codec_and_the_standard_autoencoder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "registry", lambda: {"lite": {}, "standard": {}})
    (tmp_path / "kodak").mkdir()
    (tmp_path / "kodak" / "kodim01.png").write_bytes(b"")
    paths, settings = results.chosen("kodak", tmp_path)
    assert [path.name for path in paths] == ["kodim01.png"]
    assert set(settings.codecs) == {*evaluation.CODECS, "standard"}


def test_the_bundled_photographs_show_the_prefixes_too(tmp_path):
    paths, settings = results.chosen("bundled", tmp_path)
    assert paths == evaluation.bundled()
    assert {"mrdcae:1", "mrdcae:2"} <= set(settings.codecs)


def test_missing_pictures_are_named(tmp_path):
    with pytest.raises(DataError, match="run make data"):
        results.chosen("kodak", tmp_path)


def test_the_figure_has_a_curve_for_every_codec_and_published_ones_in_psnr_alone():
    codecs = {name: {"title": name, "mean_curve": CURVE} for name in ("jpeg", "mrdcae", "mrdcae:1")}
    published = {
        "curves": {
            "hyperprior": {"title": "Hyperprior", "learned": True, "bpp": [1], "psnr": [35]},
            "bpg": {"title": "BPG", "learned": False, "bpp": [1], "psnr": [35]},
        }
    }
    figure = results.draw({"n": 1, "codecs": codecs}, published)
    psnr, ssim = figure.axes
    assert [line.get_label() for line in ssim.lines] == list(codecs)
    assert [line.get_label() for line in psnr.lines] == [*codecs, "Hyperprior"]
    assert psnr.get_ylim() == (28, 35)  # what lies beyond 2 bpp does not stretch the axis
    np.testing.assert_allclose(ssim.lines[0].get_ydata()[:2], [6.9897, 10], rtol=1e-4)


def test_a_rank_router_gives_the_levels_in_the_shares_of_another_map():
    like = np.array([[1, 1], [2, 3]], np.uint8)
    values = np.array([[4.0, 3.0], [2.0, 1.0]])
    np.testing.assert_array_equal(ablations.by_rank(values, like), [[3, 2], [1, 1]])


@pytest.mark.parametrize("name", ["gradient", "variance"])
def test_routers_prefer_what_is_busy(name, rng):
    image = np.full((64, 64, 3), 100, np.uint8)
    image[32:, :32] = rng.integers(0, 256, (32, 32, 3))
    routed = ablations.ROUTERS[name](image, np.array([[1, 1], [1, 3]], np.uint8))
    np.testing.assert_array_equal(routed, [[1, 1], [3, 1]])


def test_every_router_keeps_the_shares_except_the_one_without_routing(photograph):
    like = np.random.default_rng(1).integers(1, 4, (6, 7)).astype(np.uint8)
    for name, router in ablations.ROUTERS.items():
        routed = router(photograph, like)
        assert routed.shape == like.shape
        if name == "all levels everywhere":
            assert (routed == 3).all()
        else:
            np.testing.assert_array_equal(np.sort(routed, axis=None), np.sort(like, axis=None))


def test_a_twin_that_is_there_is_not_trained_again(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(ablations.cli, "main", lambda arguments: calls.append(arguments) or 0)
    file = tmp_path / "standard" / "trained.keras-codec"
    assert ablations.trained("standard", Path("training"), tmp_path) == file
    assert calls[0][-2:] == ["--blocks", "5"]
    file.parent.mkdir()
    file.write_bytes(b"")
    ablations.trained("standard", Path("training"), tmp_path)
    assert len(calls) == 1


def test_a_twin_that_fails_to_train_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(ablations.cli, "main", lambda arguments: 2)
    with pytest.raises(DataError, match="no-attention could not be trained"):
        ablations.trained("no-attention", Path("training"), tmp_path)


def test_routers_are_set_against_giving_every_patch_every_level(tiny_codec, tmp_path, monkeypatch):
    path = tmp_path / "piece.png"
    mr.write_image(path, mr.sample("flowers")[200:328, 200:328])
    monkeypatch.setattr(ablations, "ROUTED_AT", (20, 40, 60, 80))
    found = ablations.routers(tiny_codec, [path])
    assert found["bd_rate"]["all levels everywhere"] == {"psnr": 0, "ssim_db": 0}
    assert sum(found["share_of_levels"]) == pytest.approx(1, abs=1e-3)
    assert found["bd_rate"]["random"]["psnr"] > 0
