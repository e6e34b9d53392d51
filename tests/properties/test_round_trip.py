"""Any picture comes back in its shape, as the encoder meant it, from every prefix of levels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrdcae_lite as mr
from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.lossless import write_lossless
from mrdcae_lite.core import tiling
from mrdcae_lite.core.pyramid import level_masks
from mrdcae_lite.core.rate_distortion import ROUNDING_OFFSET
from mrdcae_lite.evaluation import inspection

PHOTOGRAPH = mr.sample("flowers")


@st.composite
def pictures(draw):
    """Flat colours, noise, ramps and cut-outs of a photograph, from 1 x 1 to 100 x 100 pixels."""
    height, width = draw(st.integers(1, 100)), draw(st.integers(1, 100))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    match draw(st.sampled_from(["flat", "noise", "ramp", "photograph"])):
        case "flat":
            return np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
        case "noise":
            return rng.integers(0, 256, (height, width, 3), np.uint8)
        case "ramp":
            across = np.linspace(0, 255, width)[None, :, None] * rng.random(3)
            return np.broadcast_to(across, (height, width, 3)).astype(np.uint8)
        case _:
            top, left = rng.integers(0, 576 - 100, 2)
            return PHOTOGRAPH[top : top + height, left : left + width].copy()


@settings(max_examples=15)
@given(picture=pictures(), quality=st.integers(0, 100))
def test_any_picture_comes_back_as_the_encoder_meant_it(tiny_codec, picture, quality):
    data = tiny_codec.compress(picture, quality, effort=0)
    symbols, routing, header = tiny_codec.read_symbols(data)
    assert (header.height, header.width, 3) == picture.shape
    restored = tiny_codec.decompress(data)
    assert restored.shape == picture.shape
    assert restored.dtype == np.uint8
    assert mr.bits_per_pixel(data, picture.shape) == 8 * len(data) / picture[..., 0].size
    if header.stored:  # of a single tile
        np.testing.assert_array_equal(restored, picture)
        assert not any(found.any() for found in symbols)
        return
    np.testing.assert_array_equal(routing, tiny_codec.routing_map(picture, quality))
    latents = tiny_codec.analyse(picture, quality)
    gains = inspection.contrast_gains(tiny_codec.model, symbols, quality)
    parts = zip(symbols, latents.levels, gains, level_masks(routing, 4), strict=True)
    for found, y, gain, mask in parts:
        expected = np.trunc(y * gain + np.copysign(ROUNDING_OFFSET, y)) * mask[..., None]
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.int16


@settings(max_examples=8)
@given(picture=pictures(), quality=st.integers(0, 100))
def test_a_picture_takes_hardly_more_bytes_than_without_loss(tiny_codec, picture, quality):
    """Of drawings, and of all that has few colours; others are not tried."""
    drawn = picture // 64 * 64
    data = tiny_codec.compress(drawn, quality)
    assert len(data) <= len(write_lossless(drawn)) + 50


@settings(max_examples=8)
@given(picture=pictures(), part=st.tuples(*[st.floats(0, 0.999)] * 4), effort=st.integers(1, 3))
def test_any_part_of_a_picture_is_decoded_as_in_the_whole(tiny_codec, picture, part, effort):
    height, width = picture.shape[:2]
    y, x = int(part[0] * height), int(part[1] * width)
    rows, columns = 1 + int(part[2] * (height - y)), 1 + int(part[3] * (width - x))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "TILE", 64)
        data = tiny_codec.compress(picture, 50, effort=effort)
        assert data == tiny_codec.compress(picture, 50, effort=effort, threads=3)
        whole = tiny_codec.decompress(data)
        found = tiny_codec.decompress(data, region=(y, x, rows, columns))
    np.testing.assert_array_equal(found, whole[y : y + rows, x : x + columns])


@settings(max_examples=6)
@given(picture=pictures(), quality=st.integers(0, 100), level=st.sampled_from([1, 2]))
def test_the_start_of_a_file_is_a_picture(tiny_codec, picture, quality, level):
    data = tiny_codec.compress(picture, quality)
    start = data[: len(data) - sum(mr.info(data).lengths[level + 2 :])]
    assert bitstream.up_to_level(data, level) == start
    restored = tiny_codec.decompress(start, level=level)
    assert restored.shape == picture.shape
    np.testing.assert_array_equal(restored, tiny_codec.decompress(data, level=level))
    with pytest.raises(mr.BitstreamError, match="was cut off"):
        tiny_codec.decompress(start[:-1], level=level)


@settings(max_examples=4)
@given(picture=pictures(), target=st.floats(0.5, 20))
def test_a_target_rate_is_kept_or_refused(tiny_codec, picture, target):
    least = tiny_codec.compress(picture, quality=0)
    if mr.bits_per_pixel(least, picture.shape) > target:
        with pytest.raises(ValueError, match="is out of reach"):
            tiny_codec.compress(picture, target_bpp=target)
    else:
        data = tiny_codec.compress(picture, target_bpp=target)
        assert mr.bits_per_pixel(data, picture.shape) <= target
