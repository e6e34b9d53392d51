"""An answer gets the first remark that fits it, and a wrong kind of answer one clear line."""

import numpy as np
import pytest

from mrdcae_lite.notebook.exercises import exercise, near

HALVES = exercise(
    "a number",
    (near(0.5, 0.01), "Right."),
    (lambda answer: answer > 0.4, lambda answer: f"Less than {answer}."),
    otherwise="Not yet.",
)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (0.501, "Right."),
        (0.6, "Less than 0.6."),
        (0.1, "Not yet."),
        (None, "Put a number into the cell above first, then run both cells."),
        (..., "Put a number into the cell above first, then run both cells."),
    ],
)
def test_the_first_remark_that_fits_is_said(answer, said):
    assert HALVES(answer) == said


def test_an_answer_of_another_kind_is_named_with_what_was_expected():
    said = HALVES("half")
    assert said.startswith("Expected a number. Received: 'half' (")
    letters = exercise("letters", otherwise=lambda answer: answer.lower())
    assert letters(5).startswith("Expected letters. Received: 5 (")


def test_a_function_is_called_and_its_value_judged():
    check = exercise("a body", (near(6), "Right."), otherwise="Not yet.", given=(2, 3))
    assert check(lambda a, b: a * b) == "Right."
    assert check(lambda a, b: a + b) == "Not yet."
    assert check(lambda a, b: ...).startswith("Put a body into the cell above")


def test_a_fault_in_the_students_function_is_theirs_to_read():
    check = exercise("a body", otherwise="Not yet.", given=(1,))
    with pytest.raises(TypeError, match="unsupported operand"):
        check(lambda a: a + "b")


@pytest.mark.parametrize(
    ("value", "answer", "close"),
    [
        (1, 1 + 1e-10, True),
        (1, 1.1, False),
        ([1, 2], (1, 2), True),
        ([1, 2], 1, False),
        (np.eye(2), np.eye(2), True),
        (np.eye(2), np.eye(3), False),
    ],
)
def test_near_wants_the_shape_and_the_values(value, answer, close):
    assert near(value)(answer) is close
