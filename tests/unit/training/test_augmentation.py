import numpy as np
import pytest

from mrdcae_lite.core.pixels import normalise
from mrdcae_lite.training import augmentation


@pytest.fixture
def pictures(rng):
    return [rng.integers(0, 256, shape, np.uint8) for shape in ((70, 90, 3), (64, 64, 3))]


@pytest.mark.parametrize("change", [augmentation.rotate, augmentation.flip])
def test_a_turned_picture_has_the_same_pixels(change, pictures, rng):
    for _ in range(8):
        changed = change(pictures[0], rng)
        assert sorted(changed.shape) == sorted(pictures[0].shape)
        np.testing.assert_array_equal(np.sort(changed, axis=None), np.sort(pictures[0], axis=None))


def test_four_rotations_and_two_reflections_occur(pictures, rng):
    turned = {augmentation.rotate(pictures[1], rng).tobytes() for _ in range(60)}
    mirrored = {augmentation.flip(pictures[1], rng).tobytes() for _ in range(30)}
    assert (len(turned), len(mirrored)) == (4, 2)


def test_illumination_keeps_the_order_of_brightness_and_the_range(rng):
    levels = np.linspace(0, 1, 50, dtype=np.float32)
    lit = [augmentation.illuminate(levels, rng) for _ in range(20)]
    for curve in lit:
        assert curve.dtype == np.float32
        assert curve[0] == 0
        assert curve.max() <= 1
        assert (np.diff(curve) >= 0).all()
    assert len({curve.tobytes() for curve in lit}) == 20


@pytest.mark.parametrize(
    "change",
    [
        augmentation.rotate,
        augmentation.flip,
        lambda image, rng: augmentation.illuminate(normalise(image), rng),
        lambda image, rng: augmentation.crop(image, 32, rng),
    ],
    ids=["rotate", "flip", "illuminate", "crop"],
)
def test_a_seed_repeats_what_is_random(change, pictures):
    first, again = (change(pictures[0], np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_crop_is_a_piece_of_the_picture_and_reaches_every_corner(rng):
    image = np.arange(5 * 6 * 3).reshape(5, 6, 3)
    starts = set()
    for _ in range(200):
        piece = augmentation.crop(image, 4, rng)
        top, left = divmod(int(piece[0, 0, 0]) // 3, 6)
        np.testing.assert_array_equal(piece, image[top : top + 4, left : left + 4])
        starts.add((top, left))
    assert starts == {(top, left) for top in range(2) for left in range(3)}


def test_a_crop_larger_than_the_picture_is_refused(pictures, rng):
    with pytest.raises(ValueError, match=r"at least 80x80 pixels .* Received: 90x70"):
        augmentation.crop(pictures[0], 80, rng)
