import hashlib
import io
import re
import struct
import textwrap
import zlib
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from mrdcae_lite.coding.metadata import NO_METADATA, Metadata
from mrdcae_lite.core.pixels import check_rgb
from mrdcae_lite.io.images import (
    ImageError,
    mode,
    read_image,
    read_picture,
    sample,
    sample_names,
    standardise,
    write_image,
)

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile_for(space):
    return SRGB[:16] + space + SRGB[20:]


def camera_data(orientation=None):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.5
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return exif


def parsed(data):
    exif = Image.Exif()
    exif.load(data)
    return exif


@pytest.fixture
def see_through(rng):
    """Transparency from 0 to 255: uint8 (179, 205), as large as the photograph."""
    return rng.integers(0, 256, (179, 205), np.uint8)


def png_chunk(kind, body):
    crc = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + crc


def png(start, pixels=b""):
    """A file that claims a width, a height, a depth and a type of colours."""
    header = struct.pack(">IIBBBBB", *start, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


@pytest.mark.parametrize("ending", [".png", ".PNG", ".tif", ".tiff", ".webp", ".bmp", ".ppm"])
def test_a_written_picture_is_read_back_to_the_last_bit(ending, tmp_path, photograph):
    path = tmp_path / f"picture{ending}"
    write_image(path, photograph)
    restored = read_image(path)
    assert restored.dtype == np.uint8
    assert restored.flags.writeable
    np.testing.assert_array_equal(restored, photograph)


@pytest.mark.parametrize(
    ("pillow_mode", "stored", "colour"),
    [
        ("L", 7, [7, 7, 7]),
        ("1", 255, [255, 255, 255]),
        ("P", 0, [10, 20, 30]),
        ("RGBA", (1, 2, 3, 255), [1, 2, 3]),
        ("CMYK", (255, 0, 0, 0), [0, 255, 255]),
    ],
)
def test_every_mode_becomes_three_channels(pillow_mode, stored, colour, tmp_path):
    picture = Image.new(pillow_mode, (1, 1), stored)
    if pillow_mode == "P":
        picture.putpalette([10, 20, 30])
    path = tmp_path / ("a.tif" if pillow_mode == "CMYK" else "a.png")
    picture.save(path)
    assert read_image(path).tolist() == [[colour]]


def test_transparent_pixels_are_refused(tmp_path):
    Image.new("LA", (4, 4), (100, 254)).save(tmp_path / "glass.png")
    with pytest.raises(ImageError, match=r"glass\.png: expected an opaque picture"):
        read_image(tmp_path / "glass.png")


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bit_grey_is_rounded_to_eight_bits(ending, tmp_path):
    values = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"deep.{ending}")
    expected = np.round(values[0] / 257).tolist()
    assert expected == [0, 0, 1, 1, 128, 254, 255, 255]
    assert read_image(tmp_path / f"deep.{ending}")[0, :, 1].tolist() == expected


# --- depth


def tiff(bits, pixels, *, width=4, white_is_zero=False, samples=1, sample_format=1):
    """A little-endian TIFF file of one row."""
    tags = [(256, width), (257, 1), (258, bits), (259, 1), (262, 0 if white_is_zero else 1)]
    tags += [(277, samples), (278, 1), (279, len(pixels)), (339, sample_format)]
    tags += [(273, 8 + 2 + 12 * 10 + 4)]
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(4) + pixels


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("1.tif", tiff(1, b"\x50"), [0, 255, 0, 255]),
        ("2.tif", tiff(2, b"\x1b"), [0, 85, 170, 255]),
        ("4.tif", tiff(4, b"\x05\xaf"), [0, 85, 170, 255]),
        ("12.tif", tiff(12, bytes([0x00, 0x08, 0x00, 0xFF, 0xF0, 0x10])), [0, 128, 255, 1]),
        ("16.tif", tiff(16, struct.pack("<4H", 0, 257, 32768, 65535)), [0, 1, 128, 255]),
        (
            "16, white is 0.tif",
            tiff(16, struct.pack("<4H", 65535, 0, 257, 0), white_is_zero=True),
            [0, 255, 254, 255],
        ),
        ("10.pgm", b"P5 4 1 1023\n" + struct.pack(">4H", 0, 512, 1023, 4), [0, 128, 255, 1]),
        ("12.pgm", b"P5 4 1 4095\n" + struct.pack(">4H", 0, 2048, 4095, 16), [0, 128, 255, 1]),
        ("3.pgm", b"P2 4 1 3\n0 1 2 3\n", [0, 85, 170, 255]),
        ("4.png", png((4, 1, 4, 0), zlib.compress(b"\0\x05\xaf")), [0, 85, 170, 255]),
    ],
)
def test_the_depth_is_that_which_the_file_states(name, content, expected, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert read_image(tmp_path / name)[0, :, 1].tolist() == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("32.tif", tiff(32, struct.pack("<4I", 0, 80, 160, 255))),
        ("32, signed.tif", tiff(32, struct.pack("<4i", 0, 80, 160, 255), sample_format=2)),
        ("16, signed.tif", tiff(16, struct.pack("<4h", -9, 80, 160, 255), sample_format=2)),
        ("float.tif", tiff(32, struct.pack("<4f", 0, 0.2, 0.5, 1), sample_format=3)),
        ("8, signed.tif", tiff(8, bytes([0, 80, 127, 255]), sample_format=2)),
        ("large.pfm", b"Pf 1 1 -1\n" + struct.pack("<f", 0.5)),
    ],
)
def test_what_states_no_white_is_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match="expected 8 or 16 bits a channel, whole numbers from 0"):
        read_image(tmp_path / name)


# --- what is left out


def test_what_is_left_out_is_named(tmp_path):
    picture = Image.new("RGB", (8, 8))
    exif, xmp = camera_data(), b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    picture.save(tmp_path / "a.jpg", exif=exif, comment=b"hello", xmp=xmp, icc_profile=b"short")
    profile = "a colour profile that is damaged or does not fit"
    expected = ("camera data", profile, "XMP", "comments")
    assert read_picture(tmp_path / "a.jpg").left_out == expected
    assert read_picture(tmp_path / "a.jpg", keep_exif=True).left_out == expected[1:]
    write_image(tmp_path / "plain.png", np.zeros((4, 4, 3), np.uint8))
    assert read_picture(tmp_path / "plain.png").left_out == ()


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_damaged_camera_data_do_not_cost_the_picture(ending, tmp_path):
    Image.new("RGB", (8, 4)).save(tmp_path / f"a.{ending}", exif=b"Exif\0\0garbage-not-tiff")
    picture = read_picture(tmp_path / f"a.{ending}", keep_exif=True)
    assert picture.pixels.shape == (4, 8, 3)
    assert picture.metadata.exif == b""
    assert picture.left_out == ("damaged camera data",)


@pytest.mark.parametrize(
    "note",
    [
        png_chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(10**8))),
        png_chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(10**8))),
        png_chunk(b"iCCP", b"name\0\7" + b"odd"),
        png_chunk(b"tEXt", b"key\0value")[:-4] + b"crc?",
    ],
)
def test_damaged_notes_do_not_cost_the_picture(note, tmp_path, photograph):
    write_image(tmp_path / "a.png", photograph)
    content = (tmp_path / "a.png").read_bytes()
    at = content.index(b"IDAT") - 4
    (tmp_path / "b.png").write_bytes(content[:at] + note + content[at:])
    picture = read_picture(tmp_path / "b.png")
    np.testing.assert_array_equal(picture.pixels, photograph)
    assert picture.left_out == ("damaged notes",)


@pytest.mark.parametrize("damage", ["eXIf", "acTL"])
def test_damaged_chunks_of_other_kinds_do_not_cost_a_picture(damage, tmp_path, photograph):
    write_image(tmp_path / "a.png", photograph, Metadata(exif=camera_data().tobytes()))
    content = (tmp_path / "a.png").read_bytes()
    chunk = png_chunk(b"acTL", b"\0") if damage == "acTL" else b""
    at = content.index(b"IDAT") - 4
    content = content[:at] + chunk + content[at:]
    if damage == "eXIf":  # its checksum
        end = content.index(b"eXIf") + 4 + int.from_bytes(content[content.index(b"eXIf") - 4 :][:4])
        content = content[:end] + b"crc?" + content[end + 4 :]
    (tmp_path / "b.png").write_bytes(content)
    picture = read_picture(tmp_path / "b.png")
    np.testing.assert_array_equal(picture.pixels, photograph)
    assert "damaged notes" in picture.left_out


@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xEE, 0xFE])
def test_a_short_segment_does_not_cost_a_jpeg(marker, tmp_path, photograph):
    Image.fromarray(photograph).save(tmp_path / "a.jpg", quality=95)
    content = (tmp_path / "a.jpg").read_bytes()
    start = content.index(b"JFIF") - 4
    rest = content[start + 2 + int.from_bytes(content[start + 2 : start + 4]) :]
    names = {0xE0: b"JFIF", 0xE1: b"Exif\0\0", 0xEE: b"Adobe", 0xFE: b""}
    segment = bytes([0xFF, marker]) + struct.pack(">H", 2 + len(names[marker])) + names[marker]
    (tmp_path / "b.jpg").write_bytes(content[:start] + segment + rest)
    np.testing.assert_array_equal(
        read_picture(tmp_path / "b.jpg").pixels, read_picture(tmp_path / "a.jpg").pixels
    )


def test_a_damaged_profile_is_named(tmp_path):
    for profile in (SRGB[:200], SRGB[:36] + b"what" + SRGB[40:]):
        Image.new("RGB", (4, 4)).save(tmp_path / "a.png", icc_profile=profile)
        picture = read_picture(tmp_path / "a.png")
        assert picture.metadata.icc == b""
        assert picture.left_out == ("a colour profile that is damaged or does not fit",)


def test_what_is_no_source_is_named(photograph, tmp_path):
    for source in (None, 5, b"a.png", photograph):
        with pytest.raises(TypeError, match="source must be a path, or a file opened for reading"):
            read_picture(source)
    (tmp_path / "a.txt").write_text("text")
    with (tmp_path / "a.txt").open() as file, pytest.raises(TypeError, match="source must be"):
        read_picture(file)
    with pytest.raises(TypeError, match="frame must be a whole number from 1. Received: '1'"):
        read_picture(tmp_path / "a.txt", frame="1")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match="Received: an empty file"):
        read_picture(tmp_path / "empty.png")


@pytest.mark.parametrize("damage", ["", "no digits"])
def test_camera_data_as_imagemagick_writes_them_are_kept(damage, tmp_path):
    block = camera_data().tobytes()
    text = f"\nexif\n{len(block):8}\n" + "\n".join(textwrap.wrap(block.hex() + damage, 72)) + "\n"
    notes = PngInfo()
    notes.add_text("Raw profile type exif", text, zip=True)
    Image.new("RGB", (8, 4)).save(tmp_path / "a.png", pnginfo=notes)
    picture = read_picture(tmp_path / "a.png", keep_exif=True)
    assert picture.metadata.exif == (b"" if damage else block)
    assert picture.left_out == (("damaged camera data",) if damage else ())


def test_letters_beyond_ascii_survive_to_the_last_byte(tmp_path):
    name = "Jörg Ångström\0".encode()
    block = b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x013B, 2, len(name), 26, 0) + name
    for ending in ("jpg", "png", "webp"):
        Image.new("RGB", (8, 4)).save(tmp_path / f"a.{ending}", exif=b"Exif\0\0" + block)
        picture = read_picture(tmp_path / f"a.{ending}", keep_exif=True)
        assert picture.metadata.exif == b"Exif\0\0" + block
        write_image(tmp_path / f"back.{ending if ending != 'jpg' else 'png'}", *picture[:2])
        again = read_picture(tmp_path / f"back.{ending if ending != 'jpg' else 'png'}", keep_exif=1)
        assert again.metadata == picture.metadata


@pytest.mark.parametrize("big", [False, True])
def test_camera_data_of_a_tiff_file_can_be_read_by_others(big, tmp_path):
    Image.new("RGB", (8, 4)).save(tmp_path / "a.tif", big_tiff=big, description="a forest")
    kept = read_picture(tmp_path / "a.tif", keep_exif=True).metadata
    assert parsed(kept.exif)[ExifTags.Base.ImageDescription] == "a forest"
    write_image(tmp_path / "a.png", np.zeros((4, 8, 3), np.uint8), kept)
    assert read_picture(tmp_path / "a.png", keep_exif=True).metadata == kept


@pytest.mark.parametrize("frame", [1, 2, 3])
def test_a_frame_can_be_chosen(frame, tmp_path):
    pages = [Image.new("L", (4 + n, 4), 100 * n) for n in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    picture = read_picture(tmp_path / "a.tif", frame=frame)
    assert picture.pixels.shape == (4, 3 + frame, 3)
    assert picture.pixels.max() == 100 * (frame - 1)
    assert picture.left_out == ("2 more frames",)


def test_a_side_that_no_file_can_hold_is_refused_before_decoding(tmp_path, monkeypatch):
    (tmp_path / "wide.png").write_bytes(png((100_000, 999, 8, 6)))
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=r"100 megapixels and 65,535 pixels a side"):
        read_image(tmp_path / "wide.png")


def test_a_picture_can_be_read_from_an_open_file(photograph, tmp_path):
    write_image(tmp_path / "a.png", photograph)
    with (tmp_path / "a.png").open("rb") as file:
        np.testing.assert_array_equal(read_picture(file).pixels, photograph)
    with pytest.raises(ImageError, match="the input: expected a picture"):
        read_picture(io.BytesIO(b"no picture"))


def test_no_program_is_started_for_a_picture(tmp_path):
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    with pytest.raises(ImageError, match="of a kind that Pillow does not know"):
        read_image(tmp_path / "a.eps")


UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


# --- transparency


@pytest.mark.parametrize(
    ("pillow_mode", "values", "transparent", "alpha"),
    [
        ("P", np.uint8([[0, 1]]), 1, [255, 0]),
        ("P", np.uint8([[0, 1]]), b"\x07\xfe", [7, 254]),
        ("1", np.array([[False, True]]), 255, [255, 0]),
        ("L", np.uint8([[0, 1]]), 1, [255, 0]),
        ("I;16", np.uint16([[0, 1]]), 1, [255, 0]),
        ("RGB", np.uint8([[[1, 2, 3], [1, 2, 4]]]), (1, 2, 3), [0, 255]),
    ],
)
def test_a_transparent_value_is_understood(pillow_mode, values, transparent, alpha, tmp_path):
    picture = Image.fromarray(values)
    if pillow_mode == "P":
        picture.putpalette([10, 20, 30, 200, 100, 50])
    assert picture.mode == pillow_mode
    picture.save(tmp_path / "hole.png", transparency=transparent)
    assert read_picture(tmp_path / "hole.png").metadata.alpha.tolist() == [alpha]


@pytest.mark.parametrize("pillow_mode", ["RGBA", "LA", "P", "1", "L", "RGB", "CMYK", "I;16"])
def test_an_opaque_picture_has_no_transparency(pillow_mode, tmp_path):
    picture = Image.new("L", (4, 4), 100).convert(pillow_mode)
    if pillow_mode == "P":
        picture.info["transparency"] = b"\xff" * 256
    picture.save(tmp_path / "opaque.tif" if pillow_mode == "CMYK" else tmp_path / "opaque.png")
    assert read_picture(next(tmp_path.iterdir())).metadata == NO_METADATA


@pytest.mark.parametrize(("orientation", "upright"), UPRIGHT.items())
def test_colours_and_transparency_are_turned_upright(orientation, upright, tmp_path, see_through):
    glass = np.dstack([see_through, see_through])
    path = tmp_path / "turned.png"
    Image.fromarray(glass).save(path, exif=camera_data(orientation))
    picture = read_picture(path, keep_exif=True)
    np.testing.assert_array_equal(picture.metadata.alpha, upright(see_through))
    np.testing.assert_array_equal(picture.pixels[..., 1], upright(see_through))
    assert ExifTags.Base.Orientation not in parsed(picture.metadata.exif)


@pytest.mark.parametrize("depth", [1, 3])
def test_sixteen_bit_colour_keeps_its_upper_byte(depth, tmp_path):
    colour_type = {1: 4, 3: 6}[depth]  # grey or colour, with transparency
    row = struct.pack(f">{depth + 1}H", *[0x12FF] * depth, 0x34FF)
    content = png((1, 1, 16, colour_type), zlib.compress(b"\0" + row))
    (tmp_path / "deep.png").write_bytes(content)
    pixels, metadata, _ = read_picture(tmp_path / "deep.png")
    assert (pixels.tolist(), metadata.alpha.tolist()) == ([[[0x12] * 3]], [[0x34]])


# --- colour profile


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("pillow_mode", ["RGB", "L"])
def test_an_rgb_profile_is_kept_to_the_last_bit(ending, pillow_mode, tmp_path):
    path = tmp_path / f"picture.{ending}"
    Image.new(pillow_mode, (4, 4)).save(path, icc_profile=SRGB)
    assert read_picture(path).metadata == Metadata(icc=SRGB)


def test_a_grey_profile_is_kept_for_grey_pictures_only(tmp_path):
    grey = profile_for(b"GRAY")
    for pillow_mode, colour, kept in (
        ("L", 7, grey),
        ("RGB", (7, 7, 7), grey),
        ("RGB", (7, 8, 7), b""),
    ):
        Image.new(pillow_mode, (4, 4), colour).save(tmp_path / "picture.png", icc_profile=grey)
        assert read_picture(tmp_path / "picture.png").metadata.icc == kept


@pytest.mark.parametrize(
    ("pillow_mode", "profile"),
    [
        ("CMYK", profile_for(b"CMYK")),
        ("CMYK", SRGB),
        ("RGB", profile_for(b"CMYK")),
        ("RGB", profile_for(b"Lab ")),
        ("L", b"short"),
    ],
)
def test_a_profile_that_does_not_fit_is_dropped(pillow_mode, profile, tmp_path):
    Image.new(pillow_mode, (4, 4)).save(tmp_path / "picture.tif", icc_profile=profile)
    assert read_picture(tmp_path / "picture.tif").metadata.icc == b""


# --- camera data


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_camera_data_are_kept_only_if_asked_for(ending, orientation, tmp_path):
    path = tmp_path / f"picture.{ending}"
    Image.new("RGB", (8, 4)).save(path, exif=camera_data(orientation).tobytes())
    assert read_picture(path).metadata == NO_METADATA
    pixels, metadata, _ = read_picture(path, keep_exif=True)
    assert pixels.shape == ((8, 4, 3) if orientation == 6 else (4, 8, 3))
    exif = parsed(metadata.exif)
    own = {ExifTags.Base.Make, ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo}
    assert set(exif) <= {*own, ExifTags.Base.XResolution, ExifTags.Base.YResolution}
    assert exif[ExifTags.Base.Make] == "Maker"
    assert exif.get_ifd(ExifTags.IFD.Exif) == {ExifTags.Base.ExposureTime: 0.5}
    assert exif.get_ifd(ExifTags.IFD.GPSInfo) == {ExifTags.GPS.GPSLatitudeRef: "N"}


@pytest.mark.parametrize("tags", [{}, {ExifTags.Base.Orientation: 3}])
def test_a_picture_without_camera_data_or_with_an_orientation_alone_has_none_to_keep(
    tags, tmp_path
):
    exif = Image.Exif()
    exif.update(tags)
    Image.new("RGB", (8, 4)).save(tmp_path / "picture.png", exif=exif)
    assert read_picture(tmp_path / "picture.png", keep_exif=True).metadata == NO_METADATA


# --- other sources


def test_more_than_a_hundred_megapixels_are_refused_before_decoding(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png((60_000, 60_000, 8, 2)))
    with pytest.raises(ImageError, match=r"bomb\.png: expected at most 100 megapixels"):
        read_image(tmp_path / "bomb.png")


def test_a_hundred_megapixels_are_within_the_limit(tmp_path):
    (tmp_path / "large.png").write_bytes(png((10_000, 10_000, 8, 2)))
    with pytest.raises(ImageError, match="damaged file"):
        read_image(tmp_path / "large.png")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"absent\.png: expected a readable picture.*No such file"):
        read_image(tmp_path / "absent.png")


def test_changed_bytes_never_end_in_another_exception(tmp_path, photograph, rng):
    path = tmp_path / "changed"
    messages = []
    for pillow_format in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"):
        Image.fromarray(photograph[:16, :16]).save(path, pillow_format)
        whole = np.fromfile(path, np.uint8)
        for _ in range(60):
            changed = whole.copy()
            places = rng.integers(0, min(changed.size, 200), 3)
            changed[places] = rng.integers(0, 256, 3)
            changed.tofile(path)
            try:
                check_rgb(read_image(path))
            except ImageError as error:
                messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)


# --- writing


GLASS = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9).map(lambda shape: (*shape, 4))
)


@given(glass=GLASS, ending=st.sampled_from(["png", "tif", "webp"]))
def test_a_picture_with_transparency_is_read_back_to_the_last_bit(glass, ending, tmp_path_factory):
    image, alpha = glass[..., :3], glass[..., 3]
    path = tmp_path_factory.mktemp("picture") / f"glass.{ending}"
    write_image(path, image, Metadata(alpha, SRGB))
    restored, metadata, _ = read_picture(path)
    np.testing.assert_array_equal(restored, image)
    assert metadata.icc == SRGB
    kept = np.full_like(alpha, 255) if metadata.alpha is None else metadata.alpha
    np.testing.assert_array_equal(kept, alpha)


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_colours_that_nobody_sees_are_written_too(ending, tmp_path, photograph):
    alpha = np.zeros(photograph.shape[:2], np.uint8)
    write_image(tmp_path / f"glass.{ending}", photograph, Metadata(alpha))
    restored, metadata, _ = read_picture(tmp_path / f"glass.{ending}")
    np.testing.assert_array_equal(restored, photograph)
    np.testing.assert_array_equal(metadata.alpha, alpha)


@pytest.mark.parametrize("ending", ["bmp", "ppm", "BMP"])
def test_transparency_is_refused_where_there_is_no_place_for_it(ending, tmp_path, photograph):
    alpha = np.full(photograph.shape[:2], 7, np.uint8)
    with pytest.raises(ImageError, match=r"expected an opaque picture.*\.png \.tif \.webp"):
        write_image(tmp_path / f"glass.{ending}", photograph, Metadata(alpha))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("metadata", "pillow_mode"),
    [
        (NO_METADATA, "L"),
        (Metadata(alpha=np.zeros((179, 205), np.uint8)), "LA"),
        (Metadata(icc=profile_for(b"GRAY")), "L"),
        (Metadata(icc=SRGB), "RGB"),
        (Metadata(np.zeros((179, 205), np.uint8), SRGB), "RGBA"),
    ],
)
def test_grey_is_written_in_one_channel_unless_its_profile_needs_three(
    metadata, pillow_mode, tmp_path, photograph
):
    image = np.repeat(photograph[..., :1], 3, axis=2)
    write_image(tmp_path / "grey.png", image, metadata, grey=True)
    assert mode(metadata, True) == pillow_mode
    with Image.open(tmp_path / "grey.png") as file:
        assert file.mode == pillow_mode
    restored, kept, _ = read_picture(tmp_path / "grey.png")
    np.testing.assert_array_equal(restored, image)
    assert kept.icc == metadata.icc


@pytest.mark.parametrize("ending", ["tif", "webp", "bmp", "ppm"])
def test_other_formats_take_grey_too(ending, tmp_path, photograph):
    image = np.repeat(photograph[..., :1], 3, axis=2)
    write_image(tmp_path / f"grey.{ending}", image, grey=True)
    np.testing.assert_array_equal(read_image(tmp_path / f"grey.{ending}"), image)


def test_colour_keeps_three_channels_with_a_grey_profile():
    assert mode(Metadata(icc=profile_for(b"GRAY")), grey=False) == "RGB"


@pytest.mark.parametrize("ending", ["png", "webp", "tif", "bmp"])
def test_camera_data_go_where_pillow_can_write_them(ending, tmp_path, photograph):
    path = tmp_path / f"picture.{ending}"
    exif = camera_data().tobytes()
    write_image(path, photograph, Metadata(icc=SRGB, exif=exif))
    kept = read_picture(path, keep_exif=True).metadata
    assert (kept.exif == exif) == (ending in ("png", "webp"))
    assert (kept.icc == SRGB) == (ending != "bmp")


def test_a_picture_that_a_format_cannot_hold_is_one_error(tmp_path):
    with pytest.raises(ImageError, match=r"long\.webp: the picture cannot be written"):
        write_image(tmp_path / "long.webp", np.zeros((1, 16384, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_endings_that_lose_information_are_refused(tmp_path, photograph):
    with pytest.raises(ImageError, match=r"expected an ending of \.png"):
        write_image(tmp_path / "picture.jpg", photograph)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, photograph):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(ImageError, match=r"picture\.png.*No space left on device"):
        write_image(path, photograph)
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
    assert path.read_bytes() == b"old"


def test_writing_into_a_missing_folder_is_refused(tmp_path, photograph):
    with pytest.raises(ImageError, match="No such file or directory"):
        write_image(tmp_path / "absent" / "picture.png", photograph)


def test_only_bytes_with_three_channels_are_written(tmp_path, photograph):
    with pytest.raises(TypeError, match=r"of uint8.*float64"):
        write_image(tmp_path / "a.png", photograph / 255)
    with pytest.raises(TypeError, match=r"of uint8.*list"):
        check_rgb(photograph.tolist())
    with pytest.raises(ValueError, match=r"\(height, width, 3\).*\(179, 205\)"):
        write_image(tmp_path / "a.png", photograph[..., 0])


def test_the_bundled_photographs_are_those_of_the_provenance_file():
    folder = resources.files("mrdcae_lite").joinpath("samples")
    rows = re.findall(
        r"^\| `(\w+)\.png` .* CC0-1\.0 \| (\d+) \| `([0-9a-f]{64})` \|$",
        folder.joinpath("README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert [name for name, _, _ in rows] == list(sample_names())
    for name, size, digest in rows:
        content = folder.joinpath(f"{name}.png").read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size), digest)


@pytest.mark.parametrize("name", sample_names())
def test_a_sample_is_a_colour_picture(name):
    image = sample(name)
    check_rgb(image)
    assert image.shape == (576, 576, 3)


def test_a_wrong_sample_name_is_answered_with_the_right_ones():
    with pytest.raises(ValueError, match=r"bulb, dog, flowers, .*, waves.*'lena'"):
        sample("lena")


def test_a_standard_picture_is_the_resized_centre_square(photograph):
    assert standardise(photograph, 64).shape == (64, 64, 3)
    centre = photograph[:, 13:192]
    np.testing.assert_array_equal(standardise(photograph, 179), centre)
