"""What all tests share: seeded random numbers, a small photograph, a tiny codec."""

import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from mrdcae_lite.io.images import sample

if TYPE_CHECKING:
    from mrdcae_lite.codec import Codec
    from mrdcae_lite.training.model import MRDCAE

settings.register_profile("repeatable", max_examples=40, deadline=None, derandomize=True)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-golden",
        action="store_true",
        help="write tests/golden/data anew; give the reason in the commit",
    )
    parser.addoption(
        "--examples",
        type=int,
        metavar="N",
        help="draw N new hostile files of each kind in tests/fuzz, not the same few as always",
    )
    parser.addoption(
        "--elsewhere",
        default=sys.executable,
        metavar="PYTHON",
        help="in tests/course/test_elsewhere.py, run students' notebooks with this Python, such as "
        "that of make trial SETTING=colab",
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260)


@pytest.fixture
def photograph() -> NDArray[np.uint8]:
    """A part of a bundled photograph, odd in both sides: uint8 (179, 205, 3)."""
    return sample("flowers")[100:279, 200:405].copy()


@pytest.fixture(scope="session")
def tiny_model_with() -> "Callable[..., MRDCAE]":
    """Makes very small models with every weight moved off its start. Not to be changed.

    Untrained they would be plain DCT codecs, whose filters multiply by zero. Weights are float16
    numbers, as a codec has them.
    """
    from mrdcae_lite.training.backend import keras
    from mrdcae_lite.training.model import MRDCAE

    @cache
    def make(**options: Any) -> "MRDCAE":
        keras.utils.set_random_seed(7)
        attention = options.get("resolutions", 4) > 1
        small = {"deblocking": 8, "refinement": 8, "prior_width": 16, "attention": attention}
        model = MRDCAE(**{**small, **options})
        model.build()
        rng = np.random.default_rng(7)
        for variable in model.trainable_variables:
            change = rng.normal(0, _spread(variable.path), variable.shape)
            variable.assign_add(change.astype(np.float32))
        for layer in model.analysis:  # its multiplier would hide the change
            change = rng.normal(0, 0.001, layer.offset.shape) / layer.multiplier
            layer.offset.assign(change.astype(np.float32))
        if model.attention:
            _spread_attention(model)
        for variable in model.trainable_variables:
            variable.assign(np.asarray(variable.value).astype(np.float16).astype(np.float32))
        return model

    return make


def _spread(path: str) -> float:
    """How far a weight is moved: far enough to be seen in the picture."""
    if path.endswith("leave/kernel"):
        return 0.16
    return 0.5 if path.startswith("reconstruction") else 0.01


@pytest.fixture(scope="session")
def tiny_model(tiny_model_with: "Callable[..., MRDCAE]") -> "MRDCAE":
    """The tiny model with everything in it."""
    return tiny_model_with()


def _spread_attention(model: "MRDCAE") -> None:
    """Scale the saliency scores so that a photograph meets all three levels."""
    from mrdcae_lite.training.backend import ops

    image = sample("flowers")[None].astype(np.float32) / 255
    logits = ops.convert_to_numpy(model.analyse(image, np.array([50], np.float32))[1])
    score = model.attention.score
    gain = 2.5 / logits.std()
    score.bias.assign((score.bias - logits.mean()) * gain)
    score.kernel.assign(score.kernel * gain)


@pytest.fixture(scope="session")
def tiny_codec(tiny_model: "MRDCAE") -> "Codec":
    """The codec of `tiny_model`."""
    from mrdcae_lite.codec import Codec

    return Codec.from_model(tiny_model)
