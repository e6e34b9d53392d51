import hashlib
import re
import struct
import zlib
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from mrdcae_lite.images import (
    ImageError,
    check_rgb,
    read_image,
    sample,
    sample_names,
    write_atomically,
    write_image,
)


def png_with_declared_size(width, height):
    def chunk(kind, body):
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("ending", [".png", ".PNG", ".tif", ".tiff", ".webp", ".bmp", ".ppm"])
def test_a_written_picture_is_read_back_to_the_last_bit(ending, tmp_path, photograph):
    path = tmp_path / f"picture{ending}"
    write_image(path, photograph)
    restored = read_image(path)
    assert restored.dtype == np.uint8
    assert restored.flags.writeable
    np.testing.assert_array_equal(restored, photograph)


def test_grey_is_repeated_in_three_channels(tmp_path, photograph):
    grey = photograph[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, axis=2)
    )


def test_black_and_white_becomes_0_and_255(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
    assert read_image(tmp_path / "bits.png").tolist() == [[[255] * 3, [0] * 3]]


def test_a_palette_is_looked_up(tmp_path):
    picture = Image.fromarray(np.array([[0, 1, 1]], np.uint8), mode="P")
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.save(tmp_path / "palette.png")
    expected = [[[10, 20, 30], [200, 100, 50], [200, 100, 50]]]
    assert read_image(tmp_path / "palette.png").tolist() == expected


def test_opaque_alpha_is_dropped(tmp_path, photograph):
    alpha = np.full((*photograph.shape[:2], 1), 255, np.uint8)
    Image.fromarray(np.concatenate([photograph, alpha], axis=2)).save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read_image(tmp_path / "opaque.png"), photograph)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_refused(mode, tmp_path):
    picture = Image.new("L", (4, 4), 100).convert(mode)
    if mode == "P":
        picture.info["transparency"] = picture.getpixel((0, 0))
    else:
        picture.putalpha(Image.new("L", (4, 4), 254))
    picture.save(tmp_path / "glass.png")
    with pytest.raises(ImageError, match=r"glass\.png: expected an opaque picture"):
        read_image(tmp_path / "glass.png")


def test_cmyk_is_converted(tmp_path):
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "cyan.tif")
    assert read_image(tmp_path / "cyan.tif")[0, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bit_grey_is_rounded_to_eight_bits(ending, tmp_path):
    values = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"deep.{ending}")
    expected = np.round(values[0] / 257).tolist()
    assert expected == [0, 0, 1, 1, 128, 254, 255, 255]
    assert read_image(tmp_path / f"deep.{ending}")[0, :, 1].tolist() == expected


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_beyond_sixteen_bits_are_refused(dtype, tmp_path):
    Image.fromarray(np.full((4, 4), 70000, dtype)).save(tmp_path / "deep.tif")
    with pytest.raises(ImageError, match=r"deep\.tif: expected .* Convert it to"):
        read_image(tmp_path / "deep.tif")


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda x: x),
        (2, lambda x: x[:, ::-1]),
        (3, lambda x: x[::-1, ::-1]),
        (4, lambda x: x[::-1]),
        (5, lambda x: x.swapaxes(0, 1)),
        (6, lambda x: np.rot90(x, -1)),
        (7, lambda x: x[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda x: np.rot90(x)),
    ],
)
def test_exif_orientation_is_honoured(orientation, upright, tmp_path, photograph):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photograph).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), upright(photograph))


def test_the_first_of_several_frames_is_read(tmp_path):
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "frames.tif", save_all=True, append_images=[second])
    assert read_image(tmp_path / "frames.tif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (60_000, 60_000)])
def test_more_than_a_hundred_megapixels_are_refused_before_decoding(width, height, tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_with_declared_size(width, height))
    with pytest.raises(ImageError, match=r"bomb\.png: expected at most 100 megapixels"):
        read_image(tmp_path / "bomb.png")


def test_a_hundred_megapixels_are_within_the_limit(tmp_path):
    (tmp_path / "large.png").write_bytes(png_with_declared_size(10_000, 10_000))
    with pytest.raises(ImageError, match="damaged file"):
        read_image(tmp_path / "large.png")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"absent\.png: expected a readable picture.*No such file"):
        read_image(tmp_path / "absent.png")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ImageError, match="expected a readable picture"):
        read_image(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a picture\n"])
def test_what_is_no_picture_is_refused(content, tmp_path):
    (tmp_path / "note.png").write_bytes(content)
    with pytest.raises(ImageError, match="of a kind that Pillow does not know"):
        read_image(tmp_path / "note.png")


@pytest.mark.parametrize("pillow_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_truncated_picture_is_refused_in_one_line(pillow_format, tmp_path, photograph):
    Image.fromarray(photograph).save(tmp_path / "whole", pillow_format)
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "part").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"part: expected [^\n]*\Z"):
        read_image(tmp_path / "part")


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


@pytest.mark.parametrize("name", ["picture.jpg", "picture"])
def test_endings_that_lose_information_are_refused(name, tmp_path, photograph):
    with pytest.raises(ImageError, match=r"expected an ending of \.png"):
        write_image(tmp_path / name, photograph)
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


def test_an_existing_file_is_replaced(tmp_path):
    path = tmp_path / "data.bin"
    write_atomically(path, b"a long first content")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


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
