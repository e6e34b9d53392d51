"""What each idea is worth: how twins are trained, and what other routers do."""

from pathlib import Path

import numpy as np
import pytest

import mrdcae_lite as mr
from book.experiments import twins
from mrdcae_lite.training.run import TrainingRun


def test_a_rank_router_gives_the_levels_in_the_shares_of_another_map():
    like = np.array([[1, 1], [2, 3]], np.uint8)
    values = np.array([[4.0, 3.0], [2.0, 1.0]])
    np.testing.assert_array_equal(twins.by_rank(values, like), [[3, 2], [1, 1]])


@pytest.mark.parametrize("name", ["gradient", "variance"])
def test_routers_prefer_what_is_busy(name, rng):
    image = np.full((64, 64, 3), 100, np.uint8)
    image[32:, :32] = rng.integers(0, 256, (32, 32, 3))
    routed = twins.ROUTERS[name](image, np.array([[1, 1], [1, 3]], np.uint8))
    np.testing.assert_array_equal(routed, [[1, 1], [3, 1]])


def test_every_router_keeps_the_shares_except_the_one_without_routing(photograph):
    like = np.random.default_rng(1).integers(1, 4, (6, 7)).astype(np.uint8)
    for name, router in twins.ROUTERS.items():
        routed = router(photograph, like)
        assert routed.shape == like.shape
        if name == "all levels everywhere":
            assert (routed == 3).all()
        else:
            np.testing.assert_array_equal(np.sort(routed, axis=None), np.sort(like, axis=None))


CHANGED_BY = {
    "switching": {"textured_loss"},
    "resolutions": {"resolutions", "attention"},
    "attention": {"attention"},
    "augmentation": set(),
}


@pytest.mark.parametrize("name", twins.TWINS)
def test_a_twin_differs_from_the_whole_in_its_idea_alone(name):
    run, whole = (
        TrainingRun(**options, deblocking=4, steps=1, size=64)
        for options in (twins.TWINS[name], {})
    )
    configs = [made.new_model().get_config() for made in (run, whole)]
    different = {key for key in configs[0] if key != "name" and configs[0][key] != configs[1][key]}
    ideas = set().union(*(CHANGED_BY[idea] for idea in run.without))
    assert different == ideas | {*twins.TWINS[name]} - {"without"}


def test_a_twin_that_is_there_is_not_trained_again(tmp_path):
    file = tmp_path / "standard" / "trained.keras-codec"
    file.parent.mkdir()
    file.write_bytes(b"")
    assert twins.trained("standard", Path("nowhere"), tmp_path) == file


def test_routers_are_set_against_giving_every_patch_every_level(tiny_codec, tmp_path, monkeypatch):
    path = tmp_path / "piece.png"
    mr.write_image(path, mr.sample("bulb")[192:320, 192:320])
    monkeypatch.setattr(twins, "ROUTED_AT", (20, 40, 60, 80))
    found = twins.routers(tiny_codec, [path])
    assert found["bd_rate"]["all levels everywhere"] == {"psnr": 0, "ssim_db": 0}
    assert sum(found["share_of_levels"]) == pytest.approx(1, abs=1e-3)
    assert found["bd_rate"]["random"]["psnr"] > 0
