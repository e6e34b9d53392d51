"""Pictures of every kind through the command line and back: as a person sees them, or refused.

And pictures that nobody photographed through the codec: what it promises holds for them too. They
are drawn by Hypothesis, always the same; `pytest tests/fuzz --examples 400` draws 400 new ones for
each promise.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageDraw

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
    "empty.png": (None, "an empty file"),
    "text.png": (b"not a picture\n", "Pillow does not know"),
    "broken.png": (b"\x89PNG\r\n\x1a\n" + b"junk" * 20, "Received: a"),
    **{f"cut {kind}.{kind}": (COLOUR, "a damaged file") for kind in ("png", "jpg", "webp", "tif")},
    "float.tif": (GREY.convert("F"), "Received: a picture of mode F"),
    "lab.tif": (Image.new("LAB", (9, 9)), "Received: a picture of mode LAB"),
    "integers.tif": (Image.fromarray(SIXTEEN.astype(np.int32)), "signed integers of 32 bits"),
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


# --- pictures that are no photographs

LITE = mr.load("lite")
LARGEST_SIDE = 200


def two_colours(rng: np.random.Generator, which: NDArray[Any]) -> NDArray[np.uint8]:
    """Any two colours, by an array of 0 and 1; half of the time they are black and white."""
    colours = rng.integers(0, 256, (2, 3)) if rng.random() < 0.5 else np.array([[0] * 3, [255] * 3])
    return colours[which].astype(np.uint8)


def board(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.ogrid[:height, :width]
    side = rng.integers(1, 17)
    return two_colours(rng, (y // side + x // side) % 2)


def stripes(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.ogrid[:height, :width]
    across, down, period = rng.integers(0, 3), rng.integers(0, 3), rng.integers(2, 18)
    return two_colours(rng, (across * x + down * y) % period * 2 // period)


def text(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    paper, ink = two_colours(rng, np.array([0, 1])).tolist()
    picture = Image.new("RGB", (width, height), tuple(paper))
    for top in range(0, height, int(rng.integers(8, 20))):
        letters = "".join(map(chr, rng.integers(32, 127, 60)))
        ImageDraw.Draw(picture).text((int(rng.integers(-5, 10)), top), letters, tuple(ink))
    return np.asarray(picture)


def gradient(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.ogrid[:height, :width]
    slope = rng.normal(size=2)
    way = slope[0] * y + slope[1] * x
    share = (way - way.min()) / max(np.ptp(way), 1e-9)
    first, last = two_colours(rng, np.array([0, 1])).astype(float)
    return np.rint(first + share[..., None] * (last - first)).astype(np.uint8)


def dithered(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    smooth = Image.fromarray(gradient(rng, height, width))
    number = int(rng.integers(2, 17))
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.linspace(0, 255, number).astype(np.uint8).repeat(3).tobytes())
    return np.asarray(
        smooth.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")
    )


def few_colours(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    colours = rng.integers(0, 256, (rng.integers(2, 17), 3), np.uint8)
    return colours[rng.integers(0, len(colours), (height, width))]


def lines(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    paper, *inks = rng.integers(0, 256, (4, 3)).tolist()
    picture = Image.new("RGB", (width, height), tuple(paper))
    for _ in range(rng.integers(1, 12)):
        ends = rng.integers(-20, 20 + max(height, width), 4).tolist()
        ImageDraw.Draw(picture).line(ends, tuple(inks[rng.integers(3)]))
    return np.asarray(picture)


def flat(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)


KINDS = {
    f.__name__: f for f in (board, stripes, text, gradient, dithered, few_colours, lines, flat)
}


def drawn(kind: str, height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """A picture of a kind; the seed decides its colours and all else."""
    return KINDS[kind](np.random.default_rng(seed), height, width)


SIDES = st.one_of(st.integers(1, LARGEST_SIDE), st.sampled_from([1, 2, 31, 32, 33, 63, 64, 65]))
DRAWN = st.tuples(st.sampled_from([*KINDS]), SIDES, SIDES, st.integers(0, 999))
QUALITY, EFFORT = st.integers(0, 100), st.sampled_from([1, 3])


def decibels(picture: NDArray[np.uint8], data: bytes) -> float:
    return mr.psnr(picture, LITE.decompress(data), data_range=255)


def holds(
    check: Callable[..., None], pytestconfig: pytest.Config, *more: st.SearchStrategy
) -> None:
    """Check something of drawn pictures, with more that is drawn beside them."""
    number = pytestconfig.getoption("--examples")
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    few = settings(max_examples=number or 15, derandomize=not number, suppress_health_check=slow)

    @few
    @given(st.tuples(DRAWN, *more))
    def attempt(case):
        which, *others = case
        check(drawn(*which), *others)

    attempt()


def test_a_drawn_picture_comes_back_in_its_shape(pytestconfig):
    def check(picture, quality, effort):
        found = LITE.decompress(LITE.compress(picture, quality, effort=effort))
        assert (found.shape, found.dtype) == (picture.shape, np.uint8)

    holds(check, pytestconfig, QUALITY, EFFORT)


def all_levels(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    unit = LITE.architecture.unit
    rows, columns = (-(-side // unit) * unit // 32 for side in picture.shape[:2])
    return np.full((rows, columns), 3, np.uint8)


def test_leaving_levels_out_costs_little(pytestconfig):
    def check(picture, quality, effort):
        compress = partial(LITE.compress, picture, quality, effort=effort)
        everything = decibels(picture, compress(routing=all_levels(picture)))
        assert decibels(picture, compress()) >= everything - 0.3

    holds(check, pytestconfig, QUALITY, EFFORT)


def test_the_best_quality_is_good_and_no_larger_than_the_pixels(pytestconfig):
    def check(picture, effort):
        data = LITE.compress(picture, 100, effort=effort)
        assert decibels(picture, data) >= 42
        assert len(data) <= 1.01 * picture.size + 120

    holds(check, pytestconfig, EFFORT)


def test_a_higher_quality_is_no_worse(pytestconfig):
    def check(picture, effort, *qualities):
        files = [LITE.compress(picture, q, effort=effort) for q in sorted(qualities)]
        worse, better = (min(50, decibels(picture, file)) for file in files)
        assert better >= worse - 0.1

    holds(check, pytestconfig, EFFORT, QUALITY, QUALITY)


def rate(picture: NDArray[np.uint8], data: bytes) -> float:
    return 8 * len(data) / (picture.shape[0] * picture.shape[1])


def test_a_target_of_bits_is_kept(pytestconfig):
    def check(picture, target):
        try:
            assert rate(picture, LITE.compress(picture, target_bpp=target)) <= target
        except ValueError:
            assert rate(picture, LITE.compress(picture, 0)) > target

    holds(check, pytestconfig, st.floats(0.01, 30))


def test_a_target_of_decibels_is_kept(pytestconfig):
    def check(picture, target):
        assert decibels(picture, LITE.compress(picture, target_psnr=target)) >= target

    holds(check, pytestconfig, st.floats(5, 70))


def test_no_larger_file_keeps_a_target_of_bits(pytestconfig):
    def check(picture, target, quality):
        other = LITE.compress(picture, quality)
        if rate(picture, other) <= target:
            assert len(other) <= len(LITE.compress(picture, target_bpp=target))

    holds(check, pytestconfig, st.floats(0.01, 30), QUALITY)


def test_no_smaller_file_keeps_a_target_of_decibels(pytestconfig):
    def check(picture, target, quality):
        other = LITE.compress(picture, quality)
        if decibels(picture, other) >= target:
            assert len(other) >= len(LITE.compress(picture, target_psnr=target))

    holds(check, pytestconfig, st.floats(5, 70), QUALITY)
