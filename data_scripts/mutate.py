"""Damage `.mrdc` files in many ways and see what the decoder does.

    python -m data_scripts.mutate [--count 100000] [--seed 0] [--codec FILE]

A mutant must end in a `BitstreamError` of one line that names the part, or in a picture. Half of
the mutations make every checksum right again, so that they reach the code behind the checksums;
only their mutants may give another picture than the original. Prints a JSON summary; the exit code
is 1 if any mutant did anything else.
"""

import argparse
import json
import re
import resource
import struct
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

import mrdcae_lite as mr
from data_scripts.command import Parser
from mrdcae_lite.coding import metadata
from mrdcae_lite.coding.bitstream import (
    BitstreamError,
    join_streams,
    read_varint,
    split_streams,
    write_varint,
)
from mrdcae_lite.core.pixels import RGB
from mrdcae_lite.core.tiling import Tiling

Random = np.random.Generator

SECONDS = 20.0
"""A mutant that takes longer is a violation."""

LARGE = 1 << 20
"""Of a picture of more pixels only one is decoded, with its tile: the time a picture takes grows
with its size, and that is no fault."""

PARTS = re.compile(
    r"\.mrdc file|header|version|quality|pixels a side|tiles? of|model|transparency"
    r"|extras section|routing map|(low|medium|high) level|after the last section|last section"
)

LONG = [0, 1, 2**7, 2**14, 2**16, 2**31, 2**32 - 1, 2**35 - 1]


# --- files taken apart


@dataclass
class Draft:
    """A file taken apart. Change it, then `seal` it: the checksums are those of what it claims.

    Attributes:
        start: the 10 bytes before the first number.
        numbers: width, height and the lengths of the five sections, true or not.
        body: all that follows the header.
    """

    start: bytearray
    numbers: list[int]
    body: bytes

    @classmethod
    def of(cls, data: bytes) -> "Draft":
        """Take a file apart without a check; raises `BitstreamError` where it has no numbers."""
        at, numbers = 10, []
        for _ in range(7):
            number, at = read_varint(data, at)
            numbers.append(number)
        at += 4 * sum(length > 0 for length in numbers[2:]) + 4
        return cls(bytearray(data[:10]), numbers, data[at:])

    @property
    def sections(self) -> list[bytes]:
        """What the lengths cut out of the body; setting it sets them."""
        ends = np.cumsum([0, *self.numbers[2:]])
        return [self.body[ends[i] : ends[i + 1]] for i in range(5)]

    @sections.setter
    def sections(self, sections: list[bytes]) -> None:
        self.numbers[2:] = map(len, sections)
        self.body = b"".join(sections)

    def seal(self) -> bytes:
        """The bytes of the file."""
        head = bytes(self.start) + b"".join(map(write_varint, self.numbers))
        for length, section in zip(self.numbers[2:], self.sections, strict=True):
            head += struct.pack("<I", zlib.crc32(section)) if length else b""
        return head + struct.pack("<I", zlib.crc32(head)) + self.body


def repaired(data: bytes) -> bytes:
    """The same file with right checksums, as far as it can be told what they should cover."""
    try:
        return Draft.of(data).seal()
    except (BitstreamError, struct.error):
        return data


def streams(draft: Draft, section: int) -> list[bytes]:
    """The tiles' streams of an undamaged level section."""
    tiles = len(list(Tiling(draft.numbers[1], draft.numbers[0])))
    return split_streams(draft.sections[section], tiles, "section")


# --- damage to bytes


def garbled(data: bytes, rng: Random) -> bytes:
    """Some damage of any kind, as transport and memory do it."""
    kind, size = rng.integers(9), len(data)
    first, last = sorted(rng.integers(0, size + 1, 2).tolist())
    some = rng.bytes(int(rng.integers(1, 9)))
    match kind:
        case 0 | 1 if size:  # bits
            changed = bytearray(data)
            for place in rng.integers(0, size, 1 if kind else rng.integers(1, 9)):
                changed[place] ^= 1 << int(rng.integers(8))
            return bytes(changed)
        case 2:  # cut off
            return data[:first]
        case 3:  # overwritten
            return data[:first] + some + data[first + len(some) :]
        case 4:  # inserted
            return data[:first] + some + data[first:]
        case 5:  # a piece lost
            return data[:first] + data[last:]
        case 6:  # a piece twice
            return data[:last] + data[first:]
        case 7:  # zeros or ones
            return data[:first] + rng.choice([b"\0", b"\xff"]) * (last - first) + data[last:]
        case _:
            return rng.bytes(int(rng.integers(0, 200)))


def _other(rng: Random, *values: int) -> int:
    return int(rng.choice(np.array(values)))


# --- mutations that leave wrong checksums


def _garble(data: bytes, rng: Random) -> bytes:
    return garbled(data, rng)


def _garble_twice(data: bytes, rng: Random) -> bytes:
    return garbled(garbled(data, rng), rng)


def _garble_header(data: bytes, rng: Random) -> bytes:
    end = len(data) - len(Draft.of(data).body)
    return garbled(data[:end], rng) + data[end:]


def _only_magic(data: bytes, rng: Random) -> bytes:
    return data[: rng.integers(0, 24)] + rng.bytes(int(rng.integers(0, 400)))


def _swap_unsealed(data: bytes, rng: Random) -> bytes:
    draft = Draft.of(data)
    order = rng.permutation(5)
    return data[: len(data) - len(draft.body)] + b"".join(draft.sections[i] for i in order)


# --- mutations that make the checksums right again


def _sealed_bytes(data: bytes, rng: Random) -> bytes:
    return repaired(garbled(data, rng))


def _start(draft: Draft, rng: Random) -> None:
    draft.start[rng.integers(4, 10)] = _other(rng, *range(256))


def _future(draft: Draft, rng: Random) -> None:
    draft.start[4] = _other(rng, *range(2, 256))


def _quality(draft: Draft, rng: Random) -> None:
    draft.start[5] = _other(rng, *range(256))


def _grey(draft: Draft, rng: Random) -> None:
    draft.start[5] ^= 128


def _near_size(draft: Draft, rng: Random) -> None:
    for which in (0, 1):
        draft.numbers[which] = max(0, draft.numbers[which] + _other(rng, -40, -1, 0, 1, 40))


def _huge_size(draft: Draft, rng: Random) -> None:
    draft.numbers[_other(rng, 0, 1)] = _other(rng, 0, 1500, 3000, 65535, 65536, 2**35 - 1)
    if rng.random() < 0.5:
        draft.numbers[:2] = [65535, 1525]


def _lying_length(draft: Draft, rng: Random) -> None:
    which = 2 + rng.integers(5)
    draft.numbers[which] = _other(rng, *LONG, *(draft.numbers[which] + np.arange(-5, 6)).clip(0))


def _moved_boundary(draft: Draft, rng: Random) -> None:
    which = 2 + rng.integers(4)
    total = draft.numbers[which] + draft.numbers[which + 1]
    draft.numbers[which] = int(rng.integers(0, total + 1))
    draft.numbers[which + 1] = total - draft.numbers[which]


def _swapped_sections(draft: Draft, rng: Random) -> None:
    draft.sections = [draft.sections[i] for i in rng.permutation(5)]


def _repeated_section(draft: Draft, rng: Random) -> None:
    sections = draft.sections
    sections[rng.integers(5)] = sections[rng.integers(5)] * _other(rng, 1, 2)
    draft.sections = sections


def _garbled_section(draft: Draft, rng: Random) -> None:
    sections = draft.sections
    which = rng.integers(5)
    sections[which] = garbled(sections[which], rng)
    draft.sections = sections


def _other_stream(data: bytes, rng: Random) -> bytes:
    """Random, constant, shortened or flipped data."""
    size = int(rng.integers(0, 160))
    kinds = [rng.bytes(size), b"\xff" * size, bytes(size), data[: int(rng.integers(0, 33))]]
    changed = bytearray(data)
    if changed:
        changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    return [*kinds, bytes(changed)][rng.integers(5)]


def _garbled_map(draft: Draft, rng: Random) -> None:
    sections = draft.sections
    sections[1] = _other_stream(sections[1], rng)
    draft.sections = sections


def _garbled_stream(draft: Draft, rng: Random) -> None:
    sections, level = draft.sections, 2 + int(rng.integers(3))
    parts = streams(draft, level)
    which = rng.integers(len(parts))
    parts[which] = _other_stream(parts[which], rng)
    sections[level] = join_streams(parts)
    draft.sections = sections


def _swapped_streams(draft: Draft, rng: Random) -> None:
    sections = draft.sections
    levels = [streams(draft, level) for level in (2, 3, 4)]
    (a, b), tile = rng.integers(3, size=2), rng.integers(len(levels[0]))
    levels[a][tile], levels[b][-1] = levels[b][-1], levels[a][tile]
    draft.sections = [*sections[:2], *map(join_streams, levels)]


def _lying_tiles(draft: Draft, rng: Random) -> None:
    sections, level = draft.sections, 2 + int(rng.integers(3))
    changed = b""
    for part in streams(draft, level):
        lengths = [len(part), len(part), len(part) + _other(rng, -4, -1, 1, 4), *LONG]
        length = max(0, lengths[rng.integers(len(lengths))])
        changed += write_varint(length) + (part if rng.random() < 0.9 else b"")
    sections[level] = changed
    draft.sections = sections


def _many_tiles(draft: Draft, rng: Random) -> None:
    """As many empty streams as a picture of many tiles needs, or a length more or less."""
    tiles = _other(rng, 1, 2, 32)
    draft.numbers[:2] = 90, 1024 * tiles
    sections = [bytes(max(0, tiles - 1 + _other(rng, -1, 0, 0, 0, 1))) for _ in range(3)]
    draft.sections = [*draft.sections[:2], *sections]


@cache
def _zeros(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


def _garbled_extras(draft: Draft, rng: Random) -> None:
    sections, section = draft.sections, b""
    pixels = draft.numbers[0] * draft.numbers[1]
    for _ in range(rng.integers(1, 4)):
        size = _other(rng, 0, 1, *[pixels, pixels + 1] * 5, 2**24, 2**24 + 1)
        payload = _zeros(size)
        if rng.random() < 0.5:
            payload = garbled(payload, rng)
        length = _other(rng, *LONG) if rng.random() < 0.1 else len(payload)
        section += rng.choice([b"A", b"I", b"E", b"X"]) + write_varint(length) + payload
    draft.sections = [section, *sections[1:]]


def _padded_number(data: bytes, rng: Random) -> bytes:
    """One number of the header longer than it need be: harmless up to 5 bytes."""
    draft = Draft.of(data)
    numbers = [write_varint(number) for number in draft.numbers]
    which = rng.integers(7)
    *start, last = numbers[which]
    numbers[which] = bytes([*start, last | 128, *[128] * int(rng.integers(0, 5)), 0])
    unsealed = bytes(draft.start) + b"".join(numbers)
    sums = data[-len(draft.body) - 4 * sum(n > 0 for n in draft.numbers[2:]) - 4 :]
    head = unsealed + sums[: -len(draft.body) - 4]
    return head + struct.pack("<I", zlib.crc32(head)) + draft.body


Mutation = Callable[[bytes, Random], bytes]


def _sealed(change: Callable[[Draft, Random], None]) -> Mutation:
    def mutation(data: bytes, rng: Random) -> bytes:
        draft = Draft.of(data)
        change(draft, rng)
        return draft.seal()

    return mutation


def _named(*mutations: Callable) -> dict[str, Callable]:
    return {mutation.__name__.strip("_").replace("_", " "): mutation for mutation in mutations}


UNSEALED: Mapping[str, Mutation] = _named(
    _garble, _garble_twice, _garble_header, _only_magic, _swap_unsealed
)
_DRAFTED = _named(
    *(_start, _future, _quality, _grey, _near_size, _huge_size, _lying_length, _moved_boundary),
    *(_swapped_sections, _repeated_section, _garbled_section, _garbled_map, _garbled_stream),
    *(_swapped_streams, _lying_tiles, _many_tiles, _garbled_extras),
)
SEALED: Mapping[str, Mutation] = {
    **_named(_sealed_bytes, _padded_number),
    **{name: _sealed(change) for name, change in _DRAFTED.items()},
}
MUTATIONS = {**UNSEALED, **SEALED}


# --- what the decoder does


class Original(NamedTuple):
    """A valid file, and what it decodes to."""

    data: bytes
    pixels: RGB
    extras: metadata.Extras


def originals(codec: mr.Codec) -> list[Original]:
    """Small files of different kinds: odd sizes, all levels, two tiles, extras."""
    photograph = mr.sample("flowers")
    rng = np.random.default_rng(1)
    alpha = rng.integers(0, 256, (30, 50), np.uint8)
    kept = metadata.Extras(alpha, b"profile" * 30, b"camera")
    grey = np.repeat(photograph[100:140, 100:140, :1], 3, axis=2)
    files = [
        codec.compress(photograph[300:301, 300:301], 50),
        codec.compress(grey, 20),
        codec.compress(photograph[100:130, 200:250], 5, metadata=kept),
        codec.compress(
            photograph[100:170, 200:270],
            30,
            routing=rng.integers(1, 4, (3, 3), np.uint8),
        ),
        codec.compress(np.tile(photograph[100:120, :515], (1, 2, 1)), 10),
    ]
    return [Original(data, codec.decompress(data), metadata.of(data)) for data in files]


class Verdict(NamedTuple):
    """What became of a mutant: a kind of outcome, and what is wrong with it, or nothing."""

    kind: str
    violation: str = ""


def judge(codec: mr.Codec, mutant: bytes, original: Original, *, sealed: bool) -> Verdict:
    """Decode a mutant and say whether that went as it should."""
    started = time.perf_counter()
    try:
        with warnings.catch_warnings(action="error"):
            header = mr.info(mutant)
            part = (0, 0, 1, 1) if header.width * header.height > LARGE else None
            pixels, kept = codec.decompress(mutant, region=part), metadata.of(mutant)
    except BitstreamError as error:
        message = str(error)
        if "\n" in message or not PARTS.search(message):
            return Verdict("refused", f"the message names no part: {message!r}")
        return Verdict("refused")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a Rust panic is no Exception
        return Verdict("another error", f"{type(error).__name__}: {error}")
    if (seconds := time.perf_counter() - started) > SECONDS:
        return Verdict("slow", f"took {seconds:.1f} s")
    if _plain(kept) == _plain(original.extras) and np.array_equal(pixels, original.pixels):
        return Verdict("the same picture")
    return Verdict("another picture", "" if sealed else "the checksums did not notice")


def _plain(kept: metadata.Extras) -> tuple[bytes | None, bytes, bytes]:
    return kept.alpha if kept.alpha is None else kept.alpha.tobytes(), kept.icc, kept.exif


def mutant(files: list[Original], seed: int, number: int) -> tuple[str, Original, bytes]:
    """Name of the mutation, the file that was taken, and what became of it."""
    rng = np.random.default_rng([seed, number])
    name = list(MUTATIONS)[number % len(MUTATIONS)]
    original = files[rng.integers(len(files))]
    return name, original, MUTATIONS[name](original.data, rng)


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = Parser(prog="data_scripts.mutate")
    parser.add_argument("--count", type=int, default=100_000, help="mutants to try (100000)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other mutants")
    parser.add_argument("--codec", default="lite", help="shipped codec or codec file")
    options: argparse.Namespace = parser.parse_args(argv)
    codec = mr.load(options.codec)
    files = originals(codec)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kinds: Counter[str] = Counter()
    violations: list[dict[str, str]] = []
    longest, by = 0.0, ""
    for number in range(options.count):
        name, original, data = mutant(files, options.seed, number)
        started = time.perf_counter()
        verdict = judge(codec, data, original, sealed=name in SEALED)
        if (seconds := time.perf_counter() - started) > longest:
            longest, by = seconds, f"{name}, number {number}"
        kinds[verdict.kind] += 1
        if verdict.violation:
            found = {"mutation": name, "number": str(number), "what": verdict.violation}
            violations.append(found)
        if (number + 1) % 5000 == 0:
            state = f"{number + 1:,} of {options.count:,} mutants, {len(violations)} violations"
            print(state, file=sys.stderr, flush=True)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    summary = {
        "mutants": options.count,
        "outcomes": dict(kinds),
        "longest seconds": round(longest, 3),
        "longest was": by,
        "peak megabytes": round(kilobytes / 1024),
        "megabytes before": round(before / 1024),
        "violations": len(violations),
        "first violations": violations[:10],
    }
    print(json.dumps(summary, indent=2))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
