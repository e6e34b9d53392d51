"""What may pass between the grader and a submission: values, whole, and nothing that runs."""

import io
import json
import math
import os
import struct
import threading

import numpy as np
import pytest

from book.course.wire import LONGEST, EndedError, RaisedError, Wire, WireError, error_of


@pytest.fixture
def both():
    """The grader's end, and the student's, which answers in a thread."""
    there, here = os.pipe(), os.pipe()
    files = [os.fdopen(there[0], "rb"), os.fdopen(here[1], "wb")]
    files += [os.fdopen(here[0], "rb"), os.fdopen(there[1], "wb")]
    student, grader = Wire(*files[:2]), Wire(*files[2:])

    def answer():
        try:
            while True:
                student.answer(student.receive())
        except EndedError:
            pass

    thread = threading.Thread(target=answer)
    thread.start()
    yield grader, student
    grader.writes.close()
    thread.join()
    for file in files:
        file.close()


def called(both, function, *arguments):
    grader, student = both
    return grader.decode(student.encode(function))(*arguments)


VALUES = [
    None, True, 3, 65536**300, -1.5, math.inf, "text", b"\0\xff", 1 + 2j, [1, [2]], (1, (2,)),
    {1: "a", "b": (2,)}, {1, 2}, {frozenset({1}): 2}, np.float32(2.5), np.uint8(200),
    np.bool_(True),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_as_it_went(both, value):
    got = called(both, lambda given: given, value)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 4)])
@pytest.mark.parametrize("kind", ["u1", "<f8", ">i4", "?", "<c16"])
def test_an_array_comes_back_with_its_shape_and_type(both, shape, kind):
    array = np.ones(shape, kind)
    got = called(both, lambda given: given, array)
    assert got.dtype == array.dtype
    assert got.shape == shape
    assert np.array_equal(got, array)


def test_what_a_function_does_to_its_arguments_is_seen(both):
    array, listed, named = np.zeros(3), [1], {}
    rng, same = np.random.default_rng(3), np.random.default_rng(3)

    def spoil(array, listed, named, rng):
        array[0] = 7
        listed.append(2)
        named["x"] = 1
        return rng.random()

    assert called(both, spoil, array, listed, named, rng) == same.random()
    assert (array.tolist(), listed, named) == ([7, 0, 0], [1, 2], {"x": 1})
    assert rng.random() == same.random()


def test_arguments_that_are_only_lent_stay_as_they_are(both):
    array, (grader, _) = np.ones(3), both
    rng, same = np.random.default_rng(3), np.random.default_rng(3)

    def spoil(array, rng):
        array[:] = 0
        return rng.random()

    grader.lends = True
    assert called(both, spoil, array, rng) == same.random()
    assert array.tolist() == [1, 1, 1]
    assert grader.changed
    assert rng.random() == same.random()


def test_a_function_can_be_handed_over_and_called_from_there(both):
    assert called(both, lambda encode, x: encode(x) + b"!", lambda x: bytes([x]), 65) == b"A!"


def test_what_is_no_value_stays_there_and_can_be_handed_back(both):
    thing = object()
    handle = called(both, lambda: thing)
    assert repr(handle) == "<object>"
    assert called(both, lambda given: given is thing, handle)


def test_a_number_that_says_it_equals_everything_is_a_number(both):
    class Sly(float):
        def __eq__(self, other):
            return True

        __hash__ = None

    got = called(both, lambda: Sly(1))
    assert type(got) is float
    assert got != 2


def test_an_error_is_of_its_nearest_kind_that_is_pythons_own(both):
    class OwnError(ValueError):
        pass

    def fail():
        raise OwnError("no")

    with pytest.raises(ValueError, match="no"):
        called(both, fail)
    assert type(error_of([["SystemExit", "BaseException"], ""])) is RaisedError
    assert type(error_of([["UnicodeDecodeError", "ValueError"], "x"])) is ValueError


def test_too_much_is_said_as_an_error(both):
    with pytest.raises(ValueError, match="expected at most"):
        called(both, lambda: "x" * (LONGEST + 1))


@pytest.mark.parametrize(
    "said",
    [
        {"pickle": "gASVEAAAAAAAAACMAm9z"},
        {"array": ["O", [1], "AAAA"]},
        {"array": ["V8", [1], "AAAAAAAAAAA="]},
        {"array": ["u1", [10**12], "AA=="]},
        {"bytes": "?"},
        {"codec": "/etc/passwd"},
        {"yours": 7},
        {"a": 1, "b": 2},
        {},
    ],
    ids=str,
)
def test_what_is_no_value_is_refused(said):
    with pytest.raises(WireError):
        Wire(io.BytesIO(), io.BytesIO()).decode(said)


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b"[" * 10**5])
def test_what_is_no_message_is_refused(data):
    with pytest.raises(WireError):
        Wire(io.BytesIO(struct.pack(">I", len(data)) + data), io.BytesIO()).receive()


@pytest.mark.parametrize("data", [b"", b"\0\0", struct.pack(">I", 9) + b"{"])
def test_a_message_that_breaks_off_is_an_end(data):
    with pytest.raises(EndedError):
        Wire(io.BytesIO(data), io.BytesIO()).receive()


def test_a_message_that_would_fill_the_memory_is_refused():
    with pytest.raises(WireError, match="at most"):
        Wire(io.BytesIO(struct.pack(">I", LONGEST + 1)), io.BytesIO()).receive()


def test_the_grader_does_nothing_but_what_it_knows():
    message = json.dumps({"do": "run", "source": "1"}).encode()
    grader = Wire(io.BytesIO(struct.pack(">I", len(message)) + message), io.BytesIO())
    with pytest.raises(WireError, match="expected something to do"):
        grader.ask("names", wanted=[])
