"""Files of format version 2 decode for ever, in any process and on any processor.

`data/` is rewritten by `pytest tests/golden --rewrite-golden` alone, from the shipped weights as
they are and a very small codec, and with it goes the promise to those who keep files: give the
reason in the commit.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import mrdcae_lite as mr
from mrdcae_lite.codec import Codec
from mrdcae_lite.coding import metadata
from mrdcae_lite.coding.metadata import Metadata
from mrdcae_lite.runtime.frozen import FrozenModel

DATA = Path(__file__).parent / "data"
SMALL = "golden"
"""The codec beside the files; other names are those of shipped ones."""

EXIF = b"Exif\0\0II*\0\x08\0\0\0\1\0\x0f\1\2\0\4\0\0\0Me!\0\0\0\0\0"  # the maker alone


def pictures():
    """By the name of the file: its codec, the picture, what `Codec.compress` is given."""
    photograph = mr.sample("flowers")
    mirrored = np.concatenate([photograph, photograph[:, ::-1]], axis=1)
    grey = np.repeat(photograph[200:260, 100:170, 1:2], 3, axis=2)
    kept = Metadata(np.arange(4200).astype(np.uint8).reshape(60, 70), b"profile", EXIF)
    mixed = np.random.default_rng(1).integers(1, 4, (8, 10), np.uint8)
    corner = np.array([[3, 2, 1, 1], [2, 1, 1, 1]], np.uint8)
    half_drawn = mirrored[100:170, 30:1070].copy()
    half_drawn[:, :576] = 255  # the first of two tiles
    half_drawn[10:60:4, 20:550] = (200, 0, 30)
    half_drawn[:, 576:860] = 240  # so that filters are measured in the second
    dots = np.random.default_rng(2).random((30, 60, 1)) < 0.5
    half_drawn[20:50, 700:760] = np.where(dots, 0, 255)
    alpha = np.arange(half_drawn[..., 0].size).reshape(half_drawn.shape[:2]) // 300
    glass = Metadata(alpha.astype(np.uint8))
    return {
        "smooth": (SMALL, smooth(40, 70), {"quality": 0, "routing": corner}),
        "flat": (SMALL, np.full((40, 70, 3), (30, 90, 200), np.uint8), {"quality": 0}),
        "one pixel": (SMALL, photograph[300:301, 300:301], {"quality": 50}),
        "photograph": (SMALL, photograph[300:370, 200:245], {"quality": 95}),
        "two tiles": (SMALL, mirrored[100:109, 30:1060], {"quality": 15}),
        "grey": (SMALL, grey, {"quality": 20, "metadata": kept}),
        "half drawn": (SMALL, half_drawn, {"quality": 35, "metadata": glass}),
        "mixed": (SMALL, photograph[100:350, 100:400], {"quality": 25, "routing": mixed}),
        "lite, photograph": ("lite", photograph[150:390, 60:380], {"quality": 20}),
        "lite, mixed": ("lite", photograph[100:350, 100:400], {"quality": 50, "routing": mixed}),
        "lite, half drawn": ("lite", half_drawn, {"quality": 50, "metadata": glass}),
        "lite, grey": ("lite", grey, {"quality": 40, "metadata": kept}),
        "standard, photograph": ("standard", photograph[300:370, 200:245], {"quality": 60}),
    }


def smooth(height, width):
    """Slow waves in colour."""
    y, x, colour = np.ogrid[:height, :width, :3]
    waves = 120 + 60 * np.sin((3 * y + 2 * x) / 40 + colour) + 30 * np.cos((x - y) / 25 - colour)
    return waves.astype(np.uint8)


PICTURES = pictures()
NAMES = tuple(PICTURES)


def golden_codec():
    """A very small model whose weights take few values, so that its file is small too."""
    from mrdcae_lite.training.backend import keras

    keras.utils.set_random_seed(1)
    frozen = mr.MRDCAE(deblocking=2, refinement=2, prior_width=4).freeze()
    rng = np.random.default_rng(1)
    transforms = {}
    for name, array in frozen.transform_weights.items():
        noise = rng.choice([-0.05, 0, 0, 0.05], array.shape)
        if name.endswith("/offset"):
            noise *= rng.random(array.shape) < 0.02
        transforms[name] = (np.rint((array + noise) * 20) / 20).astype(np.float16)
    return Codec(
        FrozenModel(frozen.architecture, transforms, frozen.context_weights, frozen.tables)
    )


def digest(symbols, routing):
    whole = hashlib.sha256(routing.tobytes())
    for level in symbols:
        whole.update(level.astype("<i4").tobytes())
    return whole.hexdigest()


def codec_of(name):
    """The codec that a golden file was made with."""
    codec = PICTURES[name][0]
    return (
        Codec.read((DATA / "golden.keras-codec").read_bytes()) if codec == SMALL else mr.load(codec)
    )


@pytest.fixture(scope="module", autouse=True)
def rewritten(pytestconfig):
    if pytestconfig.getoption("--rewrite-golden"):
        DATA.mkdir(exist_ok=True)
        for old in DATA.iterdir():
            old.unlink()
        golden_codec().save(DATA / "golden.keras-codec")
        digests = {}
        for name, (_, picture, options) in PICTURES.items():
            codec = codec_of(name)
            data = codec.compress(picture, **options)
            (DATA / f"{name}.mrdc").write_bytes(data)
            mr.write_image(DATA / f"{name}.png", codec.decompress(data))
            digests[name] = digest(*codec.read_symbols(data)[:2])
        (DATA / "symbols.json").write_text(json.dumps(digests, indent=2) + "\n")


@pytest.fixture(scope="module")
def digests(rewritten):
    return json.loads((DATA / "symbols.json").read_text())


def golden(name):
    return (DATA / f"{name}.mrdc").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_has_the_symbols_and_the_pixels_it_always_had(name, digests):
    codec, data = codec_of(name), golden(name)
    assert digest(*codec.read_symbols(data)[:2]) == digests[name]
    expected = mr.read_image(DATA / f"{name}.png").astype(int)
    assert abs(codec.decompress(data) - expected).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_keeps_what_it_always_kept_beside_its_colours(name):
    kept = PICTURES[name][2].get("metadata", Metadata())
    assert metadata.read_metadata(golden(name)) == kept


def test_the_golden_files_show_everything_that_a_file_may_have():
    assert {path.stem for path in DATA.glob("*.mrdc")} == {*NAMES}
    headers = {name: mr.info(golden(name)) for name in NAMES}
    for codec in (SMALL, "lite"):
        names = [name for name in NAMES if PICTURES[name][0] == codec]
        levels = [codec_of(name).read_symbols(golden(name))[1] for name in names]
        assert any(np.bincount(routing.flat, minlength=4)[1:].min() >= 10 for routing in levels)
        assert any(headers[name].grey for name in names)
        assert any(headers[name].unfiltered for name in names)
        assert any(headers[name].stored and headers[name].width > 1024 for name in names)
        assert any(metadata.read_metadata(golden(name)).alpha is not None for name in names)
    beside = headers["half drawn"]
    assert beside.stored
    assert beside.lengths[3] > 0
