"""The exercises of the chapters: a check prints the first remark that fits an answer.

A chapter says once which answers it expects, with a remark for each, the right one among them, and
one for all others. The cell that does so is folded on the page, so that nobody reads the answer in
passing.
"""

from collections.abc import Callable, Sequence
from reprlib import repr as shortened
from typing import Any

import numpy as np

Remark = str | Callable[[Any], str]
Case = tuple[Callable[[Any], bool], Remark]


def exercise(
    expects: str, *cases: Case, otherwise: Remark, given: Sequence[Any] | None = None
) -> Callable[[Any], str]:
    """A function that takes an answer and returns what to say about it.

    Args:
        expects: what belongs into the cell above, such as "a number".
        cases: pairs of a test of the answer and the remark if it passes; the first counts. A remark
            may be a function of the answer.
        otherwise: the remark for every other answer.
        given: if the answer is a function that the student writes, the arguments to call it with;
            what it returns is then the answer.
    """

    def check(answer: Any) -> str:
        if given is not None:
            answer = answer(*given)
        if answer is None or answer is ...:
            return f"Put {expects} into the cell above first, then run both cells."
        try:
            remark = next((said for fits, said in cases if fits(answer)), otherwise)
            return remark if isinstance(remark, str) else remark(answer)
        except (AttributeError, TypeError, ValueError, IndexError) as error:
            return f"Expected {expects}. Received: {shortened(answer)} ({error})."

    return check


def near(value: Any, within: float = 1e-9) -> Callable[[Any], bool]:
    """A test that an answer, a number or an array, lies as close to `value` as `within`."""

    def close(answer: Any) -> bool:
        found = np.asarray(answer)
        return found.shape == np.shape(value) and bool(
            np.allclose(found, value, rtol=0, atol=within)
        )

    return close
