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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from mrdcae_lite import __version__
from mrdcae_lite.coding import bitstream
from mrdcae_lite.core.files import one_line, write_atomically
from mrdcae_lite.core.quality import check_quality
from mrdcae_lite.evaluation import inspection
from mrdcae_lite.extras import extra
from mrdcae_lite.io.batch import EXTENSION, Task, compress_file, convert, decompress_file, plan
from mrdcae_lite.io.images import PICTURES
from mrdcae_lite.io.sizes import bits_per_pixel
from mrdcae_lite.models import load, registry
from mrdcae_lite.runtime.parallel import thread_count


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
    except (OSError, ValueError, MemoryError, ImportError) as error:
        print(f"mrdcae: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See `{self.prog} --help`.\n")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="mrdcae", description="Learned image compression, MR-DCAE.")
    parser.add_argument("--version", action="version", version=f"mrdcae-lite {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    for name, run, add_options, text in (
        ("compress", _compress, _add_compress, "write a picture as a .mrdc file"),
        ("decompress", _decompress, _add_decompress, "write a .mrdc file as a picture"),
        ("info", _info, _add_info, "print what a .mrdc file says about itself"),
        ("models", _models, lambda _command: None, "list the shipped models"),
        ("train", _train, _add_train, "train a codec on a folder of photographs"),
        ("evaluate", _evaluate, _add_evaluate, "compare codecs on pictures, in real bytes"),
    ):
        command = commands.add_parser(name, help=text)
        command.set_defaults(run=run)
        add_options(command)
    return parser


def _add_compress(command: argparse.ArgumentParser) -> None:
    _add_files(command, "picture or folder of pictures", EXTENSION)
    add, aim = command.add_argument, command.add_mutually_exclusive_group()
    aim.add_argument("--quality", type=int, help="0 (smallest) to 100 (best), default 50")
    aim.add_argument("--target-bpp", type=_positive, metavar="B", help="at most B bits per pixel")
    aim.add_argument("--target-psnr", type=_positive, metavar="DB", help="at least DB decibels")
    add("--model", default="lite", help="shipped model or codec file")
    add("--fast", action="store_true", help="no search for cheaper symbols")
    add("--exif", action="store_true", help="keep camera data: maker, time, place")


def _add_decompress(command: argparse.ArgumentParser) -> None:
    _add_files(command, ".mrdc file or folder of them", ".png")
    command.add_argument("--level", type=int, choices=(1, 2, 3), default=3)
    command.add_argument("--model", help="codec file, if it is not a shipped one")


def _add_files(command: argparse.ArgumentParser, what: str, ending: str) -> None:
    add = command.add_argument
    add("input", type=Path, metavar="IN", help=what)
    add("output", type=Path, metavar="OUT", nargs="?", help=f"default: IN{ending}")
    add("--to", type=Path, metavar="FOLDER", help="where results of a folder go")
    add("--jobs", type=_whole, default=1, metavar="N", help="pictures at a time, of a folder (1)")
    add("--threads", type=_whole, metavar="N", help="tiles at a time (as there are processors)")
    add("--force", action="store_true", help="overwrite what is there")


def _add_info(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path)


def _add_train(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("photographs", type=Path, help="folder of pictures to learn from")
    add("--validation", type=Path, required=True, help="folder to judge by")
    add("--to", type=Path, required=True, help="folder for log, weights and codec")
    for name, least, value, text in (
        ("epochs", 1, 10, "epochs"),
        ("steps", 1, 200, "batches an epoch"),
        ("batch", 1, 4, "crops a batch"),
        ("size", 1, 128, "side of the crops in pixels"),
        ("seed", 0, 0, "of weights, noise and crops"),
        ("resolutions", 1, 4, "pathways, 1 to 4"),
        ("deblocking", 0, 64, "channels of the deblocking filter"),
        ("refinement", 0, 64, "channels of the refinement filter"),
        ("judge-every", 1, 1, "epochs from one evaluation to the next"),
    ):
        kind = partial(_whole, least=least)
        add(f"--{name}", type=kind, default=value, help=f"{text} ({value})")
    add("--learning-rate", type=_positive, default=3e-3, help="its peak (0.003)")
    add("--start", metavar="CODEC", help="a codec to go on from: lite, or a file")
    hold = "share of the run at the peak, 0 to below 1 (0)"
    add("--hold", type=float, default=0.0, metavar="SHARE", help=hold)
    ideas = ("resolutions", "attention", "switching", "augmentation")
    text = "train a twin without this idea, to see what it is worth; may be repeated"
    add("--without", action="append", default=[], choices=ideas, help=text)


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    add, own = command.add_argument, argparse.SUPPRESS  # the default of `Settings`
    add("images", type=Path, nargs="*", metavar="IMAGES", help="or folders")
    add("--samples", action="store_true", help="(default) the bundled ones, too")
    codecs = "default: all; JPEG is always there"
    add("--codecs", metavar="A,B", type=_names, default=own, help=codecs)
    add("--model", default="lite", help="shipped model or codec file")
    numbers = "of mrdcae, 0 to 100, at least four"
    add("--qualities", metavar="Q,Q", type=_numbers, default=own, help=numbers)
    square = partial(_whole, least=16)
    add("--resize", type=square, metavar="SIDE", help="centre squares, scaled")
    add("--limit", type=_whole, metavar="N", help="only N of them, evenly spaced")
    add("--jobs", type=_whole, default=1, metavar="N", help="processes (1)")
    add("--out", type=Path, metavar="FILE.json", help="write the report")
    add("--reuse", type=Path, metavar="FILE.json", help="other codecs from there")
    add("--force", action="store_true", help="overwrite FILE.json")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    numbers = _names(text)
    if len(numbers) < 4 or not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(
            f"expected at least four whole numbers with commas between them. Received: {text!r}"
        )
    return tuple(map(int, numbers))


def _whole(text: str, least: int = 1) -> int:
    if text.strip().isdecimal() and int(text) >= least:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number from {least}. Received: {text!r}")


def _positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a positive number. Received: {text!r}")


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
    wishes = {name: getattr(options, name) for name in ("quality", "target_bpp", "target_psnr")}
    more = {"rdoq": not options.fast, "keep_exif": options.exif, "threads": _threads(options)}
    task = partial(compress_file, model=options.model, **wishes, **more)
    _convert(options, task, PICTURES, EXTENSION)


def _decompress(options: argparse.Namespace) -> None:
    if options.model:
        load(options.model)
    how = {"level": options.level, "threads": _threads(options)}
    task = partial(decompress_file, model=options.model, **how)
    _convert(options, task, (EXTENSION,), ".png")


def _threads(options: argparse.Namespace) -> int:
    """Threads for each picture; several pictures at a time share the processors."""
    threads: int = options.threads or max(1, thread_count() // options.jobs)
    return threads


def _convert(options: argparse.Namespace, task: Task, endings: Sequence[str], new: str) -> None:
    """One file, or those of a folder that have one of the endings, to files of the new ending."""
    if not options.input.exists():
        raise ValueError(f"{options.input}: no such file or folder. Check the path.")
    if not options.input.is_dir():
        if options.to:
            raise ValueError(f"--to goes with a folder. Received: {options.input}. Name a folder.")
        output = _free(options.output or options.input.with_suffix(new), options.force)
        if new == EXTENSION != output.suffix.lower():
            raise ValueError(f"expected a name that ends in {EXTENSION}. Received: {output}.")
        with _about(options.input):
            print(task(options.input, output))
        return
    if options.output or not options.to:
        raise ValueError(f"{options.input} is a folder. Say where results go with --to FOLDER.")
    pairs = plan(options.input, options.to, endings, new)
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
    bpp = bits_per_pixel(data, (header.height, header.width))
    sections = zip(bitstream.SECTIONS, header.lengths, strict=True)
    parts = ", ".join(f"{name} {size}" for name, size in sections if size)
    print(f"{options.file}: {header.width}x{header.height}, quality {header.quality}")
    print(f"model {header.model.hex()}\n{len(data)} bytes ({parts}), {bpp:.3f} bpp")
    whole = bitstream.size_up_to(data, 3)
    if len(data) < whole:
        print(f"cut off: the whole file has {whole} bytes")


def _models(_options: argparse.Namespace) -> None:
    for name, entry in sorted(registry().items()):
        work = inspection.multiplications(load(name).architecture) / 1000
        print(f"{name}: {entry['id']}  {entry['about']} ({work:.1f} kMAC a pixel to decode)")


def _train(options: argparse.Namespace) -> None:
    with extra("tensorflow"):
        from mrdcae_lite.training.run import TrainingRun

    chosen = {name: getattr(options, name) for name in TrainingRun.__dataclass_fields__}
    TrainingRun(**chosen).train(options.photographs, options.validation, options.to)
    print(f"{options.to / 'trained.keras-codec'}: done")


def _evaluate(options: argparse.Namespace) -> None:
    output = _free(options.out, options.force) if options.out else None
    earlier = None
    if options.reuse:
        with _about(options.reuse):
            earlier = json.loads(options.reuse.read_bytes()) or {}
    with extra("evaluation"):
        from mrdcae_lite.evaluation import benchmark
        from mrdcae_lite.evaluation.report import table, to_json

    samples = benchmark.bundled() if options.samples or not options.images else []
    paths = benchmark.pictures([*options.images, *samples], options.limit)
    names = benchmark.Settings.__dataclass_fields__.keys() & vars(options).keys()
    settings = benchmark.Settings(**{name: getattr(options, name) for name in names})

    def announce(number: int, path: Path, problem: str | None) -> None:
        line = f"skipped: {problem}" if problem else path.name
        print(f"{number}/{len(paths)} {line}", file=sys.stderr, flush=True)

    more = {"jobs": options.jobs, "earlier": earlier, "announce": announce}
    report = benchmark.evaluate(paths, settings, **more)
    print(table(report))
    if output:
        write_atomically(output, to_json(report).encode())
        print(f"\n{output}: {output.stat().st_size} bytes")
    if report["skipped"]:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
