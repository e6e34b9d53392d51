import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mrdcae_lite.core import tiling
from mrdcae_lite.core.tiling import Box, Tiling

sides = st.integers(1, 400)
units = st.sampled_from([32, 64])


@pytest.fixture(scope="module", autouse=True)
def small_tiles():
    """Tiles of at most four patches a side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "TILE", 128)
        yield


@st.composite
def boxes(draw, rows=9, columns=7):
    """Boxes in a grid of nine rows and seven columns."""
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    return Box(top, left, draw(st.integers(top + 1, rows)), draw(st.integers(left + 1, columns)))


def painted(box, rows=9, columns=7):
    grid = np.zeros((rows, columns), bool)
    grid[box.slices] = True
    return grid


# --- boxes


@given(boxes())
def test_a_box_is_a_rectangle_of_patches_on_every_grid(box):
    grid = painted(box)
    assert box.shape == (grid.any(axis=1).sum(), grid.any(axis=0).sum())
    for stride in (16, 8, 1):
        scale = 32 // stride
        fine = painted(box.on_grid(stride), 9 * scale, 7 * scale)
        np.testing.assert_array_equal(fine, np.kron(grid, np.ones((scale, scale))) > 0)


def test_a_box_of_whole_units_is_one_on_a_grid_coarser_than_patches():
    assert Box(2, 0, 6, 4).on_grid(64) == (1, 0, 3, 2)


@given(boxes(), boxes())
def test_the_intersection_of_two_boxes_is_found_in_either(one, other):
    grid = np.arange(63).reshape(9, 7)
    both = painted(one) & painted(other)
    common = one.intersection(other)
    assert (min(common.shape) > 0) == both.any()
    assume(both.any())
    np.testing.assert_array_equal(painted(common), both)
    for box in (one, other):
        part = grid[box.slices][common.relative_to(box).slices]
        np.testing.assert_array_equal(part, grid[common.slices])


# --- tiles


@given(sides, sides, units)
def test_as_few_tiles_as_can_be_cover_every_patch_once(height, width, unit):
    cut = Tiling(height, width, unit)
    tiles, (rows, columns) = list(cut), cut.shape
    for side, patches in ((height, rows), (width, columns)):
        assert 0 <= 32 * patches - side < unit
        assert 32 * patches % unit == 0
    covered = np.zeros((rows, columns), int)
    for tile in tiles:
        assert 1 <= min(tile.shape) <= max(tile.shape) <= 4
        assert not any(32 * side % unit for side in tile)
        covered[tile.slices] += 1
    assert (covered == 1).all()
    assert cut.tiles == (-(-rows // 4), -(-columns // 4))
    assert len(tiles) == np.prod(cut.tiles)
    assert tiles == sorted(tiles)


@given(boxes())
def test_the_tiles_that_overlap_a_box_are_those_that_share_patches_with_it(box):
    tiles = Tiling(9 * 32, 7 * 32, 32)
    sharing = [tile for tile in tiles if (painted(tile) & painted(box)).any()]
    assert tiles.overlapping(box) == sharing


@given(boxes(), st.integers(0, 100), units)
def test_a_halo_is_the_least_that_holds_so_many_pixels_and_stays_inside(box, pixels, unit):
    box = Box(*(side * unit // 32 for side in box))
    cut = Tiling(9 * unit, 7 * unit, unit)
    halo = -(-pixels // unit) * unit // 32
    wide = cut.with_halo(box, pixels)
    assert wide == (
        max(box.top - halo, 0),
        max(box.left - halo, 0),
        min(box.bottom + halo, 9 * unit // 32),
        min(box.right + halo, 7 * unit // 32),
    )
