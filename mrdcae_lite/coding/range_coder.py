"""The range coder of constriction, with the ends of a stream cut and damage named.

A range coder writes a message as one binary fraction inside an interval that shrinks by each
symbol's probability (Martin, 1979).
"""

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding.bitstream import BitstreamError, damaged

Categorical = constriction.stream.model.Categorical
Uniform = constriction.stream.model.Uniform
RangeEncoder = constriction.stream.queue.RangeEncoder


def finish(coder: Any) -> bytes:
    """The bytes that a range encoder wrote, as few as decode alike.

    A decoder reads zeros after the end. So of all numbers in the encoder's last interval, that one
    is written which ends in most zero bytes, and these are left out. `coder.pos()` gives the number
    of words that cannot change any more, and the interval as the 64 bits after them: its lower end,
    modulo 2**64 as a carry may be pending, and its size.
    """
    position, (lower, size) = coder.pos()  # whole words before the 64 bits still open
    stream: bytes = coder.get_compressed().astype(">u4").tobytes()
    done, point = stream[: 4 * position], int.from_bytes(stream[4 * position :].ljust(8, b"\0"))
    first = point - (point - lower) % 2**64
    last = min(first + size, 2**64) - 1
    ends = (-(-max(first, 0) // 256**zeros) * 256**zeros for zeros in range(8, -1, -1))
    shortest: int = next(end for end in ends if end <= last)
    return (done + shortest.to_bytes(8)).rstrip(b"\0")


class RangeDecoder:
    """The range decoder, with damage reported as `BitstreamError` that names the `part`."""

    def __init__(self, stream: bytes, part: str) -> None:
        self._part = part
        words = np.frombuffer(stream + bytes(-len(stream) % 4), ">u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def decode(self, model: Any, count: int) -> NDArray[np.int32]:
        """Next `count` symbols."""
        try:
            symbols: NDArray[np.int32] = self._coder.decode(model, count)
            return symbols
        except AssertionError as error:  # how constriction reports impossible data
            raise self.damaged() from error

    def damaged(self) -> BitstreamError:
        """What to raise when the stream says what no encoder writes."""
        return damaged(f"the {self._part} holds impossible data.")
