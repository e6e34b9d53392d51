"""Rank hand-made codecs by their real files: BD-rate against JPEG, the lower the better.

A submission is a file, or a folder with a `codec.py` and what it needs. It has two functions:

    encode(image, quality) -> bytes   # image: uint8 (height, width, 3); quality: 0 (smallest) to 4
    decode(data) -> image             # the same shape again, from nothing but the bytes

    python leaderboard.py codec.py
    python leaderboard.py ada/ bob/ --pictures FOLDER --to results

Every call runs in a process that no call was made in before, with limits on time, memory and size.
It can write no file and read no picture, so that a decoder knows its bytes and its own source, and
nothing else. This stops what happens by accident or for fun; read the source of the winner.
"""

import argparse
import ast
import csv
import json
import os
import signal
import struct
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mrdcae_lite as mr
from mrdcae_lite.evaluation.baselines import BASELINES
from mrdcae_lite.evaluation.benchmark import bundled, pictures

if sys.platform != "win32":
    import resource

RGB = NDArray[np.uint8]

QUALITIES = 5
"""Files of each picture, from quality 0 to 4."""

LEAST_RANGE = 5.0
"""Decibels of PSNR that a curve must share with that of JPEG: a BD-rate of less says little."""

ALLOWED = (
    "numpy",
    "scipy",
    "constriction",
    "mrdcae_lite.coding.entropy",
    "mrdcae_lite.core.patches",
    "mrdcae_lite.evaluation.patches",
)
"""What a submission may import, besides the standard library: tools, but no finished codecs."""

PRELOADED = (
    "numpy",
    "scipy.fft",
    "scipy.ndimage",
    "constriction",
    "mrdcae_lite.evaluation.benchmark",
)

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_HARMLESS = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.putenv", "os.unsetenv"}
_REFUSED = ("os.", "socket.", "subprocess.", "shutil.", "tempfile.", "ctypes.", "mmap.", "pty.")


class SubmissionError(Exception):
    """What is wrong with a submission, in one line."""


@dataclass(frozen=True)
class Limits:
    """What one call of `encode` or `decode` may take."""

    seconds: int = 10  # of the processor; on the clock six times as many
    mebibytes: int = 2048  # of memory, libraries included
    source_bytes: int = 200_000  # of the submission itself, tables and weights included


@dataclass(frozen=True)
class Score:
    """A submission's result; the lists have one entry for each picture, rates are in percent."""

    name: str
    psnr_rates: list[float]
    ssim_rates: list[float]
    ranges: list[tuple[float, float]]
    seconds_per_file: float

    @property
    def mean(self) -> float:
        """What the ranking goes by."""
        return float(np.mean(self.psnr_rates))


# --- in the process of a submission --------------------------------------------------------------


def _confine(limits: Limits, closed: Sequence[str]) -> None:
    """Take away, for the rest of this process, what a codec has no need of."""
    for kind, value in (
        (resource.RLIMIT_AS, limits.mebibytes << 20),
        (resource.RLIMIT_CPU, limits.seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    sys.dont_write_bytecode = True
    sys.addaudithook(partial(_refuse, tuple(closed)))


def _refuse(closed: tuple[str, ...], event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: raise on an attempt to leave something behind or to look something up."""
    if event == "open" and isinstance(arguments[0], str | bytes):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if arguments[2] & _WRITING:
            raise PermissionError("a codec may not write files: all there is must be in the bytes")
        if path.startswith(closed):
            raise PermissionError(f"a codec may not read {Path(path).name}")
    elif event.startswith(_REFUSED) and event not in _HARMLESS:
        raise PermissionError(f"a codec may not use {event}")


def _call(
    pipe: Connection, source: str, limits: Limits, closed: Sequence[str], function: str, *given: Any
) -> None:
    """Call a function of the submission and send "+" with what it gave, or "-" with a reason."""
    try:
        _confine(limits, closed)
        sys.path.insert(0, str(Path(source).parent))
        spec = spec_from_file_location("codec", source)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(module := module_from_spec(spec))
        answer = getattr(module, function)(*given)
        pipe.send_bytes(b"+" + (_file if function == "encode" else _picture)(answer))
    except MemoryError:
        pipe.send_bytes(f"-took more than {limits.mebibytes} MiB of memory".encode())
    except BaseException as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        pipe.send_bytes(b"-" + reason[:300].encode())


def _file(answer: object) -> bytes:
    if type(answer) is not bytes:
        raise TypeError(f"expected bytes. Received: {type(answer).__name__}")
    return answer


def _picture(answer: object) -> bytes:
    if not isinstance(answer, np.ndarray) or answer.dtype != np.uint8 or answer.ndim != 3:
        kind = f"{answer.dtype} {answer.shape}" if isinstance(answer, np.ndarray) else type(answer)
        raise TypeError(f"expected a uint8 array (height, width, 3). Received: {kind}")
    return struct.pack("<3I", *answer.shape) + answer.tobytes()


# --- outside -------------------------------------------------------------------------------------


class Submission:
    """Somebody's codec; every method raises `SubmissionError` with one line that says why."""

    def __init__(self, path: Path, limits: Limits, closed: Sequence[str]) -> None:
        self.source = (path / "codec.py" if path.is_dir() else path).resolve()
        unnamed = self.source.name == "codec.py"
        self.name = self.source.parent.name if unnamed else self.source.stem
        self._parts = sorted(path.rglob("*")) if path.is_dir() else [self.source]
        self._limits, self._closed = limits, closed

    def check(self) -> None:
        """Refuse what is missing, too large, or imports more than tools."""
        if not self.source.is_file():
            raise SubmissionError(f"expected a file {self.source.name}, found none")
        limit = self._limits.source_bytes
        size = sum(part.stat().st_size for part in self._parts if part.is_file())
        if size > limit:
            raise SubmissionError(f"is {size:,} bytes large, its tables included; {limit:,} may be")
        files = [part for part in self._parts if part.suffix == ".py"]
        own = {file.stem for file in files}
        for name in _imported(files):
            inside = any(f"{name}.".startswith(f"{allowed}.") for allowed in ALLOWED)
            if not inside and name.split(".")[0] not in own | sys.stdlib_module_names:
                raise SubmissionError(f"imports {name}; allowed are {', '.join(ALLOWED)}")

    def encode(self, image: RGB, quality: int) -> bytes:
        """The real bytes of a picture's file."""
        data = self._run("encode", image.nbytes, image, quality)
        if not data:
            raise SubmissionError(f"encode at quality {quality} returned no bytes")
        return data

    def decode(self, data: bytes, shape: tuple[int, ...]) -> RGB:
        """The picture, from a process that has met nothing but the bytes."""
        answer = self._run("decode", 12 + 3 * shape[0] * shape[1], data)
        found = struct.unpack("<3I", answer[:12])
        if found != shape:
            raise SubmissionError(f"decode returned a picture of {found}, expected {shape}")
        return np.frombuffer(answer[12:], np.uint8).reshape(shape)

    def _run(self, function: str, most: int, *given: Any) -> bytes:
        limits = self._limits
        pipe, end = _WORKERS.Pipe(duplex=False)
        arguments = (end, str(self.source), limits, self._closed, function, *given)
        process = _WORKERS.Process(target=_call, args=arguments, daemon=True)
        process.start()
        end.close()
        timer = Timer(6 * limits.seconds, process.kill)  # ends a call that sleeps
        timer.start()
        try:
            answer = pipe.recv_bytes(most + 1)
        except EOFError:
            process.join()
            late = process.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
            why = f"took more than {limits.seconds} s" if late else f"ended with {process.exitcode}"
            raise SubmissionError(f"{function} {why}") from None
        except OSError:
            raise SubmissionError(f"{function} returned more than {most:,} bytes") from None
        finally:
            timer.cancel()
            process.kill()
            process.join()
            pipe.close()
        if answer[:1] != b"+":
            raise SubmissionError(f"{function}: {answer[1:].decode(errors='replace')}")
        return answer[1:]


def _imported(files: Iterable[Path]) -> Iterable[str]:
    for file in files:
        try:
            tree = ast.parse(file.read_bytes(), file.name)
        except SyntaxError as error:
            raise SubmissionError(f"{file.name}, line {error.lineno}: {error.msg}") from None
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


Curve = list[tuple[float, float, float]]  # bits per pixel, PSNR, SSIM in dB


def _point(image: RGB, data: bytes, restored: RGB) -> tuple[float, float, float]:
    similar = mr.ssim(image, restored, data_range=255)
    decibel = min(mr.psnr(image, restored, data_range=255), 100.0)
    return mr.bits_per_pixel(data, image.shape), decibel, mr.ssim_db(min(similar, 1 - 1e-9))


def jpeg_curve(image: RGB) -> Curve:
    """What JPEG makes of a picture."""
    jpeg = BASELINES["jpeg"]
    files = [jpeg.encode(image, quality) for quality in jpeg.sweep]
    return [_point(image, data, jpeg.decode(data)) for data in files]


def score(submission: Submission, images: Sequence[RGB], anchors: Sequence[Curve]) -> Score:
    """Compress and restore all pictures, and compare with JPEG's curves of them."""
    submission.check()
    found, working = [], 0.0
    for image, anchor in zip(images, anchors, strict=True):
        curve = []
        for quality in range(QUALITIES):
            started = time.perf_counter()
            data = submission.encode(image, quality)
            restored = submission.decode(data, image.shape)
            working += time.perf_counter() - started
            curve.append(_point(image, data, restored))
        found.append((_against(anchor, curve, 1), _against(anchor, curve, 2)))
    for by_psnr, _ in found:
        if by_psnr.high - by_psnr.low < LEAST_RANGE:
            raise SubmissionError(
                f"shares only {by_psnr.low:.1f} to {by_psnr.high:.1f} dB with JPEG; spread the "
                f"qualities over {LEAST_RANGE:g} dB at least"
            )
    return Score(
        submission.name,
        [by_psnr.percent for by_psnr, _ in found],
        [by_ssim.percent for _, by_ssim in found],
        [(by_psnr.low, by_psnr.high) for by_psnr, _ in found],
        working / len(images) / QUALITIES,
    )


def _against(anchor: Curve, curve: Curve, measure: int) -> Any:
    rates, qualities = ([point[column] for point in curve] for column in (0, measure))
    theirs, reached = ([point[column] for point in anchor] for column in (0, measure))
    try:
        return mr.bd_rate(theirs, reached, rates, qualities)
    except ValueError as error:
        raise SubmissionError(" ".join(str(error).split())) from None


def rank(
    paths: Sequence[Path], images: Sequence[RGB], closed: Sequence[str], limits: Limits
) -> tuple[list[Score], dict[str, str]]:
    """Scores, best first, and for each submission that failed the reason."""
    submissions = [Submission(path, limits, closed) for path in paths]
    names = [submission.name for submission in submissions]
    if len(set(names)) < len(names):
        raise ValueError(f"expected a name for each submission. Received: {', '.join(names)}.")
    anchors = [jpeg_curve(image) for image in images]
    scores, failures = [], {}
    for submission in submissions:
        try:
            scores.append(score(submission, images, anchors))
        except SubmissionError as error:
            failures[submission.name] = str(error)
    return sorted(scores, key=lambda one: one.mean), failures


def table(scores: Sequence[Score], failures: dict[str, str]) -> str:
    """The ranking, and a line for each failure."""
    lines = ["rank  submission            BD-rate  lowest  highest  by SSIM  range (dB)  s/file"]
    for place, one in enumerate(scores, start=1):
        low, high = max(low for low, _ in one.ranges), min(high for _, high in one.ranges)
        lines.append(
            f"{place:4}  {one.name:20} {one.mean:+7.1f} % {min(one.psnr_rates):+7.1f} "
            f"{max(one.psnr_rates):+8.1f} {np.mean(one.ssim_rates):+8.1f}  "
            f"{low:4.1f}-{high:4.1f}  {one.seconds_per_file:6.2f}"
        )
    return "\n".join([*lines, *(f"   -  {name}: {why}" for name, why in failures.items())])


def save(folder: Path, scores: Sequence[Score], failures: dict[str, str]) -> None:
    """Write `leaderboard.csv` and `leaderboard.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"scores": [asdict(one) for one in scores], "failures": failures}
    (folder / "leaderboard.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    with (folder / "leaderboard.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["rank", "submission", "bd_rate_percent", "lowest", "highest", "failure"])
        for place, one in enumerate(scores, start=1):
            numbers = (one.mean, min(one.psnr_rates), max(one.psnr_rates))
            rows.writerow([place, one.name, *(f"{number:.3f}" for number in numbers), ""])
        rows.writerows(["", name, "", "", "", why] for name, why in failures.items())


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rank codecs by their BD-rate against JPEG.")
    parser.add_argument("submissions", nargs="+", type=Path, help="codec.py, or its folder")
    parser.add_argument("--pictures", type=Path, help="folder of pictures; default: the bundled")
    parser.add_argument("--limit", type=int, help="score on so many of the pictures")
    parser.add_argument("--side", type=int, help="score on the middle of each, so many pixels wide")
    parser.add_argument("--seconds", type=int, default=Limits.seconds, help="for one call")
    parser.add_argument("--memory", type=int, default=Limits.mebibytes, help="MiB for one call")
    parser.add_argument("--to", type=Path, help="folder for leaderboard.csv and leaderboard.json")
    return parser.parse_args(given)


def _middle(image: RGB, side: int | None) -> RGB:
    if side is None:
        return image
    top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
    return image[top : top + side, left : left + side].copy()


def pictures_for(given: Sequence[str] | None) -> dict[Path, RGB]:
    """The pictures that a command line asks for, by their files."""
    arguments = _arguments(given)
    sources = [arguments.pictures] if arguments.pictures else bundled()
    paths, _ = pictures(sources, arguments.limit)
    return {path: _middle(mr.read_image(path), arguments.side) for path in paths}


def _closed(paths: Sequence[Path]) -> list[str]:
    """Folders that a codec may not read: pictures, trained weights, other processes."""
    package = Path(mr.__file__).resolve().parent
    folders = {path.resolve().parent for path in paths} | {package / "samples", package / "weights"}
    return [*map(str, sorted(folders)), "/proc", "/dev/shm"]


def main(given: Sequence[str] | None = None) -> int:
    """The command line: 0 if at least one submission got a score."""
    arguments = _arguments(given)
    if sys.platform == "win32":
        print("expected Linux or macOS: limits do not exist on Windows. Use Colab or WSL.")
        return 2
    try:
        images = pictures_for(given)
        limits = Limits(seconds=arguments.seconds, mebibytes=arguments.memory)
        scores, failures = rank(
            arguments.submissions, list(images.values()), _closed(list(images)), limits
        )
    except (OSError, ValueError) as error:
        print(f"leaderboard: {error}", file=sys.stderr)
        return 2
    print(table(scores, failures))
    if arguments.to:
        save(arguments.to, scores, failures)
    return 0 if scores else 1


def _workers() -> Any:
    """Processes that start with the libraries loaded and have run nobody's code."""
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    context = get_context("forkserver" if sys.platform != "win32" else "spawn")
    if sys.platform != "win32":
        context.set_forkserver_preload(list(PRELOADED))
    return context


_WORKERS = _workers()

if __name__ == "__main__":
    sys.exit(main())
