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
def places(draw, rows=9, columns=7):
    """Places in a grid of nine rows and seven columns."""
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    return Box(top, left, draw(st.integers(top + 1, rows)), draw(st.integers(left + 1, columns)))


def painted(place, rows=9, columns=7):
    grid = np.zeros((rows, columns), bool)
    grid[place.cells(1)] = True
    return grid


# --- places


@given(places())
def test_a_place_is_a_rectangle_of_patches_on_every_grid(place):
    grid = painted(place)
    assert place.shape == (grid.any(axis=1).sum(), grid.any(axis=0).sum())
    for scale in (2, 4):
        fine = np.zeros((9 * scale, 7 * scale), bool)
        fine[place.cells(scale)] = True
        np.testing.assert_array_equal(fine, np.kron(grid, np.ones((scale, scale))) > 0)
    assert place.pixels == place.cells(32)


@given(places(), st.integers(0, 3))
def test_a_margin_adds_cells_on_all_sides_as_far_as_the_grid_goes(place, margin):
    wide, expected = np.zeros((18, 14), bool), np.zeros((18, 14), bool)
    wide[place.cells(2, margin)] = True
    for row, column in np.argwhere(np.kron(painted(place), np.ones((2, 2)))):
        expected[
            max(row - margin, 0) : row + margin + 1, max(column - margin, 0) : column + margin + 1
        ] = True
    np.testing.assert_array_equal(wide, expected)


@given(places(), places())
def test_what_two_places_have_in_common_is_found_in_either(one, other):
    grid = np.arange(63).reshape(9, 7)
    both = painted(one) & painted(other)
    assume(both.any())
    common = one.common(other)
    np.testing.assert_array_equal(painted(common), both)
    for place in (one, other):
        part = grid[place.cells(1)][common.within(place).cells(1)]
        np.testing.assert_array_equal(part, grid[common.cells(1)])


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
        covered[tile.cells(1)] += 1
    assert (covered == 1).all()
    assert len(tiles) == -(-rows // 3) * -(-columns // 3)
    assert tiles == sorted(tiles)


@given(places())
def test_the_tiles_that_touch_a_place_are_those_that_share_patches_with_it(place):
    tiles = Tiling(9 * 32, 7 * 32)
    sharing = [tile for tile in tiles if (painted(tile) & painted(place)).any()]
    assert tiles.touching(place) == sharing


@given(places(), st.integers(0, 4))
def test_a_place_grows_inside_the_picture(place, reach):
    grown = Tiling(9 * 32, 7 * 32).grown(place, reach)
    expected = np.zeros((9, 7), bool)
    expected[place.cells(1, reach)] = True
    np.testing.assert_array_equal(painted(grown), expected)
    assert 0 <= grown.top <= place.top < place.bottom <= grown.bottom <= 9
    assert 0 <= grown.left <= place.left < place.right <= grown.right <= 7


def test_everything_is_the_whole_picture():
    tiles = Tiling(33, 65)
    assert tiles.shape == (2, 3)
    assert tiles.everything == Box(0, 0, 2, 3)
