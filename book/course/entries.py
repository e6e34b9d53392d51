"""The leaderboard's score of an entry, taken by the grader: the codec runs in a sandbox.

Each file is decoded by a process that has met nothing but its bytes, as on the leaderboard itself.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from book.course import leaderboard
from book.course.leaderboard import Limits, SubmissionError
from book.course.sandbox import Sandbox
from book.course.wire import EndedError, Wire
from book.tools import paths

HIDDEN = (paths.PACKAGE / "samples", paths.PACKAGE / "weights")  # what a codec may not look up


class Entry(leaderboard.Submission):
    """A codec whose functions run in a sandbox."""

    def __init__(self, path: Path, sandbox: Sandbox, stack: ExitStack) -> None:
        super().__init__(path, Limits(), [])
        self._sandbox, self._stack = sandbox, stack
        self._encoder: Wire | None = None

    def _run(self, function: str, most: int, *given: Any) -> bytes:
        try:
            if function == "encode":
                self._encoder = self._encoder or self._loaded(self._stack)
                answer = self._call(self._encoder, function, given)
            else:
                with ExitStack() as once:
                    answer = self._call(self._loaded(once), function, given)
        except SubmissionError:
            raise
        except EndedError as error:
            raise SubmissionError(f"{function} ended its process") from error
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise SubmissionError(f"{function}: {reason}") from error
        if len(answer) > most:
            raise SubmissionError(f"{function} returned more than {most:,} bytes")
        return answer

    def _loaded(self, stack: ExitStack) -> Wire:
        line = stack.enter_context(self._sandbox.started(hidden=HIDDEN))
        said = line.ask("load", source=self.source.read_text(encoding="utf-8"))
        if "raised" in said:
            raise SubmissionError(f"codec.py: {said['raised'][1]}")
        return line

    @staticmethod
    def _call(line: Wire, function: str, given: tuple[Any, ...]) -> bytes:
        values = line.ask("names", wanted=[function])["values"]
        if function not in values:
            raise SubmissionError(f"{function} is not there")
        answer = line.decode(values[function])(*given)
        return (leaderboard._file if function == "encode" else leaderboard._picture)(answer)


def score_entry(exam: Any) -> Callable[..., list[float]]:
    """What the leaderboard's question is checked by: BD-rates of the codec.py that was made."""

    def score(*options: str) -> list[float]:
        said = exam.line.ask("file", name="codec.py")
        if "value" not in said:
            raise AssertionError("There is no file codec.py yet. Run the cell above.")
        images = leaderboard.pictures_for(["codec.py", *options])
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            place = Path(folder, "codec.py")
            place.write_bytes(bytes(exam.line.decode(said["value"])))
            entry = Entry(place, exam.sandbox, stack)
            anchors = [leaderboard.jpeg_curve(image) for image in images.values()]
            try:
                return leaderboard.score(entry, list(images.values()), anchors).psnr_rates
            except SubmissionError as error:
                raise AssertionError(f"Your entry has no score: {error}") from error

    return score
