"""Odd and damaged pictures of every kind that Pillow writes, given to the real command.

    python -m tests.fuzz.foreign_suite make FOLDER [--number 1200] [--seed 0]
    python -m tests.fuzz.foreign_suite run FOLDER [--timeout 60]

`make` writes them, the same ones for the same seed and Pillow. `run` compresses each in another
process and decompresses the result. A picture must come back in its size, or be refused in one line
that names it; anything else is a fault, printed at the end, and makes the exit code 1.
"""

import argparse
import itertools
import multiprocessing
import os
import resource
import shutil
import struct
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import IO, Any, NamedTuple

from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import COMPRESSION_INFO

from mrdcae_lite.cli import main as mrdcae
from mrdcae_lite.io.images import sample

MEMORY = 6 << 30  # bytes of addresses that the process of the command may have

# --- pictures as they should be

MODES_OF_BYTES = ("LAB", "I;16", "I;16B")  # nothing is converted to these
MODES = [
    *("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F"),
    *MODES_OF_BYTES,
]
LEFT_OUT = {"EPS", "PDF", "MRDC"}  # pages, and our own
ENDINGS = {"JPEG": ".jpg", "JPEG2000": ".jp2", "PPM": ".pgm", "TIFF": ".tif"}
BLOCKS = ("DXT1", "DXT3", "DXT5", "BC2", "BC3", "BC5")

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "AVIF": [{"speed": 10}, {"speed": 10, "quality": 100, "subsampling": "4:4:4"}],
    "BLP": [{}, {"blp_version": "BLP1"}],
    "DDS": [{}, *({"pixel_format": name} for name in BLOCKS)],
    "GIF": [{}, {"interlace": 0, "optimize": True}],
    "ICO": [{}, {"bitmap_format": "bmp"}, {"sizes": [(16, 16), (32, 32)]}],
    "JPEG": [
        *({}, {"progressive": True, "optimize": True}, {"quality": 1, "subsampling": 0}),
        *({"keep_rgb": True}, {"restart_marker_blocks": 1}),
    ],
    "JPEG2000": [
        *({}, {"irreversible": True, "quality_layers": [30, 10]}, {"no_jp2": True}),
        *({"tile_size": (32, 32)}, {"signed": True}),
    ],
    "PNG": [{}, {"compress_level": 0}, {"bits": 2}, {"bits": 4}],
    "SGI": [{}, {"bpc": 2}],
    "TGA": [{}, {"compression": "tga_rle"}, {"orientation": 1, "id_section": b"camera"}],
    "TIFF": [
        *({"compression": name} for name in COMPRESSION_INFO.values()),
        *({"big_tiff": True}, {"compression": "tiff_lzw", "tiffinfo": {317: 2}}),
    ],
    "WEBP": [{}, {"lossless": True, "exact": True}, {"quality": 0, "method": 0}],
    "XBM": [{}, {"hotspot": (0, 0)}],
}


def picture(rng: Random, mode: str) -> Image.Image:
    """A photograph, a plain colour or noise, mostly small."""
    longest = rng.choice([(1, 1), (9, 9), (9, 150), (64, 64), (64, 64), (200, 150)])
    size = rng.randint(1, longest[0]), rng.randint(1, longest[1])
    if mode in MODES_OF_BYTES or rng.random() < 0.3:
        noise = rng.randbytes(len(Image.new(mode, size).tobytes()))
        found = Image.frombytes(mode, size, noise)
        if mode in ("P", "PA"):
            found.putpalette(rng.randbytes(3 * rng.choice([2, 16, 256])))
        return found
    colour = Image.new("RGB", size, rng.randrange(1 << 24))
    photograph = Image.fromarray(sample("flowers")).resize(size)
    found = rng.choice([photograph, photograph, colour])
    found = found.convert("P").convert("PA") if mode == "PA" else found.convert(mode)
    if mode.endswith("A"):
        found.putalpha(Image.linear_gradient("L").resize(size))
    return found


def exif(rng: Random) -> bytes:
    """Camera data: good, with letters of any language, damaged, or nonsense."""
    tags = Image.Exif()
    tags[0x0112] = rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 77])  # orientation
    tags[0x010F] = rng.choice(["Maker", "Jürgen Größe", "写真", ""])
    tags[0x0132] = "2024:02:30 25:61:61"
    if rng.random() < 0.5:
        tags.get_ifd(0x8769).update({0x829A: (1, 0), 0x927C: rng.randbytes(40)})
        tags.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.5)})
    good = tags.tobytes()
    bad = [rng.randbytes(60), b"Exif\0\0" + rng.randbytes(60), b"Exif\0\0", good[: len(good) // 2]]
    return rng.choice([good, good, good, changed(rng, good), *bad])


def profile(rng: Random) -> bytes:
    good = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    good = good[:24] + bytes(12) + good[36:]  # without the time
    return rng.choice([good, good, good[:200], changed(rng, good), rng.randbytes(99), b"x"])


def text(rng: Random) -> PngInfo:
    info = PngInfo()
    info.add_text("Comment", rng.choice(["plain", "ä" * 300]), zip=rng.random() < 0.5)
    info.add_itxt("Titel", "Grüße, 写真", lang="de", tkey="Ü", zip=rng.random() < 0.5)
    info.add(rng.choice([b"teSt", b"eXIf", b"gAMA", b"cHRM", b"tIME"]), rng.randbytes(8))
    return info


def beside(rng: Random, mode: str) -> dict[str, Any]:
    """What may be saved with a picture; a writer takes what it knows."""
    kinds: dict[str, Callable[[], Any]] = {
        "exif": lambda: exif(rng),
        "icc_profile": lambda: profile(rng),
        "pnginfo": lambda: text(rng),
        "comment": lambda: rng.choice([b"plain", "Grüße".encode(), rng.randbytes(20)]),
        "transparency": lambda: rng.choice([0, 7, (1, 2, 3), b"\0\x80\xff"]),
        "xmp": lambda: rng.choice([b"<x:xmpmeta/>", rng.randbytes(50)]),
        "dpi": lambda: rng.choice([(72, 72), (1, 4000)]),
        "append_images": lambda: [picture(rng, mode) for _ in range(rng.randint(1, 3))],
    }
    return {name: draw() for name, draw in kinds.items() if rng.random() < 0.25}


class Foreign(NamedTuple):
    """A file to be: what it is, its ending and its bytes."""

    about: str
    ending: str
    data: bytes


def saved(rng: Random, kind: str, options: dict[str, Any], mode: str) -> Foreign | None:
    """A picture in a format, if there is a way to write it: without what it may have beside it."""
    shown = picture(rng, mode)
    for more in (beside(rng, mode), {}):
        buffer = BytesIO()
        try:
            shown.save(buffer, kind, **{**more, **options})
        except Exception:  # each writer has its own ways to refuse
            continue
        how = (key if value is True else str(value) for key, value in options.items())
        words = [kind, mode, *how, *more]
        about = "-".join("".join(filter(str.isalnum, word)) for word in words)
        return Foreign(about[:80], ENDINGS.get(kind, f".{kind.lower()}"), buffer.getvalue())
    return None


def good(rng: Random, number: int) -> list[Foreign]:
    """So many pictures, going through all formats, variants and modes; refusals are counted."""
    Image.init()
    kinds = sorted(set(Image.SAVE) - LEFT_OUT)
    every = [
        (kind, how, mode) for kind in kinds for how in VARIANTS.get(kind, [{}]) for mode in MODES
    ]
    rng.shuffle(every)
    refused: Counter[str] = Counter()
    files: list[Foreign] = []
    for kind, how, mode in itertools.cycle(every):
        if len(files) == number:
            break
        with warnings.catch_warnings(action="ignore"):
            file = saved(rng, kind, how, mode)
        if file:
            files.append(file)
        else:
            refused[kind] += 1
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(refused.items()))
    print(f"refused by the writers: {counts}", file=sys.stderr)
    return files


# --- pictures as they should not be


def changed(rng: Random, data: bytes) -> bytes:
    """Up to 20 bytes are others, half of the time only among the first."""
    found, reach = bytearray(data), rng.choice([len(data), min(200, len(data))])
    for _ in range(rng.randint(1, 20)):
        found[rng.randrange(reach)] = rng.randrange(256)
    return bytes(found)


def damaged(rng: Random, file: Foreign, other: Foreign) -> Foreign:
    data, at, size = file.data, rng.randrange(len(file.data)), rng.randint(1, 400)
    faults = {
        "cut": data[:at],
        "changed": changed(rng, data),
        "zeros": (data[:at] + bytes(size) + data[at + size :])[: len(data)],
        "joined": data[: len(data) // 2] + other.data[len(other.data) // 2 :],
    }
    fault = rng.choice([*faults, "changed"])
    return Foreign(f"{fault}-{file.about}", file.ending, faults[fault])


def png(width: int, height: int, bits: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG that claims a size and has two rows of it at most."""
    rows = zlib.compress(bytes(min(2, height) * min(1 + width * bits // 8, 1 << 20)))
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", head), *chunks, (b"IDAT", rows), (b"IEND", b"")):
        checksum = zlib.crc32(name + content)
        data += struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
    return data


def twelve_bits(rng: Random) -> bytes:
    """A grey TIFF whose tag 258 says that a value has 12 bits."""
    buffer = BytesIO()
    picture(rng, "I;16").save(buffer, "TIFF", compression=rng.choice(["raw", "tiff_lzw", "lzma"]))
    sixteen, twelve = (struct.pack("<HHIHH", 258, 3, 1, bits, 0) for bits in (16, 12))
    return buffer.getvalue().replace(sixteen, twelve)


def by_hand(rng: Random, files: list[Foreign]) -> Iterator[Foreign]:
    """Over and over: no pictures at all, headers alone, and sizes that are only claimed."""
    sides = ((60_000, 60_000), (100_000, 999), (999, 100_000), (0, 7), (1 << 31, 1), (9_999, 9_999))
    bomb = b"Comment\0\0" + zlib.compress(bytes(100_000_000))
    while True:
        yield Foreign("empty", ".png", b"")
        yield Foreign("text", ".txt", "Grüße\n".encode() * rng.randint(1, 99))
        yield Foreign("random", ".jpg", rng.randbytes(rng.randint(1, 2000)))
        file = rng.choice(files)
        yield Foreign(f"header-{file.about}", file.ending, file.data[: rng.randint(2, 64)])
        width, height = rng.choice(sides)
        bits, colour = rng.choice([(1, 0), (8, 0), (8, 2), (8, 3), (8, 6), (16, 2)])
        yield Foreign(f"claims-{width}x{height}", ".png", png(width, height, bits, colour))
        yield Foreign(f"claims-{width}x{height}", ".ppm", b"P6 %d %d 255\n" % (width, height))
        claim = struct.pack("<HHBBB", min(width, 65_535), min(height, 65_535), 0, 0, 0)
        yield Foreign("claims", ".gif", b"GIF89a" + claim + b"," + bytes(4) + claim[:4] + bytes(9))
        yield Foreign("bomb-of-text", ".png", png(2, 2, 8, 0, (b"zTXt", bomb)))
        yield Foreign("twelve-bits", ".tif", twelve_bits(rng))


def name(rng: Random, number: int, file: Foreign) -> str:
    """A name with spaces, letters of any language, or a wrong ending."""
    between = rng.choice(["-", "-", "-", " ", " ", " Grüße, ", " 写真 ", "  "])
    kept = [file.ending] * 6
    return f"{number:04}{between}{file.about}" + rng.choice(
        [*kept, file.ending.upper(), "", ".png", ".jpg"]
    )


def make(folder: Path, number: int, seed: int) -> None:
    """Write so many files into a new folder: half of them good, most others damaged copies."""
    folder.mkdir(parents=True)
    rng = Random(seed)
    files = good(rng, number // 2)
    others = itertools.islice(by_hand(rng, files), number // 15)
    bad = [
        damaged(rng, *rng.choices(files, k=2)) for _ in range(number - number // 2 - number // 15)
    ]
    for count, file in enumerate((*files, *bad, *others)):
        (folder / name(rng, count, file)).write_bytes(file.data)


# --- the command, in a process of its own


class Report(NamedTuple):
    """What the command did with a picture: the compression, and the way back if there was one."""

    command: str  # the last one that ran
    code: int | None  # None after an exception
    exception: str
    out: list[str]
    err: list[str]
    left: set[str]  # files in the scratch folder
    sizes: list[tuple[int, int]]  # in pixels, of what came back and as Pillow says
    memory: int  # bytes that the process has had at most


def work(pipe: Connection, scratch: Path) -> None:
    """Report on the pictures whose paths come through a pipe."""
    tempfile.tempdir = str(scratch)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryFile(buffering=0) as out, tempfile.TemporaryFile(buffering=0) as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        while source := pipe.recv():
            command, code, exception = attempt(source, scratch)
            sys.stdout.flush()
            sys.stderr.flush()
            said = lines(out), lines(err)
            left = {path.name for path in scratch.iterdir()}
            back = scratch / "back.png"
            sizes = [size(back), size(source)] if back.name in left else []
            lines(err)  # what libraries say here, without the command, is not its doing
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            pipe.send(Report(command, code, exception, *said, left, sizes, memory))
            shutil.rmtree(scratch)
            scratch.mkdir()


def lines(file: IO[bytes]) -> list[str]:
    """What was written to a file, which is emptied."""
    file.seek(0)
    found = file.read().decode(errors="replace").splitlines()
    file.seek(0)
    file.truncate()
    return found


def attempt(source: Path, scratch: Path) -> tuple[str, int | None, str]:
    """The last command that ran, its exit code, and the exception that escaped from it."""
    compressed = str(scratch / "out.mrdc")
    arguments = {
        "compress": [str(source), compressed, "--quality", "20"],
        "decompress": [compressed, str(scratch / "back.png")],
    }
    for command, more in arguments.items():
        try:
            with warnings.catch_warnings():  # each picture gets its warnings anew
                code = mrdcae([command, *more])
        except BaseException as error:
            return command, None, repr(error)
        if code:
            break
    return command, code, ""


def size(path: Path) -> tuple[int, int]:
    """Of a picture when it stands upright, as Pillow says; damaged camera data turn nothing.

    Nothing, (0, 0), if Pillow refuses it, perhaps for its notes alone.
    """
    found = 0, 0
    with suppress(Exception), warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
        found = picture.size
        picture.load()  # some formats hold several sizes, or turn the picture themselves
        found = picture.size
        if picture.getexif().get(0x0112) in (5, 6, 7, 8):
            found = found[1], found[0]
    return found


def reports(paths: list[Path], timeout: float) -> Iterator[tuple[Path, Report | str]]:
    """Each picture with its report, or the kind of fault for which there is none."""
    context = multiprocessing.get_context("spawn")
    process = None
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "scratch"
        for path in paths:
            if process is None:
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir()
                pipe, end = context.Pipe()
                process = context.Process(target=work, args=(end, scratch))
                process.start()
                end.close()
            found: Report | str = "hangs"
            try:
                pipe.send(path)
                if pipe.poll(timeout):
                    found = pipe.recv()
            except (EOFError, OSError):
                found = "crashes"
            yield path, found
            if isinstance(found, str):
                process.kill()
                process.join()
                process = None
        if process:
            pipe.send(None)
            process.join()


def judge(path: Path, report: Report) -> Iterator[tuple[str, str]]:
    """The faults of a report: kind and message."""
    accepted, command = report.code == 0, report.command
    if report.exception:
        yield "other exceptions", f"{command}: {report.exception}"
    elif not accepted and (command, report.code) != ("compress", 2):
        yield "wrong exit codes", f"{command}: {report.code} {report.err}"
    own = [line for line in report.err if line.startswith("mrdcae: ")]
    if chatter := [line for line in report.err if line not in own]:
        yield "chatter of libraries", f"{len(chatter)} lines, {chatter[0]}"
    if len(own) > 1 or len(report.out) != (2 if accepted else 0):
        yield "more than one line", f"{own + report.out}"
    if report.code == 2 and not any(str(path) in line for line in own):
        yield "unnamed files", f"{own}"
    if left := report.left - ({"out.mrdc", "back.png"} if accepted else set()):
        yield "left-over files", f"{sorted(left)}"
    if accepted and len({*report.sizes} - {(0, 0)}) != 1:
        yield "wrong sizes", f"back and there: {report.sizes}"


FAULTS = (
    *("other exceptions", "crashes", "hangs", "wrong exit codes", "chatter of libraries"),
    *("more than one line", "unnamed files", "left-over files", "wrong sizes"),
)


def run(folder: Path, timeout: float) -> dict[str, list[str]]:
    """Print a table of what became of the files of a folder; returns the faults by kind."""
    paths = sorted(folder.iterdir())
    faults: dict[str, list[str]] = {kind: [] for kind in FAULTS}
    counts, memory = Counter[str](), 0
    for number, (path, report) in enumerate(reports(paths, timeout), 1):
        found = [(report, "")] if isinstance(report, str) else [*judge(path, report)]
        for kind, message in found:
            faults[kind].append(f"{path.name}: {message.replace(f'{path}', 'FILE')}"[:250])
        if isinstance(report, Report):
            counts["accepted" if report.code == 0 else "refused"] += not found
            memory = max(memory, report.memory)
        if number % 100 == 0:
            print(f"{number}/{len(paths)}", file=sys.stderr, flush=True)
    if sorted(folder.iterdir()) != paths:
        faults["left-over files"].append(f"{folder} holds other files than before")
    rows = {"files": len(paths), "accepted, and back in its size": counts["accepted"]}
    rows |= {"refused in one line": counts["refused"]}
    rows |= {kind: len(found) for kind, found in faults.items()}
    rows |= {"peak memory in MiB": memory >> 20}
    for row, value in rows.items():
        print(f"{row:32}{value:6}")
        for line in faults.get(row, []):
            print(f"    {line}")
    return {kind: found for kind, found in faults.items() if found}


def main() -> int:
    parser = argparse.ArgumentParser(description="Foreign pictures for the real command.")
    commands = parser.add_subparsers(required=True, dest="command")
    making, running = commands.add_parser("make"), commands.add_parser("run")
    for command in (making, running):
        command.add_argument("folder", type=Path)
    making.add_argument("--number", type=int, default=1200)
    making.add_argument("--seed", type=int, default=0)
    running.add_argument("--timeout", type=float, default=60, help="seconds for a file")
    options = parser.parse_args()
    if options.command == "make":
        make(options.folder, options.number, options.seed)
        return 0
    return int(bool(run(options.folder, options.timeout)))


if __name__ == "__main__":
    sys.exit(main())
