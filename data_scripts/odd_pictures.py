"""Make a folder of odd pictures, three of them bad, and send it through the `mrdcae` command.

    python -m data_scripts.odd_pictures [--to DIR] [--jobs N]

`mrdcae compress` runs twice, the second time with nothing left to do, then `mrdcae decompress`.
Prints what came back of each picture, and its PSNR against what a person sees who opens the
original. The exit code is 1, with one line that says what differs, unless all is as it should be.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms

import mrdcae_lite as mr
from data_scripts import DataError
from data_scripts.command import Parser, guarded
from mrdcae_lite.core.distortion import psnr

BAD = ["broken.png", "cut.jpg", "empty.png"]
LEAST_DB = 20.0  # the hardest picture, black and white dots, has 24
ROW = "{:<17} {:<4} {:>7} {:>6} {:>6}   {:>7} {:<4} {:<5} {:<7} {:<7} {:>5}"
BACK = ("size", "mode", "alpha", "profile", "upright")


class Odd(NamedTuple):
    """A good picture, and what must come back.

    Attributes:
        name: of its file.
        seen: what a person sees, in the mode in which it must come back.
        icc: its colour profile, empty if it has none.
    """

    name: str
    seen: Image.Image
    icc: bytes = b""


class Run(NamedTuple):
    """What a command did.

    Attributes:
        code: its exit code.
        counts: what it counted at its end, such as "3 failed".
        named: the file that each line of standard error is about, or the line itself.
        wrote: the files that it made or touched, by their modification times.
    """

    code: int
    counts: list[str]
    named: list[str]
    wrote: list[str]


def make(folder: Path) -> list[Odd]:
    """Fill a new folder with good and bad pictures, and return the good ones."""
    folder.mkdir(parents=True)
    odd: list[Odd] = []

    def save(name: str, stored: Image.Image, seen: Image.Image, **options: Any) -> None:
        stored.save(folder / name, **options)
        odd.append(Odd(name, seen, options.get("icc_profile", b"")))

    flowers = Image.fromarray(mr.sample("flowers"))
    for width, height in ((1, 1), (1, 300), (511, 3)):
        small = flowers.crop((0, 0, width, height))
        save(f"{width}x{height}.png", small, small)
    colour = flowers.crop((100, 100, 340, 260))
    grey, dots = colour.convert("L"), colour.convert("1")
    save("grey.png", grey, grey)
    save("bilevel.png", dots, dots.convert("L"))
    save("sixteen.png", Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), grey)
    save("cmyk.jpg", colour.convert("CMYK"), colour, quality=95)

    palette = colour.convert("P", palette=Image.Palette.ADAPTIVE)
    indices = np.asarray(palette)
    hole = int(indices[0, 0])
    mask = Image.fromarray(np.where(indices == hole, 0, 255).astype(np.uint8))
    looked_up = palette.convert("RGB")
    pierced = Image.merge("RGBA", (*looked_up.split(), mask))
    save("palette.gif", palette, looked_up)
    save("palette-alpha.png", palette, pierced, transparency=hole)
    fading = Image.linear_gradient("L").resize(colour.size)
    glass = Image.merge("RGBA", (*colour.split(), fading))
    save("alpha.png", glass, glass)
    save("grey-alpha.png", Image.merge("LA", (grey, fading)), Image.merge("LA", (grey, fading)))

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save("profile.png", colour, colour, icc_profile=profile)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter, clockwise
    lying = colour.transpose(Image.Transpose.ROTATE_90)  # the other way round
    save("turned.jpg", lying, colour, quality=95, exif=exif)

    whole = (folder / "turned.jpg").read_bytes()
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"junk" * 20)
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    return odd


def run(command: str, source: Path, to: Path, jobs: int) -> Run:
    """Run the command line on a folder, in a process of its own."""
    before = _times(to)
    call = [sys.executable, "-m", "mrdcae_lite.cli", command, str(source), "--to", str(to)]
    done = subprocess.run([*call, "--jobs", str(jobs)], capture_output=True, text=True, check=False)
    counts = "".join(done.stdout.splitlines()[-1:]).split(", ")
    paths = {f" {path}: ": path.name for path in source.glob("*")}
    named = [
        next((name for path, name in paths.items() if path in line), line)
        for line in done.stderr.splitlines()
    ]
    wrote = [name for name, _ in _times(to).items() - before.items()]
    return Run(done.returncode, sorted(counts), sorted(named), sorted(wrote))


def _times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*")}


def faults(runs: Sequence[Run], odd: Sequence[Odd]) -> list[str]:
    """What the three commands did otherwise than they should."""
    files, back = (sorted(Path(one.name).stem + end for one in odd) for end in (".mrdc", ".png"))
    failed, written = f"{len(BAD)} failed", f"{len(odd)} written"
    expected = {
        "compress": Run(1, sorted([written, failed]), BAD, files),
        "compress again": Run(1, sorted([f"{len(odd)} there already", failed]), BAD, []),
        "decompress": Run(0, [written], [], back),
    }
    return [
        f"{name}, {field}: expected {wanted}, got {got}"
        for (name, right), one in zip(expected.items(), runs, strict=True)
        for field, wanted, got in zip(Run._fields, right, one, strict=True)
        if wanted != got
    ]


def compare(one: Odd, folder: Path) -> tuple[str, list[str]]:
    """The row of a picture in the table, and what is wrong with what came back of it."""
    source, stem = folder / "pictures" / one.name, Path(one.name).stem
    with Image.open(source) as stored:
        start = (one.name, stored.mode, _size(stored), source.stat().st_size)
    try:
        file = (folder / "files" / f"{stem}.mrdc").stat().st_size
        with Image.open(folder / "back" / f"{stem}.png") as opened:
            found = opened.copy()
    except OSError:
        return ROW.format(*start, *"-" * 7), [f"{one.name} did not come back"]
    scores = _scores(one.seen, found)
    kept = [
        _same(_alpha(one.seen), _alpha(found)),
        _same(one.icc, found.info.get("icc_profile", b"")),
        _same(max(scores), scores[0]),
    ]
    came = [_size(found), found.mode, *kept]
    right = [_size(one.seen), one.seen.mode, *("-" if said == "-" else "yes" for said in kept)]
    wrong = [
        f"{one.name}, {what}: expected {wanted}, got {got}"
        for what, wanted, got in zip(BACK, right, came, strict=True)
        if wanted != got
    ]
    if scores[0] < LEAST_DB:
        wrong.append(f"{one.name}, PSNR: expected {LEAST_DB:.0f} or more, got {scores[0]:.1f}")
    return ROW.format(*start, file, *came, f"{scores[0]:.1f}"), wrong


def _size(picture: Image.Image) -> str:
    return f"{picture.width}x{picture.height}"


def _alpha(picture: Image.Image) -> bytes:
    return picture.getchannel("A").tobytes() if "A" in picture.getbands() else b""


def _same(wanted: object, got: object) -> str:
    return "no" if wanted != got else "yes" if got else "-"


def _scores(seen: Image.Image, found: Image.Image) -> list[float]:
    """PSNR on white paper: of the picture as it came, then turned and mirrored in every way."""
    paper, shown = _on_white(seen), _on_white(found)
    return [
        psnr(np.asarray(paper), np.asarray(way), data_range=255) if way.size == paper.size else 0.0
        for way in (shown, *map(shown.transpose, Image.Transpose))
    ]


def _on_white(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA")
    paper = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(paper, picture).convert("RGB")


def main(argv: Sequence[str] | None = None) -> int:
    """Make the pictures, send them there and back, and print the table."""
    parser = Parser(prog="data_scripts.odd_pictures")
    parser.add_argument("--to", type=Path, metavar="DIR", help="folder to keep everything in")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (1)")
    options = parser.parse_args(argv)
    if options.jobs < 1:
        parser.error(f"--jobs must be 1 or more, not {options.jobs}")
    wrong: list[str] = []

    def work() -> None:
        with tempfile.TemporaryDirectory() as spare:
            wrong.extend(report(options.to or Path(spare), options.jobs))

    code = guarded(parser.prog, work)
    if wrong:
        print(f"{parser.prog}: {'; '.join(wrong)}", file=sys.stderr)
    return code or int(bool(wrong))


def report(folder: Path, jobs: int) -> list[str]:
    """Print the table, and return everything that is not as it should be."""
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"expected a new or an empty folder, {folder} holds files; name another")
    pictures, files, back = (folder / name for name in ("pictures", "files", "back"))
    odd = make(pictures)
    steps = [("compress", pictures, files)] * 2 + [("decompress", files, back)]
    runs = [run(*step, jobs) for step in steps]
    wrong = faults(runs, odd)
    print(ROW.format("name", "mode", "size", "bytes", ".mrdc", *BACK, "PSNR"))
    for one in odd:
        row, differences = compare(one, folder)
        print(row)
        wrong += differences
    first, second, last = runs
    print(
        f"{len(first.wrote)} written, {len(first.named)} named as bad ({', '.join(first.named)}), "
        f"{len(second.wrote)} written again, {len(last.wrote)} back; "
        f"exit codes {', '.join(str(one.code) for one in runs)}"
    )
    return wrong


if __name__ == "__main__":
    sys.exit(main())
