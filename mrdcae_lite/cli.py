"""The `mrdcae` command: parse, call one library function, print.

Bad input ends in one line on standard error and exit code 2; nothing is left half-written. Among
several files each bad one has its line, and the exit code is 1.
"""

import argparse
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from mrdcae_lite import bitstream
from mrdcae_lite.codec import load, registry
from mrdcae_lite.folders import (
    EXTENSION,
    Task,
    compress_file,
    convert,
    decompress_file,
    one_line,
    plan,
)
from mrdcae_lite.images import PICTURES, RGB, pictures_in, read_image, write_atomically
from mrdcae_lite.metrics import bits_per_pixel
from mrdcae_lite.quality import check_quality


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


_DECISIVE = (
    *("steps", "batch", "size", "seed", "width", "blocks", "encoder_blocks", "learning_rate"),
    *("resolutions", "refinement"),
    *("start", "mixed", "without"),
)
"""Options of `train` that a run keeps from its first epoch to its last."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns the exit code: 0 done, 1 some of several files failed, 2 bad input, 130 interrupted.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        options = _parser().parse_args(argv)
        options.run(options)
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print("mrdcae: interrupted", file=sys.stderr)
        return 130
    except (OSError, ValueError, MemoryError) as error:
        print(f"mrdcae: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


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
    compress.add_argument("input", type=Path, metavar="IN", help="picture or folder of pictures")
    compress.add_argument("output", type=Path, metavar="OUT", nargs="?", help="default: IN.mrdc")
    aim = compress.add_mutually_exclusive_group()
    aim.add_argument("--quality", type=int, help="0 (smallest) to 100 (best), default 50")
    aim.add_argument("--target-bpp", type=_positive, metavar="B", help="at most B bits per pixel")
    aim.add_argument("--target-psnr", type=_positive, metavar="DB", help="at least DB decibels")
    compress.add_argument("--model", default="lite", help="shipped model or codec file")
    compress.add_argument("--fast", action="store_true", help="no search for cheaper symbols")
    compress.add_argument(
        "--exif", action="store_true", help="keep camera data: maker, time, place"
    )
    _add_folder(compress)
    compress.set_defaults(run=_compress)


def _add_decompress(commands: Any) -> None:
    decompress = commands.add_parser("decompress", help="write a .mrdc file as a picture")
    decompress.add_argument("input", type=Path, metavar="IN", help=".mrdc file or folder of them")
    decompress.add_argument("output", type=Path, metavar="OUT", nargs="?", help="default: IN.png")
    decompress.add_argument("--level", type=int, choices=(1, 2, 3), default=3)
    decompress.add_argument("--model", help="codec file, if it is not a shipped one")
    _add_folder(decompress)
    decompress.set_defaults(run=_decompress)


def _add_folder(command: argparse.ArgumentParser) -> None:
    command.add_argument("--to", type=Path, metavar="FOLDER", help="where results of a folder go")
    command.add_argument("--jobs", type=_whole(1), default=1, metavar="N", help="processes (1)")
    command.add_argument("--force", action="store_true", help="overwrite what is there")


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="train a codec on a folder of photographs")
    train.add_argument("photographs", type=Path, help="folder of pictures to learn from")
    train.add_argument("--validation", type=Path, required=True, help="folder to judge by")
    train.add_argument("--to", type=Path, required=True, help="folder for log, weights and codec")
    for name, value, text in (
        ("epochs", 10, "epochs"),
        ("steps", 200, "batches an epoch"),
        ("batch", 4, "crops a batch"),
        ("size", 128, "side of the crops in pixels"),
        ("seed", 0, "of weights, noise and crops"),
        ("width", 128, "channels of the residual blocks"),
        ("blocks", 2, "residual blocks a grid of the decoder"),
        ("encoder-blocks", 0, "residual blocks a grid of the encoder"),
        ("resolutions", 3, "pathways, 1 to 4"),
        ("refinement", 0, "channels of the filter after deblocking"),
        ("judge-every", 1, "epochs from one judgement to the next"),
    ):
        kind = _whole(0 if name in ("seed", "encoder-blocks", "blocks", "refinement") else 1)
        train.add_argument(f"--{name}", type=kind, default=value, help=f"{text} ({value})")
    train.add_argument("--learning-rate", type=_positive, default=3e-3, help="its peak (0.003)")
    train.add_argument(
        "--hold",
        type=float,
        default=0.0,
        help="share of the run at the peak; an epoch more or less then changes only its end (0)",
    )
    train.add_argument("--start", metavar="CODEC", help="a codec to go on from: lite, or a file")
    train.add_argument("--mixed", action="store_true", help="bfloat16 in the residual blocks")
    train.add_argument(
        "--without",
        action="append",
        default=[],
        choices=("resolutions", "attention", "switching", "augmentation"),
        help="train a twin without this idea, to see what it is worth; may be repeated",
    )
    train.set_defaults(run=_train)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="compare codecs on pictures, in real bytes")
    evaluate.add_argument("images", type=Path, nargs="*", metavar="IMAGES", help="or folders")
    evaluate.add_argument("--samples", action="store_true", help="(default) the bundled ones, too")
    evaluate.add_argument("--codecs", metavar="A,B", help="default: all; JPEG is always there")
    evaluate.add_argument("--model", default="lite", help="shipped model or codec file")
    evaluate.add_argument(
        "--qualities", metavar="Q,Q", type=_numbers, help="of mrdcae, 0 to 100, at least four"
    )
    evaluate.add_argument(
        "--resize", type=_whole(16), metavar="SIDE", help="centre squares, scaled"
    )
    evaluate.add_argument(
        "--limit", type=_whole(1), metavar="N", help="only N of them, evenly spaced"
    )
    evaluate.add_argument("--jobs", type=_whole(1), default=1, metavar="N", help="processes (1)")
    evaluate.add_argument("--out", type=Path, metavar="FILE.json", help="write the report")
    evaluate.add_argument("--reuse", type=Path, metavar="FILE.json", help="other codecs from there")
    evaluate.add_argument("--force", action="store_true", help="overwrite FILE.json")
    evaluate.set_defaults(run=_evaluate)


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(number.strip() for number in text.split(","))
    if len(numbers) < 4 or not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(
            f"expected at least four whole numbers with commas between them. Received: {text!r}"
        )
    return tuple(map(int, numbers))


def _whole(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {least}. Received: {text!r}"
            )
        return int(text)

    return number


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number. Received: {text!r}")
    return number


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Let a complaint begin with the file it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(one_line(error, path)) from error


def _free(output: Path, force: bool) -> Path:
    if output.is_dir():
        raise ValueError(f"expected a file name. Received the folder {output}. Add a name to it.")
    if output.exists() and not force:
        raise ValueError(f"{output} exists. Choose another name, or overwrite it with --force.")
    if not output.parent.is_dir():
        raise ValueError(f"the folder {output.parent} does not exist. Make it first.")
    if not os.access(output.parent, os.W_OK):
        raise ValueError(f"the folder {output.parent} cannot be written. Choose another one.")
    return output


def _compress(options: argparse.Namespace) -> None:
    if options.quality is not None:
        check_quality(options.quality)
    load(options.model)  # a wrong name shows here, not once a picture
    task = partial(
        compress_file,
        model=options.model,
        keep_exif=options.exif,
        quality=options.quality,
        target_bpp=options.target_bpp,
        target_psnr=options.target_psnr,
        fast=options.fast,
    )
    _convert(options, task, PICTURES, EXTENSION)


def _decompress(options: argparse.Namespace) -> None:
    if options.model:
        load(options.model)
    task = partial(decompress_file, model=options.model, level=options.level)
    _convert(options, task, (EXTENSION,), ".png")


def _convert(
    options: argparse.Namespace, task: Task, endings: Sequence[str], new_ending: str
) -> None:
    """One file, or those of a folder that have one of the endings."""
    if not options.input.exists():
        raise ValueError(f"{options.input}: no such file or folder. Check the path.")
    if not options.input.is_dir():
        if options.to:
            raise ValueError(f"--to goes with a folder. Received: {options.input}. Name a folder.")
        output = _free(options.output or options.input.with_suffix(new_ending), options.force)
        if new_ending == EXTENSION != output.suffix.lower():
            raise ValueError(f"expected a name that ends in {EXTENSION}. Received: {output}.")
        with _about(options.input):
            print(task(options.input, output))
        return
    if options.output or not options.to:
        raise ValueError(f"{options.input} is a folder. Say where results go with --to FOLDER.")
    pairs = plan(options.input, options.to, endings, new_ending)
    states: Counter[str] = Counter()
    results = convert(task, pairs, jobs=options.jobs, force=options.force)
    for number, (state, line) in enumerate(results, 1):
        states[state] += 1
        start, stream = ("mrdcae: ", sys.stderr) if state == "failed" else ("", sys.stdout)
        print(f"{start}{number}/{len(pairs)} {line}", file=stream, flush=True)
    print(", ".join(f"{count} {state}" for state, count in states.items()))
    if states["failed"]:
        sys.exit(1)


def _info(options: argparse.Namespace) -> None:
    data = options.file.read_bytes()
    with _about(options.file):
        header = bitstream.read_header(data)
    shape = header.height, header.width, 3
    pairs = zip(bitstream.SECTIONS, header.lengths, strict=True)
    parts = ", ".join(f"{name} {size}" for name, size in pairs if size)
    print(f"{options.file}: {header.width}x{header.height}, quality {header.quality}")
    print(f"model {header.model.hex()}")
    print(f"{len(data)} bytes ({parts}), {bits_per_pixel(data, shape):.3f} bpp")
    whole = bitstream.size_up_to(data, 3)
    if len(data) < whole:
        print(f"cut off: the whole file has {whole} bytes")


def _models(_options: argparse.Namespace) -> None:
    for name, entry in sorted(registry().items()):
        work = load(name).architecture.multiplications() / 1000
        print(f"{name}: {entry['id']}  {entry['about']} ({work:.1f} kMAC a pixel to decode)")


def _read_folder(folder: Path) -> list[RGB]:
    paths = pictures_in(folder)
    if not paths:
        raise ValueError(f"no picture in {folder}. Give a folder of photographs.")
    return [read_image(path) for path in paths]


def _train(options: argparse.Namespace) -> None:
    start = load(options.start) if options.start else None
    photographs, judges = _read_folder(options.photographs), _read_folder(options.validation)
    with _silence():
        import keras

        from mrdcae_lite.model import MRDCAE
        from mrdcae_lite.training import claim, freeze, train

    keras.utils.set_random_seed(options.seed)
    without = set(options.without)
    model = MRDCAE(
        width=options.width,
        blocks=options.blocks,
        encoder_blocks=options.encoder_blocks,
        refinement=options.refinement,
        resolutions=1 if "resolutions" in without else options.resolutions,
        attention="attention" not in without,
        textured_loss="mse" if "switching" in without else "ssim",
        block_dtype="mixed_bfloat16" if options.mixed else "float32",
        seed=options.seed,
    )
    if start:
        start.into_model(model)
    decisive = {name: value for name, value in vars(options).items() if name in _DECISIVE}
    folders = {
        name: [path.name for path in pictures_in(getattr(options, name))]
        for name in ("photographs", "validation")
    }
    claim(options.to, {**decisive, **folders})
    model = train(
        model,
        photographs,
        judges,
        options.to,
        epochs=options.epochs,
        steps=options.steps,
        batch=options.batch,
        size=options.size,
        learning_rate=options.learning_rate,
        hold=options.hold,
        judge_every=options.judge_every,
        augment="augmentation" not in without,
        seed=options.seed,
    )
    print("fitting the coding tables", file=sys.stderr)
    freeze(model, photographs, seed=options.seed).save(options.to / "trained.keras-codec")
    print(f"{options.to / 'trained.keras-codec'}: done")


def _evaluate(options: argparse.Namespace) -> None:
    output = _free(options.out, options.force) if options.out else None
    earlier = None
    if options.reuse:
        with _about(options.reuse):
            earlier = json.loads(options.reuse.read_bytes()) or {}
    from mrdcae_lite import evaluation

    samples = evaluation.bundled() if options.samples or not options.images else []
    paths = evaluation.pictures([*options.images, *samples], options.limit)
    chosen: dict[str, Any] = {"model": options.model, "resize": options.resize}
    if options.codecs is not None:
        chosen["codecs"] = tuple(name.strip() for name in options.codecs.split(","))
    if options.qualities:
        chosen["qualities"] = options.qualities

    report = evaluation.evaluate(
        paths,
        evaluation.Settings(**chosen),
        jobs=options.jobs,
        earlier=earlier,
        announce=_announcer(len(paths)),
    )
    print(evaluation.table(report))
    if output:
        write_atomically(output, evaluation.to_json(report).encode())
        print(f"\n{output}: {output.stat().st_size} bytes")
    if report["skipped"]:
        sys.exit(1)


def _announcer(total: int) -> Callable[[int, Path, str | None], None]:
    """What says of each picture, on standard error, that it is measured or why it is not."""

    def announce(number: int, path: Path, problem: str | None) -> None:
        line = f"skipped: {problem}" if problem else path.name
        print(f"{number}/{total} {line}", file=sys.stderr, flush=True)

    return announce


if __name__ == "__main__":
    sys.exit(main())
