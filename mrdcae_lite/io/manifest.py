"""What became of each picture of a run, as lines of JSON that programs can read.

A line has `source`, `output`, `state` ("written", "there already" or "failed"), `sha256` of the
source, `options`, `bytes` of the output, `psnr` in dB (null if it is exact, or if nothing can be
compared), `exact`, `seconds`, and `error`. A run adds lines; the last one about a source counts.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

DONE = ("written", "there already")


class Manifest:
    """A file of such lines, added to as they come.

    Args:
        path: of the file, made if it is not there. A line that was cut off does not count.

    Raises:
        ValueError: if the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._done: set[str] = set()
        with path.open("rb") if path.exists() else nullcontext(()) as lines:
            for line in lines:
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            name, state = row["source"], row["state"]
        except (ValueError, TypeError, KeyError) as error:
            if line.startswith(b'{"source": '):  # the process was ended while it wrote
                return
            raise ValueError(
                f"{self.path}: expected lines of JSON that a run wrote. Received: "
                f"{line[:40].decode(errors='replace')!r}. Give another file."
            ) from error
        (self._done.add if state in DONE else self._done.discard)(name)

    def __contains__(self, source: object) -> bool:
        """Whether it says already that a source is done."""
        return str(source) in self._done

    @contextmanager
    def open(self) -> Iterator["Manifest"]:
        """Add lines in this context."""
        with self.path.open("ab+") as self._file:
            if self._file.tell():
                self._file.seek(-1, os.SEEK_END)
                if self._file.read() != b"\n":
                    self._file.write(b"\n")
            yield self

    def add(self, source: Path, output: Path, state: str, **facts: Any) -> None:
        """Add a line and hand it to the system."""
        row = {"source": str(source), "output": str(output), "state": state, **facts}
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
