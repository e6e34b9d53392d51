"""Files of format version 1 decode for ever, in any process and on any processor.

`data/` is rewritten by `pytest tests/golden --rewrite-golden` alone, and with it goes the promise
to those who keep files: give the reason in the commit.
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

DATA = Path(__file__).parent / "data"
NAMES = ("flat", "one pixel", "photograph", "two tiles", "grey")
KEPT = {"grey": Metadata(np.arange(20 * 30, dtype=np.uint8).reshape(20, 30), b"profile", b"camera")}


def pictures():
    photograph = mr.sample("flowers")
    mirrored = np.concatenate([photograph, photograph[:, ::-1]], axis=1)
    return {
        "flat": (np.full((40, 70, 3), (30, 90, 200), np.uint8), 0),
        "one pixel": (photograph[300:301, 300:301], 50),
        "photograph": (photograph[300:370, 200:245], 95),
        "two tiles": (mirrored[100:109, 30:1060], 15),
        "grey": (np.repeat(photograph[200:220, 100:130, 1:2], 3, axis=2), 70),
    }


def golden_codec():
    """A very small model whose weights take few values, so that its file is small too."""
    import keras

    keras.utils.set_random_seed(1)
    model = mr.MRDCAE(width=2, blocks=1, prior_width=4)
    model.build()
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        start = np.asarray(variable.value)
        noise = rng.choice([-0.05, 0, 0, 0.05], variable.shape)
        if variable.path.endswith("/offset"):
            noise *= rng.random(variable.shape) < 0.02
        variable.assign(np.rint((start + noise) * 20) / 20)
    return Codec.from_model(model)


def digest(symbols, routing):
    whole = hashlib.sha256(routing.tobytes())
    for level in symbols:
        whole.update(level.astype("<i4").tobytes())
    return whole.hexdigest()


@pytest.fixture(scope="module", autouse=True)
def rewritten(pytestconfig):
    if pytestconfig.getoption("--rewrite-golden"):
        DATA.mkdir(exist_ok=True)
        codec, digests = golden_codec(), {}
        codec.save(DATA / "golden.keras-codec")
        for name, (picture, quality) in pictures().items():
            data = codec.compress(picture, quality, metadata=KEPT.get(name, Metadata()))
            (DATA / f"{name}.mrdc").write_bytes(data)
            mr.write_image(DATA / f"{name}.png", codec.decompress(data))
            digests[name] = digest(*codec.read_symbols(data)[:2])
        (DATA / "symbols.json").write_text(json.dumps(digests, indent=2) + "\n")


@pytest.fixture(scope="module")
def codec(rewritten):
    return Codec.read((DATA / "golden.keras-codec").read_bytes())


@pytest.fixture(scope="module")
def digests(rewritten):
    return json.loads((DATA / "symbols.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_has_the_symbols_and_the_pixels_it_always_had(name, codec, digests):
    data = (DATA / f"{name}.mrdc").read_bytes()
    assert digest(*codec.read_symbols(data)[:2]) == digests[name]
    expected = mr.read_image(DATA / f"{name}.png").astype(int)
    assert abs(codec.decompress(data) - expected).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_keeps_what_it_always_kept_beside_its_colours(name):
    found = metadata.read_metadata((DATA / f"{name}.mrdc").read_bytes())
    assert found == KEPT.get(name, Metadata())
