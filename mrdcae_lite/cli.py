"""The `mrdcae` command line: what can be asked for, and how the command ends.

`commands` does what was asked. It is imported when the options are read, so that a Ctrl-C during
the imports, too, ends in one line.

Bad input ends in one line on standard error and exit code 2; nothing is left half-written. Among
several files each bad one has its line, and the exit code is 1.
"""

import argparse
import math
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143
"""Exit codes after the signals INT, PIPE and TERM: 128 and the signal's number."""

MOST_THREADS = 1024
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # as shtab calls them
USAGE = {
    name: f"mrdcae {name} [options] IN [OUT]\n       mrdcae {name} [options] IN ... --to FOLDER"
    for name in ("compress", "decompress")
}
EXIT = "Exit code: 0 done, 1 some of several files failed, 2 bad input, 130 interrupted."
LARGEST_SQUARE = 10_000  # pixels a side: 100 megapixels


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns the exit code: 0 done, 1 some of several files failed, 2 bad input, 130 interrupted, 141
    nobody reads the output any more, 143 terminated.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for stream in (sys.stdout, sys.stderr):  # names that the terminal cannot spell are escaped
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    before = _on_termination(_terminated)
    try:
        return _run(argv)
    except KeyboardInterrupt:
        print("mrdcae: interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        _on_termination(before)


def _run(argv: Sequence[str] | None) -> int:
    from mrdcae_lite.core.files import one_line

    try:
        options = _parser().parse_args(argv)
        from mrdcae_lite import commands

        getattr(commands, options.command)(options)
        sys.stdout.flush()
    except SystemExit as stop:
        return int(stop.code or 0)
    except BrokenPipeError:
        _forget_output()
        return BROKEN_PIPE
    except OSError as error:
        place = "" if error.filename or not error.strerror else "standard input or output: "
        _forget_output()
        print(f"mrdcae: {place}{one_line(error)}", file=sys.stderr)
        return 2
    except (ValueError, MemoryError, ImportError) as error:
        print(f"mrdcae: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _terminated(_number: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)


def _on_termination(handler: Any) -> Any:
    """Set what happens on SIGTERM, as far as this is the main thread; returns what did before."""
    with suppress(ValueError):
        return signal.signal(signal.SIGTERM, handler)
    return signal.SIG_DFL


def _forget_output() -> None:
    """Let nothing complain at the end that standard output cannot be written."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See `{self.prog} --help`.\n")


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


def _parser() -> Parser:
    parser = Parser(prog="mrdcae", description="Learned image compression, MR-DCAE.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    shells, text = ("bash", "zsh", "tcsh"), "print a script for the completion of commands"
    parser.add_argument("--print-completion", action=_Completion, choices=shells, help=text)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    for name, add_options, text in (
        ("compress", _add_compress, "write pictures as .mrdc files"),
        ("decompress", _add_decompress, "write .mrdc files as pictures"),
        ("info", _add_info, "print what .mrdc files say about themselves"),
        ("models", lambda _command: None, "list the shipped models"),
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
        add("--json", action="store_true", help="a JSON object a line instead of text")
        add("--quiet", action="store_true", help="print nothing but what went wrong")
    return parser


def _add_compress(command: argparse.ArgumentParser) -> None:
    _add_files(command, "picture, folder of pictures with --to, or - for standard input", ".mrdc")
    add, aim = command.add_argument, command.add_mutually_exclusive_group()
    aim.add_argument(
        "--quality", type=int, metavar="Q", help="0 (smallest) to 100 (best), default 50"
    )
    aim.add_argument("--target-bpp", type=_positive, metavar="B", help="at most B bits per pixel")
    aim.add_argument("--target-psnr", type=_positive, metavar="DB", help="at least DB decibels")
    add("--model", default="lite", help="shipped model or codec file")
    add("--fast", action="store_true", help="no search for cheaper symbols")
    add("--exif", action="store_true", help="keep camera data: maker, time, place")
    add("--frame", type=_whole, default=1, metavar="N", help="of several frames or pages (1)")


def _add_decompress(command: argparse.ArgumentParser) -> None:
    _add_files(command, ".mrdc file, folder of them with --to, or - for standard input", ".png")
    levels = "decode the low, the low and medium, or all levels (3)"
    command.add_argument("--level", type=int, choices=(1, 2, 3), default=3, help=levels)
    command.add_argument("--model", help="codec file, if it is not a shipped one")


def _add_files(command: argparse.ArgumentParser, what: str, ending: str) -> None:
    add, jobs, threads = command.add_argument, partial(_whole, most=256), MOST_THREADS
    text = f"{what}; OUT is IN{ending} by default, or - for standard output"
    paths: Any = add("paths", type=Path, metavar="IN", nargs="+", help=text)
    paths.complete = FILES
    add("--to", type=Path, metavar="FOLDER", help="where the results of all IN go")
    add("--recursive", action="store_true", help="folders within folders, too")
    add("--dry-run", action="store_true", help="only say what would be done, with --to")
    add("--jobs", type=jobs, default=1, metavar="N", help="files at a time, with --to (1)")
    workers = partial(_whole, most=threads)
    add("--threads", type=workers, metavar="N", help="tiles at a time (as there are processors)")
    add("--force", action="store_true", help="overwrite what is there")


def _add_info(command: argparse.ArgumentParser) -> None:
    files: Any = command.add_argument("paths", type=Path, metavar="FILE", nargs="+", help="or -")
    files.complete = FILES


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
    square = partial(_whole, least=16, most=LARGEST_SQUARE)
    add("--resize", type=square, metavar="SIDE", help="centre squares, scaled")
    add("--limit", type=_whole, metavar="N", help="only N of them, evenly spaced")
    jobs = partial(_whole, most=256)
    add("--jobs", type=jobs, default=1, metavar="N", help="processes (1)")
    add("--out", type=Path, metavar="FILE.json", help="write the report")
    add("--reuse", type=Path, metavar="FILE.json", help="other codecs from there")
    add("--force", action="store_true", help="overwrite FILE.json")


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("codec", metavar="CODEC", help="shipped model or codec file")
    add = command.add_argument
    add("--to", type=Path, required=True, metavar="FOLDER", help="for graphs and context model")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    numbers = _names(text)
    if len({*numbers}) < 4 or not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(
            "expected at least four whole numbers, each another one, with commas between them. "
            f"Received: {text!r}"
        )
    return tuple(map(int, numbers))


def _whole(text: str, least: int = 1, most: int = 10**9) -> int:
    if text.strip().isdecimal() and len(text) < 20 and least <= int(text) <= most:
        return int(text)
    limits = f"from {least}" + (f" to {most}" if most < 10**9 else "")
    raise argparse.ArgumentTypeError(f"expected a whole number {limits}. Received: {text!r}")


def _positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a positive number. Received: {text!r}")


if __name__ == "__main__":
    sys.exit(main())
