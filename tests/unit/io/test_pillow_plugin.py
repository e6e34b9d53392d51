import io
import struct
import subprocess
import sys
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageFile, UnidentifiedImageError

import mrdcae_lite as mr
from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.metadata import NO_METADATA, Metadata, read_metadata
from mrdcae_lite.io.images import from_pillow

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def codec():
    return mr.load()


@pytest.fixture(scope="module")
def image():
    return mr.sample("flowers")[100:133, 200:241].copy()


@pytest.fixture(scope="module")
def alpha():
    return np.random.default_rng(3).integers(0, 256, (33, 41), np.uint8)


@pytest.fixture(scope="module")
def data(codec, image):
    return codec.compress(image, 30)


def opened(data):
    return Image.open(BytesIO(data))


def saved(picture, **options):
    buffer = BytesIO()
    picture.save(buffer, "MRDC", **options)
    return buffer.getvalue()


# --- opening


def test_a_file_is_opened_and_decoded_by_pillow(tmp_path, codec, data):
    (tmp_path / "flowers.mrdc").write_bytes(data)
    with Image.open(tmp_path / "flowers.mrdc") as file:
        assert (file.format, file.mode, file.size) == ("MRDC", "RGB", (41, 33))
        assert file.info == {"quality": 30, "model": codec.id.hex()}
        np.testing.assert_array_equal(np.asarray(file), codec.decompress(data))


def test_the_kind_of_file_is_known_to_pillow(data):
    assert opened(data).get_format_mimetype() == "image/x-mrdc"
    assert Image.registered_extensions()[".mrdc"] == "MRDC"


@pytest.mark.parametrize(
    "imports",
    [
        "import mrdcae_lite; assert 'PIL' not in sys.modules; from PIL import Image",
        "from PIL import Image; import mrdcae_lite",
        "import mrdcae_lite; from PIL import ImageFile, Image",
        "import mrdcae_lite, PIL; assert not hasattr(PIL, 'Image'); import PIL.Image as Image",
    ],
)
def test_the_order_of_imports_does_not_matter(tmp_path, data, imports):
    (tmp_path / "a.mrdc").write_bytes(data)
    code = f"import inspect, sys; {imports}; print(Image.open('a.mrdc').format); "
    code += "inspect.getsource(Image)"  # its loader is as it was
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("MRDC\n", "")


def test_a_file_is_read_to_the_end_only_for_its_pixels(codec, image, alpha):
    data = codec.compress(image, 90, metadata=Metadata(alpha, SRGB))
    start = len(bitstream.up_to_level(data, 1))
    file = BytesIO(data)
    assert Image.open(file).info["icc_profile"] == SRGB
    assert file.tell() < start < len(data)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("icc", [b"", SRGB])
def test_the_mode_tells_of_colour_and_transparency(grey, with_alpha, icc, codec, image, alpha):
    image = np.repeat(image[..., :1], 3, axis=2) if grey else image
    data = codec.compress(image, 30, metadata=Metadata(alpha if with_alpha else None, icc))
    picture = opened(data)
    assert picture.mode == ("L" if grey and not icc else "RGB") + "A" * with_alpha
    assert picture.info.get("icc_profile", b"") == icc
    restored = codec.decompress(data)
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), restored)
    if with_alpha:
        np.testing.assert_array_equal(np.asarray(picture.getchannel("A")), alpha)


def test_the_package_reads_its_own_files_as_pictures(tmp_path, codec, image, alpha):
    data = codec.compress(image, 30, metadata=Metadata(alpha, SRGB))
    (tmp_path / "glass.mrdc").write_bytes(data)
    pixels, kept, _ = mr.read_picture(tmp_path / "glass.mrdc")
    np.testing.assert_array_equal(pixels, codec.decompress(data))
    np.testing.assert_array_equal(kept.alpha, alpha)
    assert kept.icc == SRGB


# --- saving


def test_a_picture_is_saved_by_the_name_of_its_file(tmp_path, codec, image):
    for name in ("flowers.mrdc", "FLOWERS.MRDC"):
        Image.fromarray(image).save(tmp_path / name, quality=70)
        assert (tmp_path / name).read_bytes() == codec.compress(image, 70)


@pytest.mark.parametrize(
    "options",
    [{}, {"quality": 3}, {"target_bpp": 2.0}, {"target_psnr": 20.0}, {"quality": 9, "effort": 0}],
)
def test_the_options_are_those_of_the_codec(options, codec, image):
    assert saved(Image.fromarray(image), **options) == codec.compress(image, **options)


def test_a_codec_can_be_named(image):
    standard = mr.load("standard")
    data = saved(Image.fromarray(image), model="standard")
    assert data == standard.compress(image)
    np.testing.assert_array_equal(np.asarray(opened(data)), standard.decompress(data))


@pytest.mark.parametrize(
    "mode",
    [
        "1",
        "L",
        "LA",
        "P",
        "PA",
        "RGB",
        "RGBA",
        "RGBX",
        "CMYK",
        "YCbCr",
        "HSV",
        "La",
        "RGBa",
        "I;16",
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 5)])
def test_every_mode_that_can_be_read_can_be_saved(mode, size, codec):
    picture = Image.new(mode, size)
    expected = from_pillow(picture)
    data = saved(picture)
    assert data == codec.compress(expected.pixels, metadata=expected.metadata)
    assert opened(data).size == size
    opened(data).load()


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_other_modes_are_refused_and_leave_no_file(mode, tmp_path):
    with pytest.raises(OSError, match=f"a picture of mode {mode}. Convert it"):
        Image.new(mode, (4, 4)).save(tmp_path / "deep.mrdc")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_quality_is_named(image):
    with pytest.raises(ValueError, match="quality=101"):
        saved(Image.fromarray(image), quality=101)


def test_the_profile_is_that_of_the_picture_unless_another_is_given(image):
    picture = Image.fromarray(image)
    assert read_metadata(saved(picture)) == NO_METADATA
    assert read_metadata(saved(picture, icc_profile=SRGB)).icc == SRGB
    picture.info["icc_profile"] = SRGB
    assert read_metadata(saved(picture)).icc == SRGB
    assert read_metadata(saved(picture, icc_profile=None)).icc == b""
    assert read_metadata(saved(picture.convert("CMYK"))).icc == b""


def test_camera_data_are_kept_if_they_are_given_and_the_picture_is_turned_upright(image):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    kept = exif.tobytes()
    exif[ExifTags.Base.Orientation] = 6
    picture = Image.fromarray(image)
    picture.info["exif"] = exif.tobytes()
    assert read_metadata(saved(picture)).exif == b""
    upright = saved(picture.transpose(Image.Transpose.ROTATE_270), exif=kept)
    for given_exif in (exif, exif.tobytes()):
        data = saved(picture, exif=given_exif)
        restored = opened(data)
        assert restored.size == (33, 41)
        assert dict(restored.getexif()) == {ExifTags.Base.Make: "Maker"}
        np.testing.assert_array_equal(np.asarray(restored), np.asarray(opened(upright)))


def test_damaged_camera_data_do_not_cost_the_picture(image):
    with pytest.warns(UserWarning, match="camera data are left out: EXIF data start with"):
        data = saved(Image.fromarray(image), exif=b"Exif\0\0garbage")
    assert read_metadata(data) == NO_METADATA


def test_depth_and_sense_are_those_of_the_file(tmp_path):
    ramp = np.uint16([[0, 257, 32768, 65535]])
    Image.fromarray(ramp).save(tmp_path / "a.tif", tiffinfo={262: 0})
    content = (tmp_path / "a.tif").read_bytes()
    with Image.open(io.BytesIO(content)) as picture:
        data = saved(picture, quality=100)
    expected = mr.read_picture(tmp_path / "a.tif").pixels
    found = np.asarray(opened(data).convert("RGB"))
    assert abs(found.astype(int) - expected).max() <= 3
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 4095\n" + bytes([0, 0, 15, 255]))
    with Image.open(tmp_path / "a.pgm") as picture:
        assert np.asarray(opened(saved(picture, quality=100)))[0, 1] > 250


@pytest.mark.parametrize("name", ["exif", "icc_profile"])
def test_what_is_no_bytes_is_named(name, image):
    with pytest.raises(TypeError, match=f"{name} must be bytes. Received: str"):
        saved(Image.fromarray(image), **{name: "text"})


def test_damaged_camera_data_still_turn_the_picture(image):
    tags = struct.pack("<HHHII", 2, 0x0112, 3, 1, 6) + struct.pack("<HHII", 0x010F, 2, 99, 9999)
    damaged = b"Exif\0\0II*\0\x08\0\0\0" + tags + bytes(4)
    with pytest.warns(UserWarning, match="camera data are left out"):
        data = saved(Image.fromarray(image), exif=damaged)
    assert opened(data).size == (33, 41)


def test_one_frame_can_be_saved_with_save_all_and_several_are_refused(image, tmp_path):
    picture = Image.fromarray(image)
    assert saved(picture, save_all=True) == saved(picture)
    with pytest.raises(OSError, match="expected one picture.* Received: 3 frames"):
        saved(picture, save_all=True, append_images=[picture, picture])


def test_a_stream_is_parsed_as_it_comes(data):
    parser = ImageFile.Parser()
    for start in range(0, len(data), 64):
        parser.feed(data[start : start + 64])
    np.testing.assert_array_equal(np.asarray(parser.close()), np.asarray(opened(data)))


def test_verifying_finds_what_does_not_match_its_checksum(data):
    opened(data).verify()
    with pytest.raises(OSError, match="does not match its checksum"):
        opened(data[:-1] + bytes([data[-1] ^ 1])).verify()


# --- damage


def test_a_foreign_file_is_not_identified():
    with pytest.raises(UnidentifiedImageError):
        opened(b"once upon a time")


@given(place=st.integers(8, 10**6), change=st.integers(1, 255))
def test_a_changed_byte_is_an_error_with_our_message(place, change, data):
    changed = bytearray(data)
    changed[8 + (place - 8) % (len(data) - 8)] ^= change
    with pytest.raises(OSError, match="fetch it again|Update mrdcae-lite") as caught:
        opened(bytes(changed)).load()
    assert not isinstance(caught.value, UnidentifiedImageError)


def test_a_length_that_no_file_can_have_is_an_error_and_takes_no_memory(tmp_path):
    head = bitstream.MAGIC + bytes([2, 50, 0, 0, 0, 0, 0, 8, 8]) + bitstream.write_varint(2**35 - 1)
    head += bytes(4)
    path = tmp_path / "long.mrdc"
    path.write_bytes(head + struct.pack("<2I", 0, zlib.crc32(head + bytes(4))))
    with pytest.raises(OSError, match="metadata section|cut off"):
        Image.open(path)


@given(length=st.integers(8, 10**6))
def test_a_cut_file_is_an_error_with_our_message(length, data):
    with pytest.raises(OSError, match="cut off|fetch it again"):
        opened(data[: 8 + (length - 8) % (len(data) - 8)]).load()


def test_a_file_of_an_unknown_model_is_opened_but_not_decoded(data, monkeypatch):
    monkeypatch.setattr("mrdcae_lite.models.registry", dict)
    picture = opened(data)
    assert picture.size == (41, 33)
    with pytest.raises(OSError, match="not among the shipped ones"):
        picture.load()
