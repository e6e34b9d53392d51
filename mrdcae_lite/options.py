"""What can be asked of the command `mrdcae`: its options, their bounds and their help.

Nothing heavy is imported, so that `--help`, completion and complaints come at once.
"""

import argparse
import math
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

MOST_THREADS = 1024
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # as shtab calls them
USAGE = {
    name: f"mrdcae {name} [options] IN [OUT]\n       mrdcae {name} [options] IN ... --to FOLDER"
    for name in ("compress", "decompress")
}
EXIT = (
    "Exit code: 0 done, 1 some of several files failed, 2 bad input, 130 interrupted, 141 the "
    "reader closed the pipe, 143 terminated."
)
ENGINE = (
    "dask://HOST:PORT: share the work among the workers of a Dask scheduler; "
    "dask: among --jobs workers here"
)
LARGEST_SQUARE = 10_000  # pixels a side: 100 megapixels


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See `{self.prog} --help`.\n")


class Command(Parser):
    """Options may stand anywhere, also between names."""

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False


class _Version(argparse.Action):
    """Print the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from mrdcae_lite import __version__

        print(f"mrdcae-lite {__version__}")
        parser.exit()


class _Completion(argparse.Action):
    """Print what makes a shell complete the command's options."""

    def __call__(self, parser: argparse.ArgumentParser, _options: Any, shell: Any, *_: Any) -> None:
        from mrdcae_lite.extras import extra

        with extra("completion"):
            import shtab
        print(shtab.complete(parser, shell))
        parser.exit()


def parser() -> Parser:
    """The parser of the whole command; what it returns names the `command` and has its options."""
    parser = Parser(prog="mrdcae", description="Learned image compression, MR-DCAE.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    shells, text = ("bash", "zsh", "tcsh"), "print a script for the completion of commands"
    parser.add_argument("--print-completion", action=_Completion, choices=shells, help=text)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Command)
    for name, add_options, text in (
        ("compress", _add_compress, "write pictures as .mrdc files"),
        ("decompress", _add_decompress, "write .mrdc files as pictures"),
        ("info", _add_info, "show information about .mrdc files"),
        ("models", lambda _command: None, "list the bundled models"),
        ("train", _add_train, "train a codec on a folder of photographs"),
        ("evaluate", _add_evaluate, "compare codecs on pictures, in real bytes"),
        ("export", _add_export, "write the networks of a codec as ONNX graphs"),
    ):
        command = commands.add_parser(
            name, help=text, description=f"{text.capitalize()}.", usage=USAGE.get(name), epilog=EXIT
        )
        command.set_defaults(command=name)
        add_options(command)
        add = command.add_argument
        add("--json", action="store_true", help="print one JSON object per line instead of text")
        add("--quiet", action="store_true", help="print errors only")
    return parser


def _add_compress(command: argparse.ArgumentParser) -> None:
    _add_files(command, "picture, folder of pictures with --to, or - for standard input", ".mrdc")
    add, aim = command.add_argument, command.add_mutually_exclusive_group()
    aim.add_argument(
        "--quality", type=int, metavar="Q", help="0 (smallest) to 100 (best), default 50"
    )
    aim.add_argument("--target-bpp", type=_positive, metavar="B", help="at most B bits per pixel")
    aim.add_argument("--target-psnr", type=_positive, metavar="DB", help="at least DB decibels")
    add("--model", default="lite", help="bundled model or codec file (lite)")
    text = "0 to 5, how long to search for a better file (1); decoding takes the same time"
    add("--effort", type=int, default=1, metavar="E", help=text)
    add("--exif", action="store_true", help="keep camera data: maker, time, place")
    frame = "which frame or page to take, if there are several (1)"
    add("--frame", type=_whole, default=1, metavar="N", help=frame)


def _add_decompress(command: argparse.ArgumentParser) -> None:
    _add_files(command, ".mrdc file, folder of them with --to, or - for standard input", ".png")
    levels = "decode the low level, the low and medium levels, or all three (3)"
    command.add_argument("--level", type=int, choices=(1, 2, 3), default=3, help=levels)
    command.add_argument("--model", help="codec file, unless the model is a bundled one")


def _add_files(command: argparse.ArgumentParser, what: str, ending: str) -> None:
    add, jobs, threads = command.add_argument, partial(_whole, most=256), MOST_THREADS
    endings = "a name that ends in .mrdc" if ending == ".mrdc" else "a name that ends in .png .tif "
    endings += "" if ending == ".mrdc" else ".webp .bmp or .ppm"
    text = f"{what}. OUT: {endings}, or - for standard output; IN{ending} by default"
    paths: Any = add("paths", type=_path, metavar="IN", nargs="+", help=text)
    paths.complete = FILES
    add("--to", type=_path, metavar="FOLDER", help="folder or address for all results")
    add("--recursive", action="store_true", help="(with --to) include sub-folders, but no links")
    add("--dry-run", action="store_true", help="(with --to) only say what would be done")
    add("--jobs", type=jobs, default=1, metavar="N", help="(with --to) files at a time (1)")
    add("--engine", metavar="ENGINE", help=f"(with --to) {ENGINE}")
    text = "(with --to) add a line of JSON about each file to this one; takes a decoding each"
    add("--manifest", type=Path, metavar="FILE.jsonl", help=text)
    workers = partial(_whole, most=threads)
    text = "parts of a picture to compute at a time (default: one per processor)"
    add("--threads", type=workers, metavar="N", help=text)
    add("--force", action="store_true", help="overwrite existing files")


def _add_info(command: argparse.ArgumentParser) -> None:
    text = ".mrdc file, or - for standard input"
    files: Any = command.add_argument("paths", type=_path, metavar="FILE", nargs="+", help=text)
    files.complete = FILES


def _add_train(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("photographs", type=_path, help="folder or address of pictures to train on")
    add(
        "--validation",
        type=_path,
        required=True,
        help="folder or address of pictures to choose the best weights by",
    )
    add("--to", type=Path, required=True, help="folder for log, weights and codec")
    for name, least, value, text in (
        ("epochs", 1, 10, "number of epochs"),
        ("steps", 1, 200, "batches per epoch"),
        ("batch", 1, 4, "crops per batch"),
        ("size", 1, 128, "side of the crops in pixels"),
        ("seed", 0, 0, "of the random weights, noise and crops"),
        ("resolutions", 1, 4, "number of pathways, 1 to 4"),
        ("deblocking", 0, 64, "channels of the deblocking filter"),
        ("refinement", 0, 64, "channels of the refinement filter"),
        ("judge-every", 1, 1, "epochs between two evaluations"),
    ):
        kind = partial(_whole, least=least)
        add(f"--{name}", type=kind, default=value, help=f"{text} ({value})")
    add("--learning-rate", type=_positive, default=3e-3, help="peak of the learning rate (0.003)")
    add("--start", metavar="CODEC", help="bundled model or codec file whose weights to start from")
    whole, text = partial(_whole, most=256), "share each batch among N devices, with JAX (1)"
    add("--devices", type=whole, default=1, metavar="N", help=text)
    hold = "share of the run during which the rate stays at its peak, 0 to below 1 (0)"
    add("--hold", type=float, default=0.0, metavar="SHARE", help=hold)
    ideas = ("resolutions", "attention", "switching", "augmentation")
    text = "train without this part, to see what it is worth; may be repeated"
    add("--without", action="append", default=[], choices=ideas, help=text)


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    add, own = command.add_argument, argparse.SUPPRESS  # the default of `Settings`
    text = "pictures or folders, here or at addresses"
    add("images", type=_path, nargs="*", metavar="IMAGES", help=text)
    add(
        "--samples",
        action="store_true",
        help="the bundled pictures as well; alone if no IMAGES are named",
    )
    codecs = "which codecs to compare (all); JPEG is always included"
    add("--codecs", metavar="A,B", type=_names, default=own, help=codecs)
    add("--model", default="lite", help="bundled model or codec file (lite)")
    numbers = "at least four qualities of mrdcae, 0 to 100"
    add("--qualities", metavar="Q,Q", type=_numbers, default=own, help=numbers)
    square = partial(_whole, least=16, most=LARGEST_SQUARE)
    add("--resize", type=square, metavar="SIDE", help="scale the centre square to SIDE pixels")
    add("--limit", type=_whole, metavar="N", help="use only N pictures, evenly spaced")
    jobs = partial(_whole, most=256)
    add("--jobs", type=jobs, default=1, metavar="N", help="processes to share the work among (1)")
    add("--engine", metavar="ENGINE", help=ENGINE)
    add("--out", type=Path, metavar="FILE.json", help="write the report to this file")
    add(
        "--reuse",
        type=Path,
        metavar="FILE.json",
        help="take the other codecs' results from this report",
    )
    add("--force", action="store_true", help="overwrite FILE.json")


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("codec", metavar="CODEC", help="bundled model or codec file")
    add = command.add_argument
    add("--to", type=Path, required=True, metavar="FOLDER", help="for graphs and context model")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    numbers = _names(text)
    if len({*numbers}) < 4 or not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(
            "expected at least four different whole numbers, separated by commas. "
            f"Received: {text!r}"
        )
    return tuple(map(int, numbers))


def _path(text: str) -> Path:
    """A path or address; "-" alone is a stream, and `./-` a file of that name."""
    if not text:
        raise argparse.ArgumentTypeError("expected a name. Received: an empty one")
    if "://" in text:
        from mrdcae_lite.io.addresses import address

        try:
            return address(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text}: {error}") from error
    return Path.cwd() / "-" if text != "-" and Path(text) == Path("-") else Path(text)


def _whole(text: str, least: int = 1, most: int = 10**9) -> int:
    if text.strip().isdecimal() and len(text) < 20 and least <= int(text) <= most:
        return int(text)
    limits = f"from {least} to {most}" if most < 10**9 or len(text) > 9 else f"from {least}"
    raise argparse.ArgumentTypeError(f"expected a whole number {limits}. Received: {text!r}")


def _positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a positive number. Received: {text!r}")
