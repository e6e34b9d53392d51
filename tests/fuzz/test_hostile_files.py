"""Whatever bytes come in: a `BitstreamError` of one line that names the part, or a picture.

Hypothesis draws a few files of each kind, always the same. `pytest tests/fuzz --examples 4000`
draws 4,000 new ones of each: 100,000 in all.
"""

import io
import re
import struct
import tracemalloc
import zlib
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import constriction
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import mrdcae_lite as mr
from mrdcae_lite.coding import bitstream, entropy, metadata
from mrdcae_lite.coding.bitstream import SECTIONS, BitstreamError, read_varint, write_varint
from mrdcae_lite.coding.entropy import SymbolDecoder
from mrdcae_lite.coding.lossless import write_lossless
from mrdcae_lite.coding.maps import Maps, write_maps
from mrdcae_lite.core.tiling import TILE, Tiling

CODEC = Path(__file__).parents[1] / "golden" / "data" / "golden.keras-codec"
PART = re.compile(
    r"\.mrdc file|header|version|quality|flags|pixels a side|model|transparency|metadata section"
    r"|maps|stored tile|(low|medium|high) level|the last section"
)
ADVICE = re.compile(
    "fetch it again|Make one with|Update|load the codec|a quality up to 100|flags up to 7"
)
LARGE = 1 << 20  # pixels: of a larger picture only one is decoded, with its tile and those around

LEVELS = SECTIONS[2:]
UNIT = 64  # pixels that pictures are extended to multiples of, in the codec at hand
NUMBERS = ("width", "height", *(f"length of {section}" for section in SECTIONS))
HEADER = ("magic", "version", "quality", "flags", "model", *NUMBERS)
GREY, STORED, UNFILTERED = 1, 2, 4

EXIF = b"Exif\0\0II*\0\x08\0\0\0\1\0\x0f\1\2\0\4\0\0\0Me!\0\0\0\0\0"  # the maker alone


# --- valid files, taken apart and put together


@pytest.fixture(scope="module")
def codec():
    return mr.Codec.read(CODEC.read_bytes())


@pytest.fixture(scope="module")
def originals(codec):
    """Small files of different kinds.

    Odd sizes, grey, metadata, all levels and patches without filters, two tiles, a stored one
    beside one that is not.
    """
    photograph, rng = mr.sample("flowers"), np.random.default_rng(1)
    grey = np.repeat(photograph[100:140, 100:140, :1], 3, axis=2)
    kept = metadata.Metadata(rng.integers(0, 256, (30, 50), np.uint8), b"profile" * 30, EXIF)
    routing = rng.integers(1, 4, (4, 4), np.uint8)
    drawn = np.tile(photograph[100:120, :515], (1, 2, 1))
    drawn[:, :576] = 90
    files = [
        codec.compress(photograph[300:301, 300:301], 50),
        codec.compress(grey, 20),
        codec.compress(photograph[100:130, 200:250], 5, metadata=kept),
        codec.compress(photograph[100:170, 200:270], 30, routing=routing),
        codec.compress(np.tile(photograph[100:120, :515], (1, 2, 1)), 10),
        codec.compress(drawn, 10),
    ]
    files[3] = with_maps(files[3], Maps(routing, routing == 2, np.zeros((1, 1), bool)))
    assert mr.info(files[1]).grey
    assert set(codec.read_symbols(files[3])[1].flat) == {1, 2, 3}
    assert mr.info(files[3]).unfiltered
    assert mr.info(files[4]).width > TILE
    assert not mr.info(files[4]).stored
    assert mr.info(files[5]).stored
    assert len(files[5]) > 200
    return files


def with_maps(data, maps):
    """The file with other maps, and the flags that they need."""
    fields = taken_apart(data)
    flags = STORED * maps.stored.any() + UNFILTERED * maps.unfiltered.any()
    fields["flags"] = bytes([fields["flags"][0] & GREY | int(flags)])
    replace(fields, "maps", write_maps(maps))
    return sealed(fields)


def beside(data):
    kept = metadata.read_metadata(data)
    return kept.alpha if kept.alpha is None else kept.alpha.tobytes(), kept.icc, kept.exif


def taken_apart(data):
    """The fields of a valid file by name, all but its checksums."""
    header, sections = bitstream.unpack(data)
    numbers = map(write_varint, (header.width, header.height, *header.lengths))
    parts = data[:4], data[4:5], data[5:6], data[6:7], data[7:11], *numbers, *sections
    return dict(zip((*HEADER, *SECTIONS), parts, strict=True))


def replace(fields, section, content):
    """Give a section another content and its true length."""
    fields[section], fields[f"length of {section}"] = content, write_varint(len(content))


def sealed(fields):
    """The file of these fields, with the checksums of the sections that its numbers claim."""
    head, body = (b"".join(fields[name] for name in names) for names in (HEADER, SECTIONS))
    at, numbers = 11, []
    try:
        for _ in NUMBERS:
            number, at = read_varint(head, at)
            numbers.append(number)
    except BitstreamError:
        return head + body
    head, body = head[:at], head[at:] + body
    ends = np.cumsum([0, *numbers[2:]])
    for first, last in pairwise(ends):
        head += checksum(body[first:last]) if first < last else b""
    return head + checksum(head) + body


def checksum(data):
    return struct.pack("<I", zlib.crc32(data))


# --- what may happen to them


def numbers(near):
    """Some below 2**35, or one that differs little."""
    some = st.sampled_from([0, 1, 2**7, 2**14, 2**16, 2**31, 2**32 - 1, 2**35 - 1])
    return st.one_of(some, st.integers(max(0, near - 40), near + 40))


@st.composite
def damaged(draw, data):
    """The bytes with a fault, as transport and memory make them, or other bytes altogether."""
    first, last = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
    some, bit = draw(st.binary(min_size=1, max_size=8)), 1 << draw(st.integers(0, 7))
    start, middle, end = data[:first], data[first:last], data[last:]
    faults = {
        "flipped": start + bytes(byte ^ bit for byte in middle[:1]) + middle[1:] + end,
        "cut off": start,
        "overwritten": start + some + data[first + len(some) :],
        "inserted": start + some + middle + end,
        "lost": start + end,
        "twice": start + middle + middle + end,
        "zeros": start + bytes(len(middle)) + end,
        "ones": start + b"\xff" * len(middle) + end,
        "constant": some[:1] * len(middle),
        "random": draw(st.binary(max_size=160)),
    }
    return faults[draw(st.sampled_from([*faults]))]


def faults(draw, data):
    for _ in range(draw(st.integers(1, 3))):
        data = draw(damaged(data))
    return data


def a_fault_in_the_header(draw, data):
    end = len(data) - sum(mr.info(data).lengths)
    return draw(damaged(data[:end])) + data[end:]


def nonsense_after_the_start(draw, data):
    return data[: draw(st.integers(0, 24))] + draw(st.binary(max_size=400))


def sections_in_another_order(draw, data):
    sections = bitstream.unpack(data)[1]
    return data[: -sum(map(len, sections))] + b"".join(draw(st.permutations(sections)))


UNSEALED = (faults, a_fault_in_the_header, nonsense_after_the_start, sections_in_another_order)


def another(name, draw, fields):
    """Another value of a field; a section may keep its true length."""
    value = fields[name]
    same_size = st.binary(min_size=len(value), max_size=len(value))
    fields[name] = draw(st.one_of(damaged(value), same_size))
    if name in SECTIONS and draw(st.booleans()):
        replace(fields, name, fields[name])


def another_number(name, draw, fields):
    """Another number, or one written longer than it need be: up to 5 bytes are allowed."""
    *most, last = write_varint(draw(numbers(read_varint(fields[name], 0)[0])))
    more = draw(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5]))
    fields[name] = bytes([*most, last | 128, *[128] * (more - 1), 0] if more else [*most, last])


def a_header_with_faults(draw, fields):
    head = b"".join(fields[name] for name in HEADER)
    fields.update(dict.fromkeys(HEADER, b""), magic=head[:4] + faults(draw, head[4:]))


def another_boundary(draw, fields):
    which = draw(st.integers(0, 3))
    both = fields[SECTIONS[which]] + fields[SECTIONS[which + 1]]
    first = draw(st.integers(0, len(both)))
    replace(fields, SECTIONS[which], both[:first])
    replace(fields, SECTIONS[which + 1], both[first:])


def another_order(draw, fields):
    contents = draw(st.permutations([fields[name] for name in SECTIONS]))
    for name, content in zip(SECTIONS, contents, strict=True):
        replace(fields, name, content * draw(st.sampled_from([1, 1, 1, 2])))


def streams_of_tiles(draw, fields):
    """In one level: a stream damaged, exchanged for one of another level, or a length that lies."""
    level, other = draw(st.permutations(LEVELS))[:2]
    width, height = (read_varint(fields[side], 0)[0] for side in ("width", "height"))
    count = len(list(Tiling(height, width, UNIT)))
    parts, others = (bitstream.split_streams(fields[n], count, n) for n in (level, other))
    which = draw(st.integers(0, count - 1))
    parts[which] = draw(st.one_of(damaged(parts[which]), st.sampled_from(others)))
    lengths = [draw(st.one_of(st.just(len(part)), numbers(len(part)))) for part in parts[:-1]]
    pairs = zip(lengths, parts, strict=False)
    replace(fields, level, b"".join(write_varint(n) + part for n, part in pairs) + parts[-1])


def many_empty_tiles(draw, fields):
    tiles = draw(st.sampled_from([1, 2, 32]))
    fields["width"], fields["height"] = write_varint(90), write_varint(TILE * tiles)
    for level in LEVELS:
        replace(fields, level, bytes(max(0, tiles - 1 + draw(st.sampled_from([0, 0, 0, 1, -1])))))


def webp(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", **options)
    return buffer.getvalue()


def strange_picture(width, height):
    return np.arange(width * height * 3).astype(np.uint8).reshape(height, width, 3)


@cache
def strange_tile(kind, width, height):
    """What may stand in the place of a stored tile; only the first two are right."""
    picture = Image.fromarray(strange_picture(width, height))
    glass = picture.copy()
    glass.putalpha(Image.new("L", picture.size, 100))
    turned = picture.transpose(Image.Transpose.ROTATE_180)
    kinds = {
        "right": lambda: write_lossless(np.asarray(picture)),
        "right, other effort": lambda: webp(picture, lossless=True, quality=0, method=0),
        "lossy": lambda: webp(picture, quality=50),
        "transparent": lambda: webp(glass, lossless=True),
        "animated": lambda: webp(
            picture, lossless=True, save_all=True, append_images=[turned, picture], loop=0
        ),
        "camera data": lambda: webp(
            picture, lossless=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0"
        ),
        "wider": lambda: webp(picture.resize((width + 1, height)), lossless=True),
        "taller": lambda: webp(picture.resize((width, height + 1)), lossless=True),
        "huge": huge_tile,
        "PNG": lambda: png(picture),
        "empty": lambda: b"",
    }
    return kinds[kind]()


STRANGE = (
    "right",
    "right, other effort",
    "lossy",
    "transparent",
    "animated",
    "camera data",
    "wider",
)
STRANGE += ("taller", "huge", "PNG", "empty")


@cache
def huge_tile():
    return webp(Image.new("RGB", (16383, 5000), "red"), lossless=True, quality=0, method=0)


def png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def strange_tiles(draw, fields):
    """A stored tile of another kind; the file says that it is one."""
    kind = draw(st.sampled_from(STRANGE))
    tile = strange_tile(kind, *size_of_first_tile(fields))
    store_first_tile(fields, draw(st.one_of(st.just(tile), damaged(tile))))


def size_of_first_tile(fields):
    width, height = (read_varint(fields[side], 0)[0] for side in ("width", "height"))
    first = next(iter(Tiling(height, width, UNIT))).on_grid(1)
    return min(first.right, width), min(first.bottom, height)


def store_first_tile(fields, content):
    """Give the first tile a stored one's content, and the file the map and the flag for it."""
    width, height = (read_varint(fields[side], 0)[0] for side in ("width", "height"))
    tiling = Tiling(height, width, UNIT)
    stored = np.zeros(tiling.tiles, bool)
    stored[0, 0] = True
    nothing = np.zeros(tiling.shape, bool)
    replace(fields, "maps", write_maps(Maps(np.ones(tiling.shape, np.uint8), nothing, stored)))
    fields["flags"] = bytes([fields["flags"][0] & GREY | STORED])
    others = bitstream.split_streams(fields["low level"], stored.size, "low")[1:]
    replace(fields, "low level", bitstream.join_streams([content, *others]))


def strange_maps(draw, fields):
    """Maps that no encoder writes, and flags that may lie about them."""
    width, height = (read_varint(fields[side], 0)[0] for side in ("width", "height"))
    tiling = Tiling(height, width, UNIT)
    seed = np.random.default_rng(draw(st.integers(0, 99)))
    routing = seed.integers(1, 4, tiling.shape, np.uint8)
    share = draw(st.sampled_from([0, 0.5, 1]))
    marks = (seed.random(shape) < share for shape in (tiling.shape, tiling.tiles))
    section = write_maps(Maps(routing, *marks))
    section = draw(st.one_of(st.just(section), damaged(section), st.binary(max_size=20)))
    replace(fields, "maps", section)
    fields["flags"] = bytes([draw(st.integers(0, 8))])


@cache
def deflated_zeros(size):
    return zlib.compress(bytes(size), 9)


def chunks_of_metadata(draw, fields):
    pixels, section = read_varint(fields["width"], 0)[0] * read_varint(fields["height"], 0)[0], b""
    for _ in range(draw(st.integers(1, 2))):
        size = draw(st.sampled_from([pixels, pixels - 1, pixels + 1, 2**24, 2**24 + 1]))
        payload = deflated_zeros(size)
        length = draw(st.one_of(*[st.just(len(payload))] * 8, numbers(len(payload))))
        section += draw(st.sampled_from([b"A", b"A", b"A", b"I", b"E", b"X"]))
        section += write_varint(length) + payload
    replace(fields, "metadata", section)


SEALED = {
    **{
        name: partial(another, name) for name in ("version", "quality", "flags", "model", *SECTIONS)
    },
    **{name: partial(another_number, name) for name in NUMBERS},
    "header": a_header_with_faults,
    "boundary": another_boundary,
    "order": another_order,
    "streams of tiles": streams_of_tiles,
    "empty tiles": many_empty_tiles,
    "chunks of metadata": chunks_of_metadata,
    "strange tiles": strange_tiles,
    "strange maps": strange_maps,
}


# --- what the decoder does


def decoded(codec, data, draw):
    """Pixels, metadata, and what was asked for; None if the file is refused as it should be."""
    level = draw(st.sampled_from([1, 2, 3, 3, 3]))
    try:
        header = mr.info(data)
        (y, height), (x, width) = draw(span(header.height)), draw(span(header.width))
        if header.width * header.height > LARGE:
            height, width = 1, 1
        how = {"level": level, "region": (y, x, height, width)}
        return codec.decompress(data, **how), beside(data), how
    except BitstreamError as error:
        assert PART.search(str(error))
        assert ADVICE.search(str(error))
        assert "\n" not in str(error)
        return None


@st.composite
def span(draw, side):
    """The first row or column of a region, and how many it has: half of the time all."""
    first = draw(st.one_of(st.just(0), st.integers(0, side - 1)))
    return first, draw(st.one_of(st.just(side - first), st.integers(1, side - first)))


def explore(codec, originals, pytestconfig, change, check):
    """Try files of a kind, some of which are refused, and check what others are decoded to."""
    number, refused = pytestconfig.getoption("--examples"), []
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much]

    @settings(max_examples=number or 100, derandomize=not number, suppress_health_check=slow)
    @given(st.data())
    def attempt(data):
        original = data.draw(st.sampled_from(originals))
        found = decoded(codec, change(data.draw, original), data.draw)
        refused.append(found is None)
        if found:
            check(original, *found)

    attempt()
    assert any(refused)


@pytest.mark.parametrize("change", UNSEALED, ids=lambda change: change.__name__)
def test_damage_is_refused_or_does_no_harm(change, codec, originals, pytestconfig):
    def unchanged(original, pixels, kept, how):
        assert kept == beside(original)
        np.testing.assert_array_equal(pixels, codec.decompress(original, **how))

    explore(codec, originals, pytestconfig, change, unchanged)


@pytest.mark.parametrize("name", SEALED)
def test_lies_under_right_checksums_are_refused_or_a_picture(name, codec, originals, pytestconfig):
    def lie(draw, data):
        fields = taken_apart(data)
        SEALED[name](draw, fields)
        return sealed(fields)

    def a_picture(_original, pixels, _kept, how):
        assert pixels.dtype == np.uint8
        assert pixels.shape == (*how["region"][2:], 3)

    explore(codec, originals, pytestconfig, lie, a_picture)


def test_a_file_that_is_taken_apart_and_sealed_is_the_same(originals):
    assert [sealed(taken_apart(data)) for data in originals] == originals


def test_every_flipped_bit_is_refused(codec, originals):
    data = originals[0]
    for place in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(BitstreamError, match=PART):
            codec.decompress(bytes(damaged))


@pytest.mark.parametrize("section", SECTIONS)
def test_a_length_beyond_the_end_is_refused_whatever_the_checksum(section, codec, originals):
    data = sealed({**taken_apart(originals[2]), f"length of {section}": write_varint(2**31)})
    with pytest.raises(BitstreamError, match=f"the {section} section should end at byte 2147"):
        codec.decompress(data)


def test_a_file_cut_at_any_byte_gives_the_levels_that_are_whole(codec, originals):
    data = originals[2]
    for level in (1, 2, 3):
        end, whole = bitstream.size_up_to(data, level), codec.decompress(data, level=level)
        for size in range(end):
            with pytest.raises(BitstreamError, match=PART):
                codec.decompress(data[:size], level=level)
        for size in (end, (end + len(data)) // 2, len(data)):
            np.testing.assert_array_equal(codec.decompress(data[:size], level=level), whole)


@pytest.mark.parametrize("size", [(65535, 1525), (1, 65535), (65535, 65535), (2**35 - 1, 1)])
def test_a_size_that_lies_is_refused_before_any_memory_is_asked_for(size, codec, originals):
    width, height = map(write_varint, size)
    data = sealed({**taken_apart(originals[0]), "width": width, "height": height})
    fits = bitstream.size_fits(*size)
    message = "in the low level section, a number is cut off" if fits else "pixels a side"
    tracemalloc.start()
    with pytest.raises(BitstreamError, match=message):
        codec.decompress(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


# --- data that no encoder writes


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


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "in the {} section, a number is cut off at byte 0. The"),
        (b"\x80" * 9, "in the {} section, the number at byte 0 is longer than 5"),
        (b"\x05***", "the tiles of the {} section claim 6 bytes, but it has 4"),
        (b"\x08" + b"\xff" * 8, "the {} holds impossible data. The file is"),
    ],
    ids=["empty", "number", "shorter", "impossible"],
)
def test_what_is_wrong_with_a_level_is_said_in_its_name(level, content, message, codec, originals):
    fields = taken_apart(originals[4])
    replace(fields, level, content)
    with pytest.raises(BitstreamError, match=message.format(level)):
        codec.decompress(sealed(fields))


def test_what_is_wrong_with_the_maps_is_said_in_their_name(codec, originals):
    fields = taken_apart(originals[0])
    replace(fields, "maps", b"\xff" * 8)
    with pytest.raises(BitstreamError, match="the maps section holds impossible data"):
        codec.decompress(sealed(fields))


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("which", [3, 4])
def test_only_the_simplest_files_of_the_right_size_are_stored_tiles(kind, which, codec, originals):
    fields = taken_apart(originals[which])
    size = size_of_first_tile(fields)
    store_first_tile(fields, strange_tile(kind, *size))
    data = sealed(fields)
    if kind.startswith("right"):
        expected = strange_picture(*size)
        np.testing.assert_array_equal(codec.decompress(data)[: size[1], : size[0]], expected)
        return
    tracemalloc.start()
    with pytest.raises(BitstreamError, match="a stored tile (is|holds)"):
        codec.decompress(data, threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * read_varint(fields["width"], 0)[0] * 128 + 2**20


def test_a_stored_tile_cut_off_anywhere_is_refused(codec, originals):
    tile = write_lossless(strange_picture(70, 70))
    for size in range(0, len(tile), 7):
        fields = taken_apart(originals[3])
        store_first_tile(fields, tile[:size])
        with pytest.raises(BitstreamError, match="a stored tile holds impossible data"):
            codec.decompress(sealed(fields))
