"""What all tests share: seeded random numbers, a small photograph, repeatable hypothesis."""

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from mrdcae_lite.images import sample

settings.register_profile("repeatable", max_examples=40, deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260)


@pytest.fixture
def photograph() -> NDArray[np.uint8]:
    """A part of a bundled photograph, odd in both sides: uint8 (179, 205, 3)."""
    return sample("flowers")[100:279, 200:405].copy()
