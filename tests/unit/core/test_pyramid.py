import numpy as np
import pytest
from scipy.fft import dct, dctn, idctn

from mrdcae_lite.core import pyramid
from mrdcae_lite.core.pyramid import CARRIED, COLOUR, CONTRAST_FLOOR, PATCH, REFERENCE_CONTRAST


def to_blocks(grid, size):
    """(h, w, c) to (h/size, w/size, size*size*c), raster order."""
    rows, columns, channels = np.array(grid.shape) // (size, size, 1)
    blocks = grid.reshape(rows, size, columns, size, channels).swapaxes(1, 2)
    return blocks.reshape(rows, columns, -1)


def analyse(patch):
    """Low, medium and high level of a 32 x 32 x 3 patch."""
    eighth = to_blocks(patch, 8) @ pyramid.pixel_basis().T
    half = pyramid.merge_basis(coarsest=False).T
    sixteenth = to_blocks(eighth[..., :CARRIED], 2) @ half
    low = to_blocks(sixteenth[..., :CARRIED], 2) @ pyramid.merge_basis(coarsest=True).T
    return low, sixteenth[..., CARRIED:], eighth[..., CARRIED:]


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_the_cosine_matrix_is_the_one_of_scipy(size):
    expected = dct(np.eye(size), axis=0, norm="ortho")
    np.testing.assert_allclose(pyramid.dct_matrix(size), expected, atol=1e-14)


@pytest.mark.parametrize(
    "matrix",
    [
        COLOUR,
        *(pyramid.basis(step, coarsest=end) for step in (0, 1) for end in (False, True)),
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
    for step in (1, 2, 3):
        merged = pyramid.basis(step, coarsest=coarsest) @ neighbours.ravel()
        np.testing.assert_allclose(merged, expected, atol=1e-12)


@pytest.mark.parametrize("amplitude", [0.0, 0.02, 0.2])
def test_the_gain_falls_with_the_contrast_that_coarser_levels_show(amplitude):
    """Slow stripes: both levels find the standard deviation of luma, amplitude / sqrt(2)."""
    x = np.arange(PATCH) + 0.5
    stripes = 0.5 + amplitude * np.cos(2 * np.pi * x / 16)  # whole waves in cells of 16
    patch = np.broadcast_to(stripes[None, :, None], (PATCH, PATCH, 3))
    levels = [level / 0.1 for level in analyse(patch)]  # in steps of a tenth
    variance = amplitude**2 / 2 + CONTRAST_FLOOR**2
    expected = (variance / REFERENCE_CONTRAST**2) ** -0.15
    medium = pyramid.contrast_gain(levels[:1], 0.1, 3)
    assert medium.shape == (2, 2, 1)
    np.testing.assert_allclose(medium, expected, rtol=0.02)
    assert pyramid.contrast_gain(levels[:2], 0.1, 3).shape == (4, 4, 1)


def test_colour_and_brightness_alone_are_no_contrast(rng):
    patch = np.full((PATCH, PATCH, 3), 0.9)
    patch[::2, :, 0], patch[::2, :, 2] = 1, 0.8  # the same luma everywhere
    flat, coloured = (
        pyramid.contrast_gain(analyse(p)[:2], 1.0, 3) for p in (np.full_like(patch, 0.1), patch)
    )
    np.testing.assert_allclose(flat, coloured, rtol=1e-4)
    expected = (CONTRAST_FLOOR / REFERENCE_CONTRAST) ** -pyramid.MASKING_EXPONENT
    np.testing.assert_allclose(flat, expected)


def test_the_gain_is_the_same_however_deep_the_pyramid_is(rng):
    """Three levels of 1/8 to 1/32, or four, whose two coarsest hold the same as the first."""
    patch = rng.random((64, 64, 3))
    low, medium, _ = analyse(patch)
    eighth = to_blocks(patch, 8) @ pyramid.pixel_basis().T
    half = pyramid.merge_basis(coarsest=False).T
    sixteenth = to_blocks(eighth[..., :CARRIED], 2) @ half
    quarter = to_blocks(sixteenth[..., :CARRIED], 2) @ half
    coarsest = to_blocks(quarter[..., :CARRIED], 2) @ pyramid.merge_basis(coarsest=True).T
    deep = [coarsest, quarter[..., CARRIED:], medium]
    for levels, deeper in (([low], deep[:2]), ([low, medium], deep)):
        expected = pyramid.contrast_gain(levels, 0.1, 3)
        np.testing.assert_allclose(pyramid.contrast_gain(deeper, 0.1, 4), expected, rtol=1e-4)


STRIDES = {1: [8], 2: [16, 8], 3: [32, 16, 8], 4: [64, 32, 16, 8]}


@pytest.mark.parametrize(("resolutions", "strides"), STRIDES.items())
def test_levels_hold_every_coefficient_once(resolutions, strides):
    levels = pyramid.levels(resolutions)
    assert [level.stride for level in levels] == strides
    assert sum(len(level.bands) / level.stride**2 for level in levels) == 3
    assert set(levels[0].bands) == set(pyramid.bands(coarsest=True))
    for level in levels:
        assert sum(level.groups) == len(level.bands)
    for level in levels[1:]:
        assert level.bands == pyramid.bands(coarsest=False)[CARRIED:]


@pytest.mark.parametrize("resolutions", STRIDES)
def test_only_the_two_finest_levels_can_be_off(resolutions):
    routing = np.array([[1, 2], [3, 1]], np.uint8)
    sections = [pyramid.section(n, resolutions) for n in range(resolutions)]
    assert sections == {1: [0], 2: [0, 1], 3: [0, 1, 2], 4: [0, 0, 1, 2]}[resolutions]
    masks = pyramid.level_masks(routing, resolutions)
    for mask, part, stride in zip(masks, sections, STRIDES[resolutions], strict=True):
        cells = 64 // stride
        assert mask.shape == (cells, cells)
        for (row, column), level in np.ndenumerate(routing):
            of_patch = mask[row * cells // 2 :, column * cells // 2 :]
            assert (of_patch[: max(cells // 2, 1), : max(cells // 2, 1)] == (level > part)).all()


@pytest.mark.parametrize("resolutions", STRIDES)
def test_every_edge_of_a_block_is_of_one_kind(resolutions):
    edges = [
        edge
        for period, first in pyramid.block_edges(resolutions)
        for edge in range(first, 256, period)
    ]
    assert sorted(edges) == list(range(8, 256, 8))
