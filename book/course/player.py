"""The process of one submission: it runs cells and calls functions when the grader asks it to.

    python -m book.course.player LIMITS      # LIMITS as JSON: seconds, megabytes, processes

The student's code runs here and nowhere else. So there is nothing here to find: no check, no
solution, no points. Whatever is changed here, only values leave (`wire`).
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from book.course.wire import EndedError, Wire

MEGABYTE = 2**20
LARGEST_FILE = 256 * MEGABYTE  # that a submission may write
RESERVED = 4096 * MEGABYTE  # libraries reserve addresses that they never use
MOST_OPEN = 256


def limit_resources(seconds: float, megabytes: int, processes: int) -> None:
    """Set what the system itself watches; all that is started from here inherits it."""
    import resource

    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: LARGEST_FILE,
        resource.RLIMIT_CPU: 4 * int(seconds) + 4,  # threads count each
        resource.RLIMIT_AS: megabytes * MEGABYTE + RESERVED,
        resource.RLIMIT_NOFILE: MOST_OPEN,
    }
    if processes:
        wanted[resource.RLIMIT_NPROC] = processes
    for what, most in wanted.items():
        with suppress(ValueError, OSError):  # macOS does not know all of them
            resource.setrlimit(what, (most, most))
    with suppress(OSError):  # if the machine has no memory left, Linux ends this process first
        Path("/proc/self/oom_score_adj").write_text("1000")


def line_to_the_grader() -> Wire:
    """Take the standard streams for the line; what cells print or read goes nowhere."""
    reads, writes = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    return Wire(os.fdopen(reads, "rb"), os.fdopen(writes, "wb"))


class Player:
    """A shell like that of a notebook, and what the grader may ask of it."""

    def __init__(self, wire: Wire) -> None:
        self.wire, self._shell = wire, None
        wire.work |= {"run": self.run, "names": self.names, "file": self.file, "load": self.load}
        self._module: dict[str, Any] | None = None

    @property
    def shell(self) -> Any:
        """The shell, made when the first cell comes."""
        if self._shell is None:
            from IPython.core.interactiveshell import InteractiveShell

            shell = InteractiveShell.instance()
            shell.history_manager.enabled = False
            shell.ask_exit = leave
            said = SimpleNamespace(check=ignore, check_all=ignore, hand_in=ignore, export=ignore)
            shell.user_ns["grader"] = said
            self._shell = shell
        return self._shell

    def run(self, message: dict[str, Any]) -> dict[str, Any]:
        """Run a cell; say with which error it ended, if with any."""
        result = self.shell.run_cell(message["source"], store_history=True)
        error = result.error_before_exec or result.error_in_exec
        return {"error": None if error is None else f"{type(error).__name__}: {error}"[:500]}

    def names(self, message: dict[str, Any]) -> dict[str, Any]:
        """Say what the notebook has under these names."""
        names = self.shell.user_ns if self._module is None else self._module
        found = {name: names[name] for name in message["wanted"] if name in names}
        return {"values": {name: self.wire.encode(value) for name, value in found.items()}}

    def file(self, message: dict[str, Any]) -> dict[str, Any]:
        """Say what is in a file that the notebook wrote."""
        return {"value": self.wire.encode(Path(message["name"]).read_bytes())}

    def load(self, message: dict[str, Any]) -> dict[str, Any]:
        """Run a module instead of a notebook; its names are found by `names`."""
        self._module = {"__name__": "submission"}
        exec(compile(message["source"], "submission.py", "exec"), self._module)
        return {}


def ignore(*_: Any, **__: Any) -> None:
    """Stand for what only helps students while they work."""


def leave(*_: Any) -> None:
    """End a cell that calls exit(), and no more."""
    raise SystemExit


if __name__ == "__main__":
    limit_resources(**json.loads(sys.argv[1]))
    sys.path[0] = ""  # the working folder, as in a kernel
    wire = line_to_the_grader()
    player = Player(wire)
    with suppress(EndedError):
        while True:
            wire.answer(wire.receive())
