from functools import partial
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from mrdcae_lite.core.distortion import psnr
from mrdcae_lite.evaluation.baselines import BASELINES, encode_alike, encode_to_size
from mrdcae_lite.io.sizes import bits_per_pixel

FORMATS = {"jpeg": "JPEG", "jpeg444": "JPEG", "jpeg2000": "JPEG2000", "webp": "WEBP"}
codecs = pytest.mark.parametrize("codec", BASELINES.values(), ids=BASELINES.keys())


@pytest.mark.parametrize("name", FORMATS)
def test_the_codecs_of_the_comparison_are_there(name, photograph):
    codec = BASELINES[name]
    assert codec.name == name
    data = codec.encode(photograph, codec.sweep[0])
    assert Image.open(BytesIO(data)).format == FORMATS[name]


@codecs
def test_quality_buys_psnr_with_bytes(codec, photograph):
    files = [codec.encode(photograph, quality) for quality in codec.sweep[1::3]]
    sizes = [len(data) for data in files]
    scores = [psnr(photograph, codec.decode(data), data_range=255) for data in files]
    assert sizes == sorted(set(sizes))
    assert scores == sorted(set(scores))
    assert scores[-1] > 25


@codecs
@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 33, 3)])
def test_any_size_comes_back_in_its_shape(codec, shape, rng):
    image = rng.integers(0, 256, shape, np.uint8)
    restored = codec.decode(codec.encode(image, codec.sweep[-1]))
    assert restored.shape == shape
    assert restored.dtype == np.uint8


@codecs
def test_the_largest_file_within_the_target_is_found(codec, photograph):
    image = photograph[:96, :128]
    target = len(codec.encode(image, codec.sweep[4]))
    data = encode_to_size(codec, image, target)
    assert 0.99 * target <= len(data) <= target
    assert len(encode_to_size(codec, image, target - 1)) < target


@pytest.mark.parametrize("other", ["jpeg2000", "webp"])
def test_two_files_of_one_size_are_found(other, photograph):
    ways = [
        (partial(BASELINES[name].encode, photograph), BASELINES[name].grid)
        for name in ("jpeg", other)
    ]
    for target in (6_000, 20_000):
        sizes = [len(data) for data in encode_alike(*ways, target)]
        assert abs(sizes[0] / sizes[1] - 1) < 0.01
        assert all(0.8 * target <= size <= 1.2 * target for size in sizes)


def test_a_size_that_no_file_has_is_refused(photograph):
    way = partial(BASELINES["jpeg"].encode, photograph), BASELINES["jpeg"].grid
    with pytest.raises(ValueError, match=r"they go from \d+ to \d+. Received: 10."):
        encode_alike(way, way, 10)


@codecs
def test_a_target_below_the_smallest_file_is_refused(codec, photograph):
    with pytest.raises(ValueError, match=f"the smallest file {codec.name} makes"):
        encode_to_size(codec, photograph, 10)


@codecs
def test_a_quality_off_the_scale_is_refused(codec, photograph):
    with pytest.raises(ValueError, match=f"quality of {codec.name} must be from"):
        codec.encode(photograph, 101)


def test_only_bytes_with_three_channels_are_encoded(photograph):
    with pytest.raises(TypeError, match="of uint8"):
        BASELINES["jpeg"].encode(photograph.astype(np.float32), 50)


def test_jpeg_2000_keeps_to_the_bits_asked_for(photograph):
    data = BASELINES["jpeg2000"].encode(photograph, 1.0)
    assert 0.9 < bits_per_pixel(data, photograph.shape) <= 1.0


def test_jpeg_2000_transforms_the_colours(photograph):
    buffer = BytesIO()
    Image.fromarray(photograph).save(
        buffer, "JPEG2000", quality_mode="rates", quality_layers=[24.0], irreversible=True, mct=0
    )
    codec = BASELINES["jpeg2000"]
    separate = psnr(photograph, codec.decode(buffer.getvalue()), data_range=255)
    together = psnr(photograph, codec.decode(codec.encode(photograph, 1.0)), data_range=255)
    assert together > separate + 1


@pytest.mark.parametrize(("name", "factors"), [("jpeg", 0x22), ("jpeg444", 0x11)])
def test_jpeg_halves_the_colour_only_where_its_name_says_so(name, factors, photograph):
    data = BASELINES[name].encode(photograph, 50)
    frame = data.index(b"\xff\xc0")  # start of frame; bytes 11 on: id, sampling, table
    assert data[frame + 11] == factors
