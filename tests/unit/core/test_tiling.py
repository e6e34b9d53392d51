import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mrdcae_lite.core import tiling
from mrdcae_lite.core.tiling import Box, Tiling

sides = st.integers(1, 300)


@pytest.fixture(scope="module", autouse=True)
def small_tiles():
    """Tiles of at most three patches a side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "TILE", 96)
        yield


@st.composite
def boxes(draw, rows=9, columns=7):
    """Boxes in a grid of nine rows and seven columns."""
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    return Box(top, left, draw(st.integers(top + 1, rows)), draw(st.integers(left + 1, columns)))


def painted(box, rows=9, columns=7):
    grid = np.zeros((rows, columns), bool)
    grid[box.slices(1)] = True
    return grid


# --- boxes


@given(boxes())
def test_a_box_is_a_rectangle_of_patches_on_every_grid(box):
    grid = painted(box)
    assert box.shape == (grid.any(axis=1).sum(), grid.any(axis=0).sum())
    for scale in (2, 4):
        fine = np.zeros((9 * scale, 7 * scale), bool)
        fine[box.slices(scale)] = True
        np.testing.assert_array_equal(fine, np.kron(grid, np.ones((scale, scale))) > 0)
    assert box.pixels == box.slices(32)


@given(boxes(), st.integers(0, 3))
def test_a_halo_adds_cells_on_all_sides_as_far_as_the_grid_goes(box, halo):
    wide, expected = np.zeros((18, 14), bool), np.zeros((18, 14), bool)
    wide[box.slices(2, halo)] = True
    for row, column in np.argwhere(np.kron(painted(box), np.ones((2, 2)))):
        expected[max(row - halo, 0) : row + halo + 1, max(column - halo, 0) : column + halo + 1] = (
            True
        )
    np.testing.assert_array_equal(wide, expected)


@given(boxes(), boxes())
def test_the_intersection_of_two_boxes_is_found_in_either(one, other):
    grid = np.arange(63).reshape(9, 7)
    both = painted(one) & painted(other)
    assume(both.any())
    common = one.intersection(other)
    np.testing.assert_array_equal(painted(common), both)
    for box in (one, other):
        part = grid[box.slices(1)][common.relative_to(box).slices(1)]
        np.testing.assert_array_equal(part, grid[common.slices(1)])


# --- tiles


@given(sides, sides)
def test_as_few_tiles_as_can_be_cover_every_patch_once(height, width):
    tiles = list(Tiling(height, width))
    rows, columns = Tiling(height, width).shape
    assert 0 <= 32 * rows - height < 32
    assert 0 <= 32 * columns - width < 32
    covered = np.zeros((rows, columns), int)
    for tile in tiles:
        assert 1 <= min(tile.shape) <= max(tile.shape) <= 3
        covered[tile.slices(1)] += 1
    assert (covered == 1).all()
    assert len(tiles) == -(-rows // 3) * -(-columns // 3)
    assert tiles == sorted(tiles)


@given(boxes())
def test_the_tiles_that_overlap_a_box_are_those_that_share_patches_with_it(box):
    tiles = Tiling(9 * 32, 7 * 32)
    sharing = [tile for tile in tiles if (painted(tile) & painted(box)).any()]
    assert tiles.overlapping(box) == sharing


@given(boxes(), st.integers(0, 4))
def test_a_halo_stays_inside_the_picture(box, halo):
    grown = Tiling(9 * 32, 7 * 32).with_halo(box, halo)
    expected = np.zeros((9, 7), bool)
    expected[box.slices(1, halo)] = True
    np.testing.assert_array_equal(painted(grown), expected)
    assert 0 <= grown.top <= box.top < box.bottom <= grown.bottom <= 9
    assert 0 <= grown.left <= box.left < box.right <= grown.right <= 7
