"""The written format, a decoder that follows it, and the package say the same.

The listing of a small file in book/back/format.md is rewritten with the golden files, by
`pytest tests/golden --rewrite-golden`.
"""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mrdcae_lite as mr
from mrdcae_lite.codec import Codec
from mrdcae_lite.coding import bitstream, entropy, metadata
from mrdcae_lite.coding.maps import Maps, read_maps, write_maps
from mrdcae_lite.runtime import context_model
from mrdcae_lite.runtime.decoder import Decoder
from tests.golden import second_decoder as second
from tests.golden.test_golden_streams import NAMES, PICTURES, SMALL, codec_of, smooth

HERE = Path(__file__).parent
DATA = HERE / "data"
PAGE = HERE.parents[1] / "book" / "back" / "format.md"
WEIGHTS = Path(mr.__file__).parent / "weights"
LISTED = "smooth"
LAPLACE = entropy.laplace_tables()
LISTING = re.compile(r"(<!-- listing -->\n```text\n).*?(?=```)", re.DOTALL)

EXIF = b"Exif\0\0II*\0\x08\0\0\0\1\0\x0f\1\2\0\4\0\0\0Me!\0\0\0\0\0"  # the maker alone


def codec_file(name):
    """The bytes of the codec file that a golden file was made with."""
    codec = PICTURES[name][0]
    if codec == SMALL:
        return (DATA / "golden.keras-codec").read_bytes()
    return (WEIGHTS / mr.models.registry()[codec]["file"]).read_bytes()


def golden(name):
    return (DATA / f"{name}.mrdc").read_bytes()


def saved(codec, folder):
    codec.save(folder / "codec")
    return (folder / "codec").read_bytes()


def assert_same(codec, codec_file, data):
    """Both decoders find the same in a file; returns what the second one found."""
    found = second.decode(codec_file, data)
    decoder = Decoder(codec.model, data)
    np.testing.assert_array_equal(found.routing, decoder.routing)
    np.testing.assert_array_equal(found.unfiltered.any(), decoder.header.unfiltered)
    assert {*found.stored} == {tile.on_grid(1)[:2] for tile in decoder.stored}
    for ours, theirs in zip(found.symbols, decoder.symbols(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    header = decoder.header
    assert found[:4] == (header.width, header.height, header.quality, header.grey)
    picture = second.pixels(codec_file, found).astype(int)
    assert abs(picture - codec.decompress(data)).max() <= 1
    return found


def test_the_second_decoder_takes_nothing_from_the_package():
    text = (HERE / "second_decoder.py").read_text()
    imports = set(re.findall(r"^ *(?:from|import) (\w+)", text, re.MULTILINE))
    assert imports <= {"numpy", "PIL", *sys.stdlib_module_names}


@pytest.mark.parametrize("name", NAMES)
def test_golden_files_have_the_same_symbols_and_pixels_in_both_decoders(name):
    assert_same(codec_of(name), codec_file(name), golden(name))


def test_all_levels_in_two_tiles_and_metadata_come_out_the_same(tiny_codec, tmp_path, rng):
    picture = np.tile(mr.sample("flowers")[200:232, :516], (1, 2, 1))
    alpha = rng.integers(0, 256, picture.shape[:2], np.uint8)
    kept = metadata.Metadata(alpha, b"profile" * 9, EXIF)
    routing = rng.integers(1, 4, (2, 34), np.uint8)
    data = tiny_codec.compress(picture, 40, routing=routing, metadata=kept)
    found = assert_same(tiny_codec, saved(tiny_codec, tmp_path), data)
    np.testing.assert_array_equal(found.routing, routing)
    assert second.spans(1032, 64) == [(0, 18), (18, 34)]
    assert (found.metadata["I"], found.metadata["E"]) == (kept.icc, kept.exif)
    rows = np.frombuffer(found.metadata["A"], np.uint8).reshape(alpha.shape)
    np.testing.assert_array_equal(np.add.accumulate(rows, axis=0, dtype=np.uint8), alpha)


def test_a_stored_tile_beside_coded_ones_comes_out_the_same(tiny_codec, tmp_path, rng):
    """Tiles in two rows and two columns; the first is drawn, filters are off here and there."""
    picture = np.tile(mr.sample("flowers")[:520, :600], (2, 2, 1))[:1030, :1100]
    picture[:576, :576] = (255, 250, 240)
    picture[10:560:7, 20:550] = (0, 0, 90)
    data = tiny_codec.compress(picture, 10, roi=rng.random(picture.shape[:2]) < 1e-3)
    header, sections = bitstream.unpack(data)
    maps = read_maps(sections[1], (34, 36), (2, 2), stored=True, filters=False)
    sections[1] = write_maps(replace(maps, unfiltered=rng.random((34, 36)) < 0.4))
    data = bitstream.pack(replace(header, unfiltered=True), sections)
    found = assert_same(tiny_codec, saved(tiny_codec, tmp_path), data)
    assert {*found.stored} == {(0, 0)}
    assert found.unfiltered.mean() > 0.3


@pytest.mark.parametrize("quality", [0, 100])
def test_grey_and_tall_pictures_come_out_the_same(quality, tiny_codec, tmp_path, rng):
    picture = np.repeat(mr.sample("flowers")[:170, 50:130, :1], 3, axis=2)
    routing = rng.integers(1, 4, (6, 4), np.uint8)
    data = tiny_codec.compress(picture, quality, routing=routing)
    assert assert_same(tiny_codec, saved(tiny_codec, tmp_path), data).grey


@pytest.mark.parametrize("resolutions", [1, 2, 3])
def test_codecs_of_fewer_resolutions_are_read_by_the_same_rules(
    resolutions, tiny_model_with, tmp_path, rng
):
    codec = Codec.from_model(tiny_model_with(resolutions=resolutions))
    picture, highest = mr.sample("flowers")[:50, :170], codec.architecture.highest
    routing = rng.integers(1, highest + 1, (2, 6), np.uint8)
    data = codec.compress(picture, 60, routing=routing)
    assert_same(codec, saved(codec, tmp_path), data)


@pytest.mark.parametrize("without", ["deblocking", "refinement"])
def test_a_codec_without_a_filter_is_read_by_the_same_rules(without, tiny_model_with, tmp_path):
    codec = Codec.from_model(tiny_model_with(**{without: 0}))
    data = codec.compress(smooth(70, 70), 60)
    assert_same(codec, saved(codec, tmp_path), data)


@pytest.fixture
def machine():
    """The reader of symbols in the second decoder, with the Laplace tables alone."""
    machine = object.__new__(second.Machine)
    machine.tables = [second.edges(counts.tolist()) for counts in LAPLACE.counts]
    return machine


def test_escapes_are_read_by_the_same_rules(machine, rng):
    indices = rng.integers(0, 64, (40, 7)).astype(np.uint8)
    symbols = rng.choice([0, -1, 5, 300, -1100, 32767, -32767], indices.shape).astype(np.int32)
    coder = entropy.SymbolEncoder(LAPLACE)
    coder.write(symbols, indices)
    read = machine.read(second.Coder(coder.finish()), indices)
    np.testing.assert_array_equal(read, symbols)


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (90, 70)])
def test_maps_are_read_by_the_same_rules(shape, rng):
    """The package divides in double precision, the page in whole numbers."""
    routing = rng.choice([1, 2, 3], shape, p=[0.05, 0.15, 0.8]).astype(np.uint8)
    stored, unfiltered = (rng.random(sides) < 0.3 for sides in ((2, 3), shape))
    stored[0, 0] = unfiltered[0, 0] = True
    stream = write_maps(Maps(routing, unfiltered, stored))
    found = second.maps(stream, shape, (2, 3), 6)
    for ours, theirs in zip(found, (stored, routing, unfiltered), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_shares_of_two_values_are_the_same_in_whole_numbers_and_in_double_precision():
    """Where the exact quotient is a whole number; elsewhere it is too far from one to matter."""
    assert 2**24 - 2 == 2 * 47 * 178481
    for common in (2, 47, 94):
        unit = np.arange(1, 2**17 // common + 1)
        for part in range(1, common):
            counts, total = part * unit, common * unit
            shares, others = counts / total, (total - counts) / total
            edges = np.floor(shares * ((2**24 - 2) / (shares + others)))
            np.testing.assert_array_equal(edges, counts * (2**24 - 2) // total)


def test_both_refuse_random_streams_or_read_the_same(machine, rng):
    outcomes = []
    for _ in range(200):
        stream = b"\xff" * 4 * int(rng.integers(0, 3)) + rng.bytes(4 * int(rng.integers(0, 5)))
        indices = rng.integers(0, 64, 40).astype(np.uint8)
        try:
            found = entropy.SymbolDecoder(LAPLACE, stream).read(indices).tolist()
        except mr.BitstreamError:
            found = None
        try:
            expected = machine.read(second.Coder(stream), indices).tolist()
        except second.RefusedError:
            expected = None
        assert found == expected
        outcomes.append(found is None)
    assert 0 < sum(outcomes) < len(outcomes)


# --- the page


def test_numbers_on_the_page_are_those_of_the_package():
    page = PAGE.read_text()
    supports = re.search(r"<!-- supports -->\n```text\n(.*?)```", page, re.DOTALL)[1]
    assert list(map(int, supports.split())) == [entropy.support(index) for index in range(64)]
    assert [entropy.support(index) for index in range(64)] == second.SUPPORT
    np.testing.assert_array_equal(second.FEATURE, context_model.LOG_FEATURE)
    assert f"{bitstream.MAX_PIXELS:,}" in page
    assert f"±{entropy.MAX_SYMBOL}" in page
    assert metadata.LARGEST == 2**24


def listing(codec_file, data):
    """The bytes of a file of one tile, line by line, and the first steps of decoding it."""
    header = mr.info(data)
    at, lines = 0, []

    def take(size, meaning):
        nonlocal at
        for first in range(0, size, 8):
            part = data[at + first : at + min(first + 8, size)].hex(" ")
            lines.append(f"{at + first:3}  {part:25}{'' if first else meaning}".rstrip())
        at += size

    take(4, "magic")
    take(1, "version 2")
    take(1, f"quality {header.quality}")
    take(1, "no flags")
    assert data[6] == 0
    take(4, "model: the start of the codec file's hash")
    names = [f"bytes of the {name} section" for name in bitstream.SECTIONS]
    for number, name in zip(
        (header.width, header.height, *header.lengths), ["width", "height", *names], strict=True
    ):
        take(len(bitstream.write_varint(number)), f"{name}: {number}")
    present = [i for i, length in enumerate(header.lengths) if length]
    for section in present:
        take(4, f"CRC-32 of the {bitstream.SECTIONS[section]} section")
    take(4, f"CRC-32 of the bytes 0 to {at - 1}")
    take(header.lengths[0], "metadata")
    take(header.lengths[1], "maps")
    for name, size in zip(bitstream.SECTIONS[2:], header.lengths[2:], strict=True):
        take(size, f"{name}: the only tile's stream")
    assert at == len(data)
    return "\n".join([*lines, "", *first_steps(codec_file, data)]) + "\n"


def first_steps(codec_file, data):
    """How the maps and the first call come out of the file."""
    _, sections = second.container(data)
    coder = second.Coder(sections[1])
    edges = second.edges([1, 1, 1])
    scale = coder.range >> 24
    quantile = coder.point // scale
    calls = []

    class Watched(second.Machine):
        def read(self, coder, tables):
            calls.append((tables, super().read(coder, tables)))
            return calls[-1][1]

    original, second.Machine = second.Machine, Watched
    try:
        found = second.decode(codec_file, data)
    finally:
        second.Machine = original
    tables, symbols = (numbers[0].tolist() for numbers in calls[0])
    rows = "; ".join(" ".join(map(str, row)) for row in found.routing.tolist())
    return [
        f"levels of patches: point {coder.point:#018x}, scale {scale:#x}, quantile {quantile}",
        f"  edges of the counts 1, 1, 1: {' '.join(map(str, edges))}",
        f"  first symbol {coder.symbol(edges)}, lower {coder.lower:#x}, range {coder.range:#x}",
        f"  levels, row by row: {rows}",
        f"first call: level 0, {len(tables)} channels, {len(calls[0][0])} anchors",
        f"  tables of its first cell: {' '.join(map(str, tables))}",
        f"  symbols of its first cell: {' '.join(map(str, symbols))}",
    ]


def test_the_listing_on_the_page_is_that_of_the_file(pytestconfig):
    page, expected = PAGE.read_text(), listing(codec_file(LISTED), golden(LISTED))
    if pytestconfig.getoption("--rewrite-golden"):
        page = LISTING.sub(lambda found: found[1] + expected, page)
        PAGE.write_text(page)
    found = LISTING.search(page)
    assert found[0].removeprefix(found[1]) == expected
