"""Pictures of every kind through the command line and back: as a person sees them, or refused."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

import mrdcae_lite as mr
from mrdcae_lite.cli import main

Way = Image.Transpose
FLOWERS = Image.fromarray(mr.sample("flowers"))
COLOUR = FLOWERS.crop((100, 100, 340, 260))
GREY, DOTS, CMYK = COLOUR.convert("L"), COLOUR.convert("1"), COLOUR.convert("CMYK")
FADING = Image.linear_gradient("L").resize(COLOUR.size)
GLASS = Image.merge("RGBA", (*COLOUR.split(), FADING))
GREY_GLASS = Image.merge("LA", (GREY, FADING))
PALETTE = COLOUR.convert("P", palette=Image.Palette.ADAPTIVE)
LOOKED_UP = PALETTE.convert("RGB")
SIXTEEN = np.asarray(GREY).astype(np.uint16) * 257
FRAMES: dict[str, Any] = {"save_all": True, "append_images": [COLOUR.transpose(Way.ROTATE_180)]}
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATIONS = {2: Way.FLIP_LEFT_RIGHT, 3: Way.ROTATE_180, 4: Way.FLIP_TOP_BOTTOM}
ORIENTATIONS |= {5: Way.TRANSPOSE, 6: Way.ROTATE_90, 7: Way.TRANSVERSE, 8: Way.ROTATE_270}


def pierced(picture: Image.Image, values: Image.Image, hole: Any) -> Image.Image:
    """The picture with the pixels of one value transparent."""
    there = (np.asarray(values) == hole).reshape(picture.height, picture.width, -1).all(axis=2)
    found = picture.copy()
    found.putalpha(Image.fromarray(np.where(there, 0, 255).astype(np.uint8)))
    return found


def turned(tag: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = tag
    return exif


def odd(stored: Image.Image, seen: Image.Image, least: float = 27.0, **options: Any) -> tuple:
    """A picture, what a person sees in the mode that must come back, dB at least, and how saved."""
    return stored, seen, least, options


HOLE, GREY_HOLE, PALETTE_HOLE = (p.getpixel((7, 9)) for p in (COLOUR, GREY, PALETTE))
GOOD = {
    **{
        f"{w}x{h}.png": odd(FLOWERS.crop((0, 0, w, h)), FLOWERS.crop((0, 0, w, h)))
        for w, h in ((1, 1), (1, 300), (511, 3), (33, 65))
    },
    **{f"plain.{kind}": odd(COLOUR, COLOUR) for kind in ("bmp", "ppm", "webp", "tif", "jp2")},
    "bilevel.png": odd(DOTS, DOTS.convert("L"), 20.0),
    "grey.png": odd(GREY, GREY),
    "sixteen.png": odd(Image.fromarray(SIXTEEN), GREY),
    "sixteen, high byte first.tif": odd(Image.fromarray(SIXTEEN.astype(">u2")), GREY),
    "integers.tif": odd(Image.fromarray(SIXTEEN.astype(np.int32)), GREY),
    "cmyk.jpg": odd(CMYK, COLOUR, quality=95),
    "cmyk.tif": odd(CMYK, COLOUR),
    "ycbcr.tif": odd(COLOUR.convert("YCbCr"), COLOUR),
    "fourth channel.tif": odd(COLOUR.convert("RGBX"), COLOUR),
    "palette.gif": odd(PALETTE, LOOKED_UP),
    "palette, a hole.png": odd(
        PALETTE, pierced(LOOKED_UP, PALETTE, PALETTE_HOLE), transparency=PALETTE_HOLE
    ),
    "palette, alpha.tif": odd(PALETTE.convert("PA"), LOOKED_UP),
    "colour, a hole.png": odd(COLOUR, pierced(COLOUR, COLOUR, HOLE), transparency=HOLE),
    "grey, a hole.png": odd(GREY, pierced(GREY, GREY, GREY_HOLE), transparency=GREY_HOLE),
    "alpha.png": odd(GLASS, GLASS),
    "alpha.webp": odd(GLASS, GLASS, lossless=True, exact=True),
    "grey, alpha.png": odd(GREY_GLASS, GREY_GLASS),
    "opaque.png": odd(COLOUR.convert("RGBA"), COLOUR),
    "profile.png": odd(COLOUR, COLOUR, icc_profile=PROFILE),
    "grey, profile of colours.png": odd(GREY, GREY.convert("RGB"), icc_profile=PROFILE),
    **{
        f"turned {tag}.jpg": odd(COLOUR.transpose(way), COLOUR, exif=turned(tag), quality=95)
        for tag, way in ORIENTATIONS.items()
    },
    "frames.gif": odd(PALETTE, LOOKED_UP, **FRAMES),
    **{f"frames.{kind}": odd(COLOUR, COLOUR, **FRAMES) for kind in ("png", "tif", "webp")},
}


@pytest.mark.parametrize("name", GOOD)
def test_an_odd_picture_comes_back_as_a_person_sees_it(name, tmp_path, capsys):
    stored, seen, least, options = GOOD[name]
    source, file, back = (tmp_path / n for n in (name, "file.mrdc", "back.png"))
    stored.save(source, **options)
    assert main(["compress", str(source), str(file)]) == 0
    assert main(["decompress", str(file), str(back)]) == 0
    assert capsys.readouterr().err == ""
    with Image.open(back) as found:
        assert (found.mode, found.size) == (seen.mode, seen.size)
        assert alpha(found) == alpha(seen)
        assert found.info.get("icc_profile") == options.get("icc_profile")
        shown = on_white(found)
    upright, *otherwise = [psnr(seen, shown), *(psnr(seen, shown.transpose(way)) for way in Way)]
    assert upright >= max(least, *otherwise)


def alpha(picture: Image.Image) -> bytes:
    return picture.getchannel("A").tobytes() if "A" in picture.getbands() else b""


def on_white(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def psnr(seen: Image.Image, shown: Image.Image) -> float:
    """In dB; 0 if the sizes differ."""
    if seen.size != shown.size:
        return 0.0
    return mr.psnr(np.asarray(on_white(seen)), np.asarray(shown), data_range=255)


# --- bad pictures

BAD = {
    "empty.png": (None, "Pillow does not know"),
    "text.png": (b"not a picture\n", "Pillow does not know"),
    "broken.png": (b"\x89PNG\r\n\x1a\n" + b"junk" * 20, "Received: a"),
    **{f"cut {kind}.{kind}": (COLOUR, "a damaged file") for kind in ("png", "jpg", "webp", "tif")},
    "float.tif": (GREY.convert("F"), "Received: a picture of mode F"),
    "lab.tif": (Image.new("LAB", (9, 9)), "Received: a picture of mode LAB"),
    "beyond 16 bits.tif": (Image.fromarray(SIXTEEN * np.int32(2)), "values from 0 to 65535"),
    "enormous.png": (Image.new("1", (10_001, 10_000)), "at most 100 megapixels"),
}


def save_bad(name, folder):
    content, path = BAD[name][0], folder / name
    if isinstance(content, Image.Image):
        content.save(path)
        content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if name.startswith("cut") else content or b"")
    return path


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_refused_in_one_line_that_names_it(name, tmp_path, capsys):
    source = save_bad(name, tmp_path)
    assert main(["compress", str(source)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mrdcae: {source}: ")
    assert BAD[name][1] in line
    assert list(tmp_path.iterdir()) == [source]


def test_bad_pictures_do_not_stop_the_good_ones_of_a_folder(tmp_path, capsys):
    pictures, files, back = (tmp_path / name for name in ("pictures", "files", "back"))
    pictures.mkdir()
    for name in BAD:
        save_bad(name, pictures)
    good = ["1x1.png", "511x3.png", "palette.gif"]
    for name in good:
        GOOD[name][0].save(pictures / name)
    times = []
    for _ in range(2):
        assert main(["compress", str(pictures), "--to", str(files)]) == 1
        lines = capsys.readouterr().err.splitlines()
        for name, line in zip(sorted(BAD), lines, strict=True):
            assert str(pictures / name) in line
        times.append({path.stem: path.stat().st_mtime_ns for path in files.iterdir()})
    assert times[0] == times[1]
    assert sorted(times[0]) == [name.split(".")[0] for name in good]
    assert main(["decompress", str(files), "--to", str(back)]) == 0
    assert capsys.readouterr().err == ""
    assert len(list(back.iterdir())) == len(good)
