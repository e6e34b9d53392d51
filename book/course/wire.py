"""What the grader and the process of a submission say to each other: values, and nothing else.

A message is a length of four bytes and JSON. Whatever comes out of `Wire.decode` is a number, text,
bytes, an array of numbers, a list or dictionary of these, or a handle on something that stays on
the other side. Nothing in a message can run.
"""

import base64
import builtins
import json
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

LONGEST = 2**26  # bytes of a message
KINDS = "biufc"  # of arrays: truth values and numbers
PLAIN = (bool, int, float, str)


class LineError(BaseException):
    """The line is of no more use. No check may take this for an error of a student's function."""


class WireError(LineError):
    """The other side said what cannot be said."""


class EndedError(LineError):
    """The other side has ended."""


class RaisedError(Exception):
    """An error of the other side whose kind is not one of Python's own."""


class Handle:
    """Something that stays on the other side; there it can be handed back."""

    def __init__(self, number: int, kind: str) -> None:
        self.number, self.kind = number, kind

    def __repr__(self) -> str:
        return f"<{self.kind}>"


class Wire:
    """One end of the line. Both ends can ask, also while they are being asked.

    A function of the other side arrives as a function here, whose call asks the other side. Where
    it changes its arguments in place, `changed` is set, and they are changed here as well; but not
    while `lends` is set. Only generators of random numbers always go on from where they are there.
    """

    def __init__(self, reads: BinaryIO, writes: BinaryIO) -> None:
        self.reads, self.writes = reads, writes
        self.lends = self.changed = False
        self.kept: list[Any] = []  # what the other side has handles on
        self.work: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"call": self._called}

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """Ask the other side to do something; return its answer."""
        self.send({"do": do, **fields})
        while True:
            message = self.receive()
            if "do" not in message:
                return message
            self.answer(message)

    def answer(self, message: dict[str, Any]) -> None:
        """Do what the other side asks for, and say what came of it."""
        work = self.work.get(str(message["do"]))
        if work is None:
            raise WireError(f"expected something to do, got {str(message['do'])[:40]!r}")
        try:
            said = work(message)
        except LineError:
            raise
        except BaseException as error:
            said = raised(error)
        try:
            self.send(said)
        except ValueError as error:  # too long, or a number too large to be written down
            self.send(raised(error))

    def send(self, message: dict[str, Any]) -> None:
        """Send a message that JSON can hold."""
        data = json.dumps(message, separators=(",", ":")).encode()
        if len(data) > LONGEST:
            raise ValueError(f"expected at most {LONGEST} bytes of values, got {len(data)}")
        try:
            self.writes.write(struct.pack(">I", len(data)) + data)
            self.writes.flush()
        except OSError as error:
            raise EndedError from error

    def receive(self) -> dict[str, Any]:
        """Return the next message."""
        (length,) = struct.unpack(">I", self._exactly(4))
        if length > LONGEST:
            raise WireError(f"expected a message of at most {LONGEST} bytes, got {length}")
        try:
            message = json.loads(self._exactly(length))
        except (ValueError, RecursionError) as error:
            raise WireError(f"expected a message, got {type(error).__name__}") from error
        if not isinstance(message, dict):
            raise WireError("expected a message, got something else")
        return message

    def _exactly(self, count: int) -> bytes:
        data = self.reads.read(count)
        if data is None or len(data) < count:
            raise EndedError
        return data

    def _call(self, handle: Handle, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        sent = [self.encode(argument) for argument in arguments]
        names = {name: self.encode(value) for name, value in named.items()}
        said = self.ask("call", function=handle.number, arguments=sent, named=names)
        for place, after in said.get("changed") or []:
            argument = arguments[int(place)]
            draws = isinstance(argument, np.random.Generator)
            self.changed = self.changed or not draws
            if draws or not self.lends:
                write_back(argument, self.decode(after))
        if "raised" in said:
            raise error_of(said["raised"])
        return self.decode(said["value"])

    def _called(self, message: dict[str, Any]) -> dict[str, Any]:
        function = self.kept[message["function"]]
        arguments = [self.decode(argument) for argument in message["arguments"]]
        named = {name: self.decode(value) for name, value in message["named"].items()}
        before = [self.encode(argument) for argument in arguments]
        value = self.encode(function(*arguments, **named))
        now = [self.encode(argument) for argument in arguments]
        both = enumerate(zip(before, now, strict=True))
        return {"value": value, "changed": [[n, new] for n, (old, new) in both if old != new]}

    def encode(self, value: Any) -> Any:
        """Return a value as what JSON can hold; what is no value stays here and gets a number."""
        if value is None or type(value) in PLAIN:
            return value
        if isinstance(value, bytes | bytearray | memoryview):
            return {"bytes": text_of(bytes(value))}
        if isinstance(value, np.ndarray) and value.dtype.kind in KINDS:
            plain = np.ascontiguousarray(np.asarray(value))
            return {"array": [plain.dtype.str, list(value.shape), text_of(plain.tobytes())]}
        if isinstance(value, np.generic) and value.dtype.kind in KINDS:
            return {"number": [value.dtype.str, text_of(value.tobytes())]}
        if isinstance(value, list):
            return [self.encode(item) for item in value]
        for holder in (tuple, set, frozenset):
            if isinstance(value, holder):
                return {holder.__name__: [self.encode(item) for item in value]}
        if isinstance(value, dict):
            return {"dict": [[self.encode(k), self.encode(item)] for k, item in value.items()]}
        if isinstance(value, complex):
            return {"complex": [value.real, value.imag]}
        for kind in PLAIN:  # what is derived from a number is one on the other side
            if isinstance(value, kind):
                return kind(value)
        if isinstance(value, np.random.Generator):
            return {"random": self.encode(value.bit_generator.state)}
        return self._encode_thing(value)

    def _encode_thing(self, value: Any) -> dict[str, Any]:
        theirs = getattr(value, "wire_handle", value)
        if isinstance(theirs, Handle):
            return {"yours": theirs.number}
        origin = getattr(value, "origin", None)
        if type(value).__module__ == "mrdcae_lite.codec" and origin:
            return {"codec": origin[1]}
        self.kept.append(value)
        kind = "function" if callable(value) else "object"
        return {kind: [len(self.kept) - 1, type(value).__name__]}

    def decode(self, data: Any) -> Any:
        """Return the value that `encode` of the other side was given."""
        try:
            return self._decode(data)
        except RecursionError as error:
            raise WireError("expected a value, got lists within lists without end") from error
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OSError) as error:
            raise WireError(f"expected a value, got {type(error).__name__}: {error}") from error

    def _decode(self, data: Any) -> Any:
        if data is None or isinstance(data, PLAIN):
            return data
        if isinstance(data, list):
            return [self._decode(item) for item in data]
        ((kind, inside),) = data.items()
        return READERS[kind](self, inside)

    def _read_tuple(self, inside: Any) -> Any:
        return tuple(self._decode(item) for item in inside)

    def _read_set(self, inside: Any) -> Any:
        return {self._decode(item) for item in inside}

    def _read_frozenset(self, inside: Any) -> Any:
        return frozenset(self._decode(item) for item in inside)

    def _read_dict(self, inside: Any) -> Any:
        return {self._decode(key): self._decode(item) for key, item in inside}

    def _read_random(self, inside: Any) -> Any:
        made = np.random.default_rng()
        made.bit_generator.state = self._decode(inside)
        return made

    def _read_yours(self, inside: Any) -> Any:
        return self.kept[int(inside)]

    def _read_function(self, inside: Any) -> Any:
        handle = handle_of(inside)

        def function(*arguments: Any, **named: Any) -> Any:
            return self._call(handle, arguments, named)

        function.wire_handle = handle  # type: ignore[attr-defined]
        return function


def write_back(argument: Any, after: Any) -> None:
    """Leave an argument as the other side left its own, where it is of a kind that can change."""
    if isinstance(argument, np.ndarray) and argument.flags.writeable:
        if np.shape(after) == argument.shape:
            np.copyto(argument, after, casting="unsafe")
    elif isinstance(argument, list) and isinstance(after, list):
        argument[:] = after
    elif isinstance(argument, dict) and isinstance(after, dict):
        argument.clear()
        argument.update(after)
    elif isinstance(argument, np.random.Generator) and isinstance(after, np.random.Generator):
        argument.bit_generator.state = after.bit_generator.state


def read_bytes(inside: Any) -> bytes:
    """Bytes that JSON held."""
    return base64.b64decode(inside, validate=True)


def read_array(inside: Any) -> Any:
    """An array of numbers that can be written to."""
    kind, shape, data = inside
    return np.frombuffer(bytearray(read_bytes(data)), number_type(kind)).reshape(shape)


def read_number(inside: Any) -> Any:
    """A number of one of NumPy's types."""
    kind, data = inside
    return np.frombuffer(read_bytes(data), number_type(kind), count=1)[0]


def read_codec(inside: Any) -> Any:
    """A codec of the package, by its name."""
    import mrdcae_lite as mr

    if not re.fullmatch(r"[a-z]+", inside):
        raise WireError("expected the name of a codec")
    return mr.load(inside)


def handle_of(inside: Any) -> Handle:
    """A handle on something of the other side."""
    return Handle(int(inside[0]), str(inside[1])[:100])


READERS: dict[str, Callable[[Wire, Any], Any]] = {
    "bytes": lambda _, inside: read_bytes(inside),
    "array": lambda _, inside: read_array(inside),
    "number": lambda _, inside: read_number(inside),
    "complex": lambda _, inside: complex(*inside),
    "codec": lambda _, inside: read_codec(inside),
    "object": lambda _, inside: handle_of(inside),
    "tuple": Wire._read_tuple,
    "set": Wire._read_set,
    "frozenset": Wire._read_frozenset,
    "dict": Wire._read_dict,
    "random": Wire._read_random,
    "yours": Wire._read_yours,
    "function": Wire._read_function,
}


def text_of(data: bytes) -> str:
    """Bytes as JSON can hold them."""
    return base64.b64encode(data).decode()


def number_type(name: Any) -> np.dtype:
    """The type of an array's numbers; no other kind of type is known here."""
    found = np.dtype(str(name))
    if found.kind not in KINDS or found.names:
        raise WireError(f"expected numbers, got the type {str(name)[:40]}")
    return found


def raised(error: BaseException) -> dict[str, Any]:
    """What to say of an error."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    try:
        said = str(error)[:500]
    except Exception:
        said = ""
    return {"raised": [kinds, said]}


def error_of(inside: Any) -> Exception:
    """An error that the other side named, of the nearest kind that is Python's own."""
    try:
        kinds, said = [str(name)[:100] for name in inside[0]], str(inside[1])
    except (TypeError, IndexError, KeyError) as error:
        raise WireError("expected the name of an error, got something else") from error
    for name in kinds:
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception:
            with suppress(TypeError):  # some want more than one argument
                return kind(said)
    return RaisedError(f"{kinds[0] if kinds else 'error'}: {said}")
