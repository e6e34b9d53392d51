"""What several tests of this folder need: items without end."""

from collections.abc import Iterator
from itertools import count

import pytest


class Numbers:
    """Whole numbers from 0 on, and which of them were taken."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def __iter__(self) -> Iterator[int]:
        for number in count():
            self.taken.append(number)
            yield number


@pytest.fixture
def numbers():
    return Numbers()
