"""Whatever bytes come in: a `BitstreamError` that names the part, or a picture."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import constriction
import numpy as np
import pytest

import mrdcae_lite as mr
from data_scripts import fuzz, mutate
from data_scripts.mutate import MUTATIONS, SEALED, Draft, judge, originals, repaired
from mrdcae_lite.coding import bitstream, entropy, metadata
from mrdcae_lite.coding.bitstream import BitstreamError, write_varint
from mrdcae_lite.coding.entropy import SymbolDecoder
from mrdcae_lite.core.tiling import TILE

MUTANTS = 60  # of each of the two dozen kinds


@pytest.fixture(scope="module")
def files(tiny_codec):
    return originals(tiny_codec)


def test_the_originals_are_of_different_kinds(tiny_codec, files):
    headers = [mr.info(original.data) for original in files]
    assert {header.grey for header in headers} == {False, True}
    assert any(header.width > TILE for header in headers)
    assert any(set(np.unique(tiny_codec.read_symbols(o.data)[1])) == {1, 2, 3} for o in files)
    assert [bool(header.lengths[0]) for header in headers].count(True) == 1
    for original in files:
        assert repaired(original.data) == original.data
        verdict = judge(tiny_codec, original.data, original, sealed=False)
        assert verdict == ("the same picture", "")


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutant_is_refused_or_is_a_picture(name, tiny_codec, files):
    place, kinds = list(MUTATIONS).index(name), set()
    for number in range(place, MUTANTS * len(MUTATIONS), len(MUTATIONS)):
        drawn, original, data = mutate.mutant(files, 1, number)
        assert drawn == name
        verdict = judge(tiny_codec, data, original, sealed=name in SEALED)
        assert verdict.violation == "", number
        kinds.add(verdict.kind)
    never_refused, never_decoded = {"grey"}, {"future"}
    assert ("refused" in kinds) == (name not in never_refused)
    assert name not in never_decoded or kinds == {"refused"}


@pytest.mark.parametrize("kind", [0, 2])
def test_every_flipped_bit_of_a_file_is_refused(kind, tiny_codec, files):
    data = files[kind].data
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            verdict = judge(tiny_codec, bytes(damaged), files[kind], sealed=False)
            assert verdict == ("refused", ""), (place, bit)


def test_a_file_cut_at_any_byte_gives_the_levels_that_are_whole(tiny_codec, files):
    data = files[2].data
    for level in (1, 2, 3):
        whole = tiny_codec.decompress(data, level=level)
        end = len(bitstream.up_to_level(data, level))
        for size in range(end):
            with pytest.raises(BitstreamError, match=mutate.PARTS.pattern):
                tiny_codec.decompress(data[:size], level=level)
        for size in {end, (end + len(data)) // 2, len(data)}:
            np.testing.assert_array_equal(tiny_codec.decompress(data[:size], level=level), whole)


def test_a_violation_is_told_from_good_behaviour(tiny_codec, files):
    class Bad:
        def __init__(self, behaviour):
            self.decompress = lambda *_, **__: behaviour()

    def refusing(message):
        def refuse():
            raise BitstreamError(message)

        return refuse

    panic = type("PanicException", (BaseException,), {})

    def fail():
        raise panic("index out of bounds")

    def told(behaviour, *, sealed=True):
        return judge(Bad(behaviour), files[0].data, files[0], sealed=sealed).violation

    assert told(refusing("the header is bad")) == ""
    assert told(refusing("something is bad")) == "the message names no part: 'something is bad'"
    assert "names no part" in told(refusing("the header\nis bad"))
    assert told(fail) == "PanicException: index out of bounds"
    assert told(lambda: files[1].pixels) == ""
    assert told(lambda: files[1].pixels, sealed=False) == "the checksums did not notice"


# --- what lies behind the checksums


def escaped(index, number):
    """A stream of one symbol: the escape of a table and 17 plain bits."""
    coder, tables = constriction.stream.queue.RangeEncoder(), entropy.laplace_tables()
    coder.encode(tables.counts[index].size - 1, tables.models[index])
    coder.encode(number, constriction.stream.model.Uniform(1 << 17))
    return coder.get_compressed().astype(">u4").tobytes()


@pytest.mark.parametrize("index", [0, 30, 63])
def test_a_symbol_beyond_what_an_encoder_may_write_is_refused(index):
    tables, indices = entropy.laplace_tables(), np.array([index], np.uint8)
    allowed = 2 * (entropy.MAX_SYMBOL - entropy.support(index)) - 1  # the last one, negative
    decoder = SymbolDecoder(tables, escaped(index, allowed), "low level")
    assert decoder.read(indices).tolist() == [-entropy.MAX_SYMBOL]
    for number in (allowed + 1, allowed + 2, 2**17 - 1):
        decoder = SymbolDecoder(tables, escaped(index, number), "low level")
        with pytest.raises(BitstreamError, match="the low level holds impossible data. The file"):
            decoder.read(indices)


def level_section(data, level, change):
    """The file with another section of a level, and right checksums."""
    draft = Draft.of(data)
    sections = draft.sections
    sections[level + 2] = change(sections[level + 2])
    draft.sections = sections
    return draft.seal()


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: b"", "in the {} level section, a number is cut off at byte 0. The"),
        (lambda _: b"\x80" * 9, "in the {} level section, the number at byte 0 is longer than 5"),
        (lambda _: b"\x05***", "the tiles of the {} level section claim 6 bytes, but it has 4"),
        (lambda _: b"\x08" + b"\xff" * 8, "the {} level holds impossible data. The file is"),
    ],
    ids=["empty", "number", "shorter", "impossible"],
)
def test_what_is_wrong_with_a_level_is_said_in_its_name(level, change, message, tiny_codec, files):
    wide = next(file.data for file in files if mr.info(file.data).width > TILE)
    data = level_section(wide, level, change)
    with pytest.raises(BitstreamError, match=message.format(("low", "medium", "high")[level])):
        tiny_codec.decompress(data)


def test_what_is_wrong_with_the_routing_map_is_said_in_its_name(tiny_codec, files):
    draft = Draft.of(files[0].data)
    draft.sections = [draft.sections[0], b"\xff" * 8, *draft.sections[2:]]
    with pytest.raises(BitstreamError, match="the routing map holds impossible data"):
        tiny_codec.decompress(draft.seal())


def with_extras(data, section):
    draft = Draft.of(data)
    draft.sections = [section, *draft.sections[1:]]
    return draft.seal()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (b"A", "in the extras section, a number is cut off"),
        (b"A" + b"\xff" * 6, "in the extras section, the number at byte 1 is longer"),
        (b"I\x05abc", "the extras section holds an impossible chunk"),
        (b"X\x00", "the extras section holds an impossible chunk"),
        (b"I\x03abc", "the extras section is damaged"),
        (b"A\x08" + zlib.compress(b""), "expected 1 bytes of transparency. Received: 0"),
        (b"A\x0a" + zlib.compress(b"12"), "the extras section unpacks to more than 1 bytes"),
        (2 * (b"A\x09" + zlib.compress(b"1")), "the extras section holds an impossible chunk"),
    ],
)
def test_what_is_wrong_with_the_extras_is_said_in_their_name(section, message, files):
    with pytest.raises(BitstreamError, match=message):
        metadata.of(with_extras(files[0].data, section))


# --- time and memory

LIMITED = """
import json, resource, sys, time
from pathlib import Path
import mrdcae_lite as mr
from mrdcae_lite.coding import metadata

codec, data = mr.Codec.read(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]).read_bytes()
codec.decompress(Path(sys.argv[3]).read_bytes())
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 64 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
started = time.process_time()
try:
    codec.decompress(data)
    metadata.of(data)
except mr.BitstreamError as error:
    print(json.dumps([str(error), time.process_time() - started]))
"""


def claims(data, width, height):
    draft = Draft.of(data)
    draft.numbers[:2] = width, height
    return draft.seal()


def profile_of(size):
    payload = zlib.compress(bytes(size), 9)
    return b"I" + write_varint(len(payload)) + payload


def transparency_of(size):
    return b"A" + profile_of(size)[1:]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("bomb", "message"),
    [
        (lambda data: claims(data, 65535, 1525), "in the low level section, a number is cut off"),
        (lambda data: claims(data, 1, 65535), "in the low level section, a number is cut off"),
        (lambda data: with_extras(data, profile_of(2**27)), "to more than 16777216 bytes"),
        (lambda data: with_extras(data, transparency_of(2**26)), "to more than 1 bytes"),
    ],
    ids=["100 megapixels", "64 tiles", "profile", "transparency"],
)
def test_a_bomb_is_refused_at_once_within_64_megabytes(bomb, message, tiny_codec, files, tmp_path):
    tiny_codec.save(tmp_path / "codec")
    (tmp_path / "bomb").write_bytes(bomb(files[0].data))
    (tmp_path / "file").write_bytes(files[0].data)
    command = [sys.executable, "-c", LIMITED, *(tmp_path / n for n in ("codec", "bomb", "file"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told, seconds = json.loads(done.stdout)
    assert message in told
    assert seconds < 0.5


# --- the scripts


def test_the_script_counts_outcomes_and_finds_no_violation(tiny_codec, tmp_path, capsys):
    tiny_codec.save(tmp_path / "codec")
    assert mutate.main(["--count", "96", "--seed", "3", "--codec", str(tmp_path / "codec")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["mutants"] == sum(summary["outcomes"].values()) == 96
    assert summary["violations"] == 0
    assert set(summary) >= {"longest seconds", "peak megabytes"}


def test_a_violation_ends_the_script_with_code_1(tiny_codec, tmp_path, capsys, monkeypatch):
    tiny_codec.save(tmp_path / "codec")
    monkeypatch.setattr(mutate, "judge", lambda *_, **__: mutate.Verdict("slow", "took 30 s"))
    assert mutate.main(["--count", "2", "--codec", str(tmp_path / "codec")]) == 1
    assert json.loads(capsys.readouterr().out)["first violations"][0]["what"] == "took 30 s"


def test_the_fuzz_script_without_atheris_says_so_in_one_line(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "atheris", None)
    assert fuzz.main([]) == 2
    error = capsys.readouterr().err
    assert error.startswith("data_scripts.fuzz: expected the package atheris")
    assert error.count("\n") == 1
