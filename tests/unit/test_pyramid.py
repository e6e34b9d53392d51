import numpy as np
import pytest
from scipy.fft import dct, dctn, idctn

from mrdcae_lite import pyramid
from mrdcae_lite.pyramid import CARRIED, COLOUR, PATCH


def to_blocks(grid, size):
    """(h, w, c) to (h/size, w/size, size*size*c), raster order."""
    rows, columns, channels = np.array(grid.shape) // (size, size, 1)
    blocks = grid.reshape(rows, size, columns, size, channels).swapaxes(1, 2)
    return blocks.reshape(rows, columns, -1)


def from_blocks(blocks, size):
    rows, columns, numbers = blocks.shape
    grid = blocks.reshape(rows, columns, size, size, -1).swapaxes(1, 2)
    return grid.reshape(rows * size, columns * size, numbers // size**2)


def analyse(patch):
    """Low, medium and high level of a 32 x 32 x 3 patch."""
    eighth = to_blocks(patch, 8) @ pyramid.pixel_basis().T
    half = pyramid.merge_basis(coarsest=False).T
    sixteenth = to_blocks(eighth[..., :CARRIED], 2) @ half
    low = to_blocks(sixteenth[..., :CARRIED], 2) @ pyramid.merge_basis(coarsest=True).T
    return low, sixteenth[..., CARRIED:], eighth[..., CARRIED:]


def synthesise(low, medium, high):
    carried = from_blocks(low @ pyramid.merge_basis(coarsest=True), 2)
    sixteenth = np.concatenate([carried, medium], axis=-1)
    carried = from_blocks(sixteenth @ pyramid.merge_basis(coarsest=False), 2)
    eighth = np.concatenate([carried, high], axis=-1)
    return from_blocks(eighth @ pyramid.pixel_basis(), 8)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_the_cosine_matrix_is_the_one_of_scipy(size):
    expected = dct(np.eye(size), axis=0, norm="ortho")
    np.testing.assert_allclose(pyramid.dct_matrix(size), expected, atol=1e-14)


@pytest.mark.parametrize(
    "matrix",
    [
        COLOUR,
        *(pyramid.basis(step, coarsest=end) for step in (0, 1, 2) for end in (False, True)),
    ],
)
def test_every_step_is_orthonormal(matrix):
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-12)


@pytest.mark.parametrize("coarsest", [False, True])
def test_a_block_becomes_the_cosine_transform_of_its_three_colours(coarsest, rng):
    block = rng.random((8, 8, 3))
    planes = dctn(block @ COLOUR.T, axes=(0, 1), norm="ortho")
    expected = [planes[band.v, band.h, band.colour] for band in pyramid.bands(coarsest=coarsest)]
    found = pyramid.basis(0, coarsest=coarsest) @ block.ravel()
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("coarsest", [False, True])
def test_a_merge_transforms_the_picture_that_four_neighbours_make(coarsest, rng):
    neighbours = rng.random((2, 2, 4, 4, 3))
    small = idctn(neighbours, axes=(2, 3), norm="ortho")
    picture = small.swapaxes(1, 2).reshape(8, 8, 3)
    planes = dctn(picture, axes=(0, 1), norm="ortho")
    expected = [planes[band.v, band.h, band.colour] for band in pyramid.bands(coarsest=coarsest)]
    for step in (1, 2):
        merged = pyramid.basis(step, coarsest=coarsest) @ neighbours.ravel()
        np.testing.assert_allclose(merged, expected, atol=1e-12)


def test_a_patch_comes_back_from_its_three_levels(rng):
    patch = rng.random((PATCH, PATCH, 3))
    np.testing.assert_allclose(synthesise(*analyse(patch)), patch, atol=1e-12)


def test_three_levels_hold_as_many_numbers_and_as_much_energy_as_the_patch(rng):
    patch = rng.random((PATCH, PATCH, 3))
    levels = analyse(patch)
    assert [level.shape for level in levels] == [(1, 1, 192), (2, 2, 144), (4, 4, 144)]
    assert sum(level.size for level in levels) == patch.size
    assert sum((level**2).sum() for level in levels) == pytest.approx((patch**2).sum())


@pytest.mark.parametrize("amplitude", [0.0, 0.02, 0.2])
def test_the_gain_falls_with_the_contrast_that_coarser_levels_show(amplitude):
    """Slow stripes: both levels find the standard deviation of luma, amplitude / sqrt(2)."""
    x = np.arange(PATCH) + 0.5
    stripes = 0.5 + amplitude * np.cos(2 * np.pi * x / 16)  # whole waves in cells of 16
    patch = np.broadcast_to(stripes[None, :, None], (PATCH, PATCH, 3))
    levels = [level / 0.1 for level in analyse(patch)]  # in steps of a tenth
    expected = ((amplitude**2 / 2 + pyramid.FAINTEST**2) / pyramid.USUAL**2) ** -0.15
    medium = pyramid.contrast_gain(levels[:1], 0.1)
    assert medium.shape == (2, 2, 1)
    np.testing.assert_allclose(medium, expected, rtol=0.02)
    assert pyramid.contrast_gain(levels[:2], 0.1).shape == (4, 4, 1)


def test_colour_and_brightness_alone_are_no_contrast(rng):
    patch = np.full((PATCH, PATCH, 3), 0.9)
    patch[::2, :, 0], patch[::2, :, 2] = 1, 0.8  # the same luma everywhere
    flat, coloured = (
        pyramid.contrast_gain(analyse(p)[:2], 1.0) for p in (np.full_like(patch, 0.1), patch)
    )
    np.testing.assert_allclose(flat, coloured, rtol=1e-4)
    np.testing.assert_allclose(flat, (pyramid.FAINTEST / pyramid.USUAL) ** -pyramid.MASKING)


def test_a_flat_patch_is_one_number():
    low, medium, high = analyse(np.full((PATCH, PATCH, 3), 0.5))
    assert low[0, 0, 0] == pytest.approx(0.5 * PATCH * np.sqrt(3))
    assert abs(low[0, 0, 1:]).max() < 1e-12
    assert abs(medium).max() < 1e-12
    assert abs(high).max() < 1e-12


@pytest.mark.parametrize("coarsest", [False, True])
def test_every_band_has_one_channel(coarsest):
    bands = pyramid.bands(coarsest=coarsest)
    expected = {(v, h, c) for v in range(8) for h in range(8) for c in range(3)}
    assert len(bands) == 192
    assert set(bands) == expected


def test_the_lowest_frequencies_are_carried_to_the_coarser_grid():
    carried = pyramid.bands(coarsest=False)[:CARRIED]
    assert list(carried) == [(v, h, c) for v in range(4) for h in range(4) for c in range(3)]


@pytest.mark.parametrize(("resolutions", "strides"), [(3, [32, 16, 8]), (1, [8])])
def test_levels_hold_every_coefficient_of_a_patch_once(resolutions, strides):
    levels = pyramid.levels(resolutions)
    assert [level.stride for level in levels] == strides
    assert [level.scale for level in levels] == [PATCH // stride for stride in strides]
    assert sum(level.scale**2 * len(level.bands) for level in levels) == PATCH * PATCH * 3
    assert set(levels[0].bands) == set(pyramid.bands(coarsest=True))
    for level in levels[1:]:
        assert level.bands == pyramid.bands(coarsest=False)[CARRIED:]


@pytest.mark.parametrize("level", [*pyramid.levels(4), *pyramid.levels(3), *pyramid.levels(1)])
def test_a_group_holds_luma_or_chroma_and_luma_comes_first(level):
    assert sum(level.groups) == len(level.bands)
    ends = np.cumsum(level.groups)
    groups = [level.bands[end - size : end] for end, size in zip(ends, level.groups, strict=True)]
    is_chroma = [{band.colour > 0 for band in group} for group in groups]
    assert all(len(kinds) == 1 for kinds in is_chroma)
    assert is_chroma == sorted(is_chroma, key=lambda kinds: kinds == {True})


def test_the_typical_size_of_a_band_falls_with_its_frequency():
    bands = pyramid.bands(coarsest=True)
    std = dict(zip(bands, pyramid.typical_std(bands, 32), strict=True))
    along = [std[v, v, 0] for v in range(8)]
    assert along == sorted(along, reverse=True)
    assert min(std.values()) > 0
    assert std[1, 1, 0] > std[1, 1, 1] > std[1, 1, 2]
