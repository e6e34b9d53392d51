"""The `mrdcae` command: parse, call one library function, print.

Bad input ends in one line on standard error and exit code 2; nothing is left half-written.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite import bitstream
from mrdcae_lite.images import ImageError, read_image, write_atomically, write_image
from mrdcae_lite.metrics import bits_per_pixel, compression_ratio

EXTENSION = ".mrdc"


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what C++ libraries say while they are loaded off standard error."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class UsageError(Exception):
    """A request that cannot be met, in one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 done, 2 bad input, 130 interrupted)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        options = _parser().parse_args(argv)
        options.run(options)
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print("mrdcae: interrupted", file=sys.stderr)
        return 130
    except (UsageError, ImageError, OSError, ValueError, MemoryError) as error:
        print(f"mrdcae: {_one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}. Give a path that can be read or written."
    return " ".join(str(error).split()) or type(error).__name__


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See `{self.prog} --help`.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mrdcae", description="Learned image compression, MR-DCAE.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_compress(commands)
    _add_decompress(commands)
    info = commands.add_parser("info", help="print what a .mrdc file says about itself")
    info.add_argument("file", type=Path)
    info.set_defaults(run=_info)
    models = commands.add_parser("models", help="list the shipped models")
    models.set_defaults(run=_models)
    _add_train(commands)
    _add_evaluate(commands)
    return parser


def _add_compress(commands: Any) -> None:
    compress = commands.add_parser("compress", help="write a picture as a .mrdc file")
    compress.add_argument("input", type=Path, metavar="IN", help="picture to read")
    compress.add_argument("output", type=Path, metavar="OUT", nargs="?", help="default: IN.mrdc")
    aim = compress.add_mutually_exclusive_group()
    aim.add_argument("--quality", type=int, help="0 (smallest) to 100 (best), default 50")
    aim.add_argument("--target-bpp", type=float, metavar="B", help="at most B bits per pixel")
    aim.add_argument("--target-psnr", type=float, metavar="DB", help="at least DB decibels")
    compress.add_argument("--model", default="lite", help="shipped model or codec file")
    compress.add_argument("--fast", action="store_true", help="no search for cheaper symbols")
    compress.add_argument("--force", action="store_true", help="overwrite OUT")
    compress.set_defaults(run=_compress)


def _add_decompress(commands: Any) -> None:
    decompress = commands.add_parser("decompress", help="write a .mrdc file as a picture")
    decompress.add_argument("input", type=Path, metavar="IN", help=".mrdc file to read")
    decompress.add_argument("output", type=Path, metavar="OUT", nargs="?", help="default: IN.png")
    decompress.add_argument("--level", type=int, choices=(1, 2, 3), default=3)
    decompress.add_argument("--model", help="codec file, if it is not a shipped one")
    decompress.add_argument("--force", action="store_true", help="overwrite OUT")
    decompress.set_defaults(run=_decompress)


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="train a codec on a folder of photographs")
    train.add_argument("photographs", type=Path, help="folder of pictures to learn from")
    train.add_argument("--validation", type=Path, required=True, help="folder to judge by")
    train.add_argument("--to", type=Path, required=True, help="folder for log, weights and codec")
    for name, value, text in (
        ("epochs", 10, "epochs"),
        ("steps", 200, "batches an epoch"),
        ("batch", 8, "crops a batch"),
        ("size", 128, "side of the crops in pixels"),
        ("seed", 0, "of weights, noise and crops"),
    ):
        train.add_argument(f"--{name}", type=int, default=value, help=f"{text} ({value})")
    train.add_argument("--learning-rate", type=float, default=3e-3, help="its peak (0.003)")
    train.add_argument("--mixed", action="store_true", help="bfloat16 in the residual blocks")
    train.set_defaults(run=_train)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="compare codecs on pictures, in real bytes")
    evaluate.add_argument("images", type=Path, nargs="*", metavar="IMAGES", help="or folders")
    evaluate.add_argument("--samples", action="store_true", help="(default) the bundled ones, too")
    evaluate.add_argument("--codecs", metavar="A,B", help="default: all; JPEG is always there")
    evaluate.add_argument("--model", default="lite", help="shipped model or codec file")
    evaluate.add_argument("--qualities", metavar="Q,Q", help="of mrdcae, 0 to 100, at least four")
    evaluate.add_argument("--resize", type=int, metavar="SIDE", help="centre squares, scaled")
    evaluate.add_argument("--limit", type=int, metavar="N", help="only N of them, evenly spaced")
    evaluate.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (1)")
    evaluate.add_argument("--out", type=Path, metavar="FILE.json", help="write the report")
    evaluate.add_argument("--reuse", type=Path, metavar="FILE.json", help="other codecs from there")
    evaluate.add_argument("--force", action="store_true", help="overwrite FILE.json")
    evaluate.set_defaults(run=_evaluate)


def _free(output: Path, force: bool) -> Path:
    if output.is_dir():
        raise UsageError(f"expected a file name. Received the folder {output}. Add a name to it.")
    if output.exists() and not force:
        raise UsageError(f"{output} exists. Choose another name, or overwrite it with --force.")
    if not output.parent.is_dir():
        raise UsageError(f"the folder {output.parent} does not exist. Make it first.")
    return output


def _compress(options: argparse.Namespace) -> None:
    if options.quality is not None:
        from mrdcae_lite.quality import check_quality

        check_quality(options.quality)
    output = _free(options.output or options.input.with_suffix(EXTENSION), options.force)
    image = read_image(options.input)
    with _silence():
        from mrdcae_lite.codec import load

    data = load(options.model).compress(
        image,
        options.quality,
        target_bpp=options.target_bpp,
        target_psnr=options.target_psnr,
        fast=options.fast,
    )
    write_atomically(output, data)
    bpp, ratio = bits_per_pixel(data, image.shape), compression_ratio(data, image.shape)
    quality = bitstream.read_header(data).quality
    print(f"{output}: {len(data)} bytes, {bpp:.3f} bpp, {ratio:.1f}:1, quality {quality}")


def _decompress(options: argparse.Namespace) -> None:
    output = _free(options.output or options.input.with_suffix(".png"), options.force)
    data = options.input.read_bytes()
    bitstream.unpack(data, levels=options.level)
    with _silence():
        from mrdcae_lite.codec import load, load_for

    codec = load(options.model) if options.model else load_for(data)
    write_image(output, codec.decompress(data, level=options.level))
    print(f"{output}: {output.stat().st_size} bytes")


def _info(options: argparse.Namespace) -> None:
    data = options.file.read_bytes()
    header = bitstream.read_header(data)
    shape = header.height, header.width, 3
    names = ("routing map", "low", "medium", "high")
    parts = ", ".join(f"{n} {size}" for n, size in zip(names, header.lengths, strict=True))
    print(f"{options.file}: {header.width}x{header.height}, quality {header.quality}")
    print(f"model {header.model.hex()}, patches of {header.patch}, tiles of {header.tile} pixels")
    print(f"{len(data)} bytes ({parts}), {bits_per_pixel(data, shape):.3f} bpp")


def _models(_options: argparse.Namespace) -> None:
    with _silence():
        from mrdcae_lite.codec import registry

    for name, entry in sorted(registry().items()):
        print(f"{name}: {entry['id']}  {entry['about']}")


def _read_folder(folder: Path) -> list[NDArray[np.uint8]]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not paths:
        raise UsageError(f"no .png or .jpg picture in {folder}. Give a folder of photographs.")
    return [read_image(path) for path in paths]


def _train(options: argparse.Namespace) -> None:
    photographs, judges = _read_folder(options.photographs), _read_folder(options.validation)
    with _silence():
        import keras

        from mrdcae_lite.codec import Codec
        from mrdcae_lite.model import MRDCAE
        from mrdcae_lite.preparation import crop
        from mrdcae_lite.training import train

    keras.utils.set_random_seed(options.seed)
    dtype = "mixed_bfloat16" if options.mixed else "float32"
    model = train(
        MRDCAE(block_dtype=dtype, seed=options.seed),
        photographs,
        judges,
        options.to,
        epochs=options.epochs,
        steps=options.steps,
        batch=options.batch,
        size=options.size,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    print("fitting the coding tables", file=sys.stderr)
    rng = np.random.default_rng(options.seed)
    sizeable = [image for image in photographs if min(image.shape[:2]) >= 256]
    pieces = [crop(image, 256, rng) for image in sizeable[:: max(1, len(sizeable) // 80)]]
    Codec.from_model(model).refined(pieces).save(options.to / "trained.keras-codec")
    print(f"{options.to / 'trained.keras-codec'}: done")


def _evaluate(options: argparse.Namespace) -> None:
    output = _free(options.out, options.force) if options.out else None
    earlier = json.loads(options.reuse.read_bytes()) if options.reuse else None
    from mrdcae_lite import evaluation

    samples = evaluation.bundled() if options.samples or not options.images else []
    paths = evaluation.pictures([*options.images, *samples], options.limit)
    chosen: dict[str, Any] = {"model": options.model, "resize": options.resize}
    if options.codecs:
        chosen["codecs"] = tuple(options.codecs.split(","))
    if options.qualities:
        chosen["qualities"] = tuple(int(quality) for quality in options.qualities.split(","))

    def announce(number: int, path: Path, problem: str | None) -> None:
        line = f"mrdcae: skipped: {problem}" if problem else path.name
        print(f"{number}/{len(paths)} {line}", file=sys.stderr, flush=True)

    report = evaluation.evaluate(
        paths,
        evaluation.Settings(**chosen),
        jobs=options.jobs,
        earlier=earlier,
        announce=announce,
    )
    print(evaluation.table(report))
    if output:
        write_atomically(output, evaluation.to_json(report).encode())
        print(f"\n{output}: {output.stat().st_size} bytes")


if __name__ == "__main__":
    sys.exit(main())
