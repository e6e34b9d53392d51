import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mrdcae_lite.core.patches import depth_to_space, pad_to_multiple, space_to_depth
from mrdcae_lite.evaluation.patches import from_patches, to_patches

pictures = arrays(
    st.sampled_from([np.uint8, np.float32]), array_shapes(min_dims=3, max_dims=3, max_side=40)
)
sizes = st.integers(1, 33)


@given(pictures, sizes)
def test_patches_put_together_are_the_picture(image, size):
    patches = to_patches(image, size)
    restored = from_patches(patches, image.shape)
    assert restored.dtype == image.dtype
    np.testing.assert_array_equal(restored, image)


@given(pictures, sizes)
def test_every_patch_is_its_part_of_the_padded_picture(image, size):
    padded, patches = pad_to_multiple(image, size), to_patches(image, size)
    for row, col in np.ndindex(patches.shape[:2]):
        part = padded[row * size : (row + 1) * size, col * size : (col + 1) * size]
        np.testing.assert_array_equal(patches[row, col], part)


@given(pictures, sizes)
def test_padding_repeats_the_edge_at_the_bottom_and_right(image, multiple):
    padded = pad_to_multiple(image, multiple)
    height, width = image.shape[:2]
    assert padded.shape[0] - height in range(multiple)
    assert padded.shape[1] - width in range(multiple)
    assert padded.shape[0] % multiple == padded.shape[1] % multiple == 0
    rows = np.minimum(np.arange(padded.shape[0]), height - 1)
    cols = np.minimum(np.arange(padded.shape[1]), width - 1)
    np.testing.assert_array_equal(padded, image[rows][:, cols])


def test_patches_and_pictures_own_their_memory(photograph):
    before = photograph.copy()
    patches = to_patches(photograph, 32)
    patches[:] = 0
    pad_to_multiple(photograph, 1)[:] = 0
    np.testing.assert_array_equal(photograph, before)


def test_the_shape_may_leave_the_channels_out(photograph):
    patches = to_patches(photograph, 32)
    np.testing.assert_array_equal(from_patches(patches, photograph.shape[:2]), photograph)


@given(pictures, st.integers(1, 9))
def test_depth_holds_the_pixels_of_each_patch_and_gives_them_back(image, factor):
    padded = pad_to_multiple(image, factor)
    deep, patches = space_to_depth(padded, factor), to_patches(padded, factor)
    np.testing.assert_array_equal(deep, patches.reshape(*patches.shape[:2], -1))
    np.testing.assert_array_equal(depth_to_space(deep, factor), padded)


@pytest.mark.parametrize("shape", [(4, 5), (0, 5, 3), (1, 4, 5, 3)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(ValueError, match=r"\(height, width, channels\), all above 0"):
        to_patches(np.zeros(shape), 4)


def test_a_size_of_no_pixels_is_refused():
    with pytest.raises(ValueError, match=r"multiple must be a number of pixels above 0.*0"):
        to_patches(np.zeros((4, 4, 3)), 0)
    with pytest.raises(ValueError, match="multiple must be a number of pixels above 0"):
        pad_to_multiple(np.zeros((4, 4, 3)), -8)


@pytest.mark.parametrize("shape", [(9, 8, 3), (8, 4, 3), (8, 8, 1), (0, 8, 3), (8,), (8, 8, 3, 1)])
def test_a_shape_that_the_patches_do_not_cover_is_refused(shape):
    patches = to_patches(np.zeros((8, 8, 3)), 4)
    with pytest.raises(ValueError, match="Pass the shape of the original picture"):
        from_patches(patches, shape)


@pytest.mark.parametrize("shape", [(2, 2, 4, 5, 3), (2, 2, 4, 4), (0, 2, 4, 4, 3)])
def test_what_is_no_grid_of_square_patches_is_refused(shape):
    with pytest.raises(ValueError, match=r"\(rows, cols, size, size, channels\), all above 0"):
        from_patches(np.zeros(shape), (8, 8, 3))
