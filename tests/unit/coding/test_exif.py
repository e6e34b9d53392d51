import io
import struct

import pytest
from PIL import ExifTags, Image

from mrdcae_lite.coding.exif import from_tiff, without_layout

MAKE, ORIENTATION, ARTIST = 0x010F, 0x0112, 0x013B
PREFIX = b"Exif\0\0"


def parsed(block):
    exif = Image.Exif()
    exif.load(block)
    return exif


def rich(order="<"):
    """A block with fractions, a maker's note, places and a thumbnail."""
    exif = Image.Exif()
    exif.endian = order
    exif[MAKE] = "Maker"
    exif[ORIENTATION] = 6
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.ExposureTime] = (1, 250)
    inner[ExifTags.Base.MakerNote] = bytes(range(200))
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return exif.tobytes()


def block(*entries, order="<", values=b""):
    """A block with one directory of entries: tag, type, count, four bytes."""
    rows = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(entries))
    return head + rows + bytes(4) + values


def offset(entries, order="<"):
    return struct.pack(f"{order}I", 8 + 2 + 12 * entries + 4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_orientation_goes_and_everything_else_stays_where_it_was(order):
    before = rich(order)
    after = without_layout(before)
    assert len(after) == len(before)
    assert ORIENTATION not in parsed(after)
    assert parsed(after)[MAKE] == "Maker"
    for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        assert dict(parsed(after).get_ifd(tag)) == dict(parsed(before).get_ifd(tag))
    note = bytes(range(200))
    assert after.index(note) == before.index(note)
    assert without_layout(after) == after


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (2, "Jörg Ångström\0".encode()),
        (2, "J\xf6rg\0".encode("latin-1")),
        (7, bytes(range(256))),
        (5, struct.pack("<4I", 1, 0, 4294967295, 3)),
        (10, struct.pack("<2i", -1, 3)),
        (12, struct.pack("<d", 0.1)),
        (1, b"\x00"),
        (129, "ütf-8\0".encode()),  # Exif 3.0
    ],
)
def test_values_survive_to_the_last_byte(kind, value):
    size = {5: 8, 10: 8, 12: 8}.get(kind, 1)
    short = len(value) <= 4
    entry = (ARTIST, kind, len(value) // size, value.ljust(4, b"\0") if short else offset(1))
    given = block(entry, values=b"" if short else value)
    for found in (without_layout(given), from_tiff(given)):
        assert value in found
        start = found.removeprefix(PREFIX)
        tag, same, count = struct.unpack_from("<HHI", start, 10)
        assert (tag, same, count) == entry[:3]


def test_the_thumbnail_is_cleared():
    picture = b"\xff\xd8a small picture\xff\xd9"
    second = struct.pack("<H", 2)
    place = 8 + 2 + 12 + 4 + 2 + 24 + 4
    second += struct.pack("<HHII", 513, 4, 1, place) + struct.pack("<HHII", 514, 4, 1, len(picture))
    given = bytearray(block((MAKE, 2, 4, b"Me!\0"), values=second + bytes(4) + picture))
    given[22:26] = struct.pack("<I", 26)  # where the second directory is
    found = without_layout(bytes(given))
    assert b"small" not in found
    assert dict(parsed(found)) == {MAKE: "Me!"}


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_camera_data_of_a_tiff_file_become_a_classic_block(order, big):
    exif = Image.Exif()
    exif[MAKE] = "Maker"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.25
    exif = parsed(exif.tobytes())  # Pillow writes such directories only when it has read them
    file = io.BytesIO()
    Image.new("L" if order == "<" else "I;16B", (5, 5)).save(file, "TIFF", exif=exif, big_tiff=big)
    found = from_tiff(file.getvalue())
    assert found[6:8] == file.getvalue()[:2]
    kept = parsed(found)
    assert kept[MAKE] == "Maker"
    assert kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == 0.25
    assert {*kept} <= {MAKE, ExifTags.IFD.Exif, 282, 283, 296}
    assert without_layout(found) == found


def test_wide_numbers_of_a_big_tiff_become_narrow_or_are_refused():
    def big(number, order="<"):
        magic = b"II+\0" if order == "<" else b"MM\0+"
        head = magic + struct.pack(f"{order}HHQQ", 8, 0, 16, 1)
        return head + struct.pack(f"{order}HHQQ", 40000, 16, 1, number) + bytes(8)

    for order in "<>":
        narrow = struct.pack(f"{order}HHII", 40000, 4, 1, 7)
        assert narrow in from_tiff(big(7, order))
        assert narrow in without_layout(big(7, order))
    with pytest.raises(ValueError, match="EXIF tag 40000 holds a number of more than 4 bytes"):
        from_tiff(big(2**32))


def test_each_page_of_a_tiff_file_has_its_own_data():
    file, makers = io.BytesIO(), ("First", "Second", "Third")
    pages = [Image.new("L", (5, 5)) for _ in makers]
    for page, maker in zip(pages, makers, strict=True):
        page.encoderinfo = {"description": maker}
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], description="First")
    for number, maker in enumerate(makers, 1):
        assert parsed(from_tiff(file.getvalue(), number))[0x010E] == maker


def test_nothing_to_keep_is_no_bytes():
    assert without_layout(b"") == without_layout(PREFIX) == b""
    alone = block((ORIENTATION, 3, 1, b"\x06\0\0\0"))
    assert without_layout(alone) == from_tiff(alone) == b""


@pytest.mark.parametrize(
    "damaged",
    [
        b"garbage",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08",
        block((ARTIST, 2, 100, offset(1))),
        block((ARTIST, 99, 1, bytes(4))),
        block((34665, 4, 1, struct.pack("<I", 9999))),
        block((34665, 4, 1, struct.pack("<I", 8))),
    ],
)
def test_damaged_data_are_an_error(damaged):
    for take in (without_layout, from_tiff):
        with pytest.raises(ValueError, match="EXIF"):
            take(damaged)


def test_changed_bytes_never_end_in_another_exception(rng):
    whole = rich()
    for _ in range(3000):
        changed = bytearray(whole[: rng.integers(len(whole))] if rng.random() < 0.3 else whole)
        for place in rng.integers(0, max(len(changed), 1), 3):
            changed[place : place + 1] = bytes([rng.integers(256)])
        for take in (without_layout, from_tiff):
            try:
                found = take(bytes(changed))
            except ValueError:
                continue
            assert found == b"" or ORIENTATION not in parsed(found)
