"""The command `mrdcae`: how it starts, and how it ends.

`options` says what can be asked for, `commands` does it. Both are imported inside `main`, so that
a Ctrl-C during the imports, too, ends in one line.

Bad input ends in one line on standard error and exit code 2; nothing is left half-written. Among
several files each bad one has its line, and the exit code is 1.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143
"""Exit codes after the signals INT, PIPE and TERM: 128 and the signal's number."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns the exit code: 0 done, 1 some of several files failed, 2 bad input, 130 interrupted, 141
    nobody reads the output any more, 143 terminated.
    """
    before: dict[int, Any] = {}
    try:
        _prepare(before)
        return _run(argv)
    except KeyboardInterrupt:
        # Python ends by the signal if the last text that it ran was interrupted, as when a
        # dataclass was made, whatever was caught since. This one is not.
        exec("")
        print("mrdcae: interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        for number, handler in before.items():
            _on_signal(number, handler)


def _prepare(before: dict[int, Any]) -> None:
    """Make streams safe and let signals end the run; `before` keeps what they did before."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed, as cron does
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - to the end
    for stream in (sys.stdout, sys.stderr):  # names that the terminal cannot spell are escaped
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            number = getattr(signal, name)
            before[number] = _on_signal(number, _terminated)


def _run(argv: Sequence[str] | None) -> int:
    with _interrupts_wait():
        from mrdcae_lite.core.files import one_line
        from mrdcae_lite.options import parser

    try:
        options = parser().parse_args(argv)
        with _interrupts_wait():
            from mrdcae_lite import commands

        getattr(commands, options.command)(options)
        sys.stdout.flush()
    except SystemExit as stop:
        return int(stop.code or 0)
    except BrokenPipeError:
        _forget_output()
        return BROKEN_PIPE
    except OSError as error:
        _forget_output()
        line = one_line(error)
        if error.strerror and not error.filename:
            line = f"standard input or output: {error.strerror}. Use one that works."
        print(f"mrdcae: {line}", file=sys.stderr)
        return 2
    except (ValueError, MemoryError, ImportError) as error:
        print(f"mrdcae: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Let a Ctrl-C wait for the end of the block.

    In the middle of an import Python may lose it, in a callback of its own, and NumPy turns it into
    another error.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield
        return
    came: list[int] = []
    _on_signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        _on_signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _terminated(_number: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)


def _on_signal(number: int, handler: Any) -> Any:
    """Set what happens on a signal, as far as this is the main thread; returns what did before."""
    with suppress(ValueError):
        return signal.signal(number, handler)
    return signal.SIG_DFL


def _forget_output() -> None:
    """Let nothing complain at the end that standard output cannot be written."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
