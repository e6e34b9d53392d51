"""What the `mrdcae` command does: call the library, say what became of it.

Each function is a command of the same name; it takes the options that `cli` parsed.
"""

import json
import os
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrdcae_lite.coding import bitstream
from mrdcae_lite.core.files import one_line, shown, write_atomically
from mrdcae_lite.core.quality import check_effort, check_quality
from mrdcae_lite.evaluation import inspection
from mrdcae_lite.extras import extra
from mrdcae_lite.io.addresses import is_address, is_folder, is_there, opened
from mrdcae_lite.io.batch import (
    EXTENSION,
    Compression,
    Decompression,
    Outcome,
    Task,
    check_own_input,
    convert,
    make,
    plan,
    would_become,
)
from mrdcae_lite.io.cluster import check_engine
from mrdcae_lite.io.images import WRITE_OPTIONS, pictures_in
from mrdcae_lite.io.manifest import Manifest
from mrdcae_lite.io.sizes import bits_per_pixel
from mrdcae_lite.models import load, registry
from mrdcae_lite.runtime.parallel import thread_count

STREAM = Path("-")
LARGEST_INPUT = 1 << 30
"""Bytes of a file: more than a hundred megapixels take in any format."""


class Reporter:
    """Says what was done: text for people, JSON lines for programs, or nothing.

    Args:
        options: of the command; `json` and `quiet` are looked at.
    """

    def __init__(self, options: Namespace) -> None:
        self.json, self.quiet = options.json, options.quiet

    def say(self, text: str, *, stream: Any = None, **facts: Any) -> None:
        """One thing that was done, as text and as facts by name."""
        if self.json:
            text = json.dumps(facts, default=str)
        if self.json or not self.quiet:
            print(text, file=stream or sys.stdout, flush=True)

    def complain(self, line: str, **facts: Any) -> None:
        """One thing of several that went wrong."""
        if self.json:
            print(json.dumps({**facts, "error": line}, default=str), flush=True)
        else:
            print(f"mrdcae: {line}", file=sys.stderr, flush=True)


class Progress:
    """How far a run is, with the time left, on the last line of a terminal; nothing elsewhere.

    Args:
        total: how many things there are to do.
        shown: whether it is wanted.
    """

    def __init__(self, total: int, *, shown: bool) -> None:
        self.total, self.shown = total, shown and sys.stderr.isatty()
        self.started = time.monotonic()

    def clear(self) -> None:
        """Make room for another line."""
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.started

    def show(self, done: int) -> None:
        """Show that so many things are done."""
        if self.shown and done < self.total:
            spent = self.seconds
            minutes, seconds = divmod(round(spent / max(done, 1) * (self.total - done)), 60)
            text = f"{done}/{self.total}, {_rate(done, spent)}, {minutes}:{seconds:02d} left"
            text = text if done else "0 done"
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _rate(done: int, seconds: float) -> str:
    return f"{done / max(seconds, 0.001):.1f} a second"


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Let a complaint begin with the file it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(one_line(error, "standard input" if path == STREAM else path)) from error


def _name(path: Path) -> str:
    return "standard input" if path == STREAM else shown(path)


def _content(path: Path, start: bytes = b"") -> bytes:
    """The bytes of a file or of standard input; only the first few if they are not `start`.

    Raises `ValueError` for a device, an input that is closed, and one that is too large.
    """
    if path == STREAM and getattr(sys.stdin, "name", "") == os.devnull:
        raise ValueError("standard input is closed. Give it a file, or name one.")
    if path.is_char_device() or path.is_block_device():
        raise ValueError("expected a file. Received: a device. Name a file.")
    with nullcontext(sys.stdin.buffer) if path == STREAM else opened(path) as file:
        first = file.read(len(start))
        if first != start:
            return first
        content = first + file.read(LARGEST_INPUT + 1)
    if len(content) > LARGEST_INPUT:
        raise ValueError(
            f"expected at most {LARGEST_INPUT:,} bytes. Received: more. Name a smaller file."
        )
    return content


# --- compress, decompress


def compress(options: Namespace) -> None:
    """Write pictures as `.mrdc` files."""
    _prepare_engine(options, "paths", "to")
    if options.quality is not None:
        check_quality(options.quality)
    check_effort(options.effort)
    load(options.model)  # a wrong name shows here, not once a picture
    task = Compression(
        model=options.model,
        quality=options.quality,
        target_bpp=options.target_bpp,
        target_psnr=options.target_psnr,
        effort=options.effort,
        keep_exif=options.exif,
        frame=options.frame,
        threads=_threads(options),
    )
    _convert(options, task)


def decompress(options: Namespace) -> None:
    """Write `.mrdc` files as pictures."""
    _prepare_engine(options, "paths", "to")
    if options.model:
        load(options.model)
    task = Decompression(model=options.model, level=options.level, threads=_threads(options))
    _convert(options, task)


def _threads(options: Namespace) -> int:
    """Threads for each picture; several pictures at a time share the processors."""
    shared = 1 if options.engine else max(1, thread_count() // options.jobs)
    threads: int = options.threads or shared
    return threads


def _prepare_engine(options: Namespace, *names: str) -> None:
    """Check the engine, and make the paths in these options absolute: workers stand elsewhere."""
    if options.engine is None:
        return
    check_engine(options.engine)
    for name in names:
        value = getattr(options, name)
        if isinstance(value, list):
            setattr(options, name, [path if path == STREAM else path.absolute() for path in value])
        elif value is not None:
            setattr(options, name, value.absolute())
    if options.model and options.model not in registry():
        options.model = str(Path(options.model).absolute())


def _convert(options: Namespace, task: Compression | Decompression) -> None:
    for path in options.paths if options.to else options.paths[:1]:
        if not options.to and (is_address(path) or path.is_dir()):
            kind = "an address" if is_address(path) else "a folder"
            raise ValueError(f"{path} is {kind}. Say where results go with --to FOLDER.")
        if path != STREAM and not is_there(path):
            raise ValueError(f"{path}: no such file or folder. Check the path.")
    if options.to:
        _convert_all(options, task)
    else:
        _convert_one(options, task)


def _convert_one(options: Namespace, task: Compression | Decompression) -> None:
    """One file to another, or through standard input and output."""
    source, *rest = options.paths
    if len(rest) > 1:
        raise ValueError(
            f"expected one input and one output. Received: {len(options.paths)} names. Say where "
            "the results of several go with --to FOLDER."
        )
    if options.dry_run or options.recursive or options.engine or options.manifest:
        raise ValueError(
            "--dry-run, --recursive, --engine and --manifest go with --to FOLDER. Say where "
            "results go."
        )
    default = STREAM if source == STREAM else source.with_suffix(task.ending)
    output = rest[0] if rest else default
    if is_address(output):
        raise ValueError(f"{output} is an address. Say where results go with --to ADDRESS.")
    if output.is_dir():
        raise ValueError(f"expected a file name. Received the folder {output}. Add a name to it.")
    if isinstance(task, Decompression):
        task = _decompression_to(task, output)
    elif output != STREAM and output.suffix.lower() != EXTENSION:
        raise ValueError(
            f"expected a name that ends in {EXTENSION}. Received: {output}. Name it "
            f"{output.with_suffix(EXTENSION).name}, or say where the results of several pictures "
            "go with --to FOLDER."
        )
    decompressing = isinstance(task, Decompression)
    with _about(source):
        content = _content(source, bitstream.MAGIC if decompressing else b"")
        if decompressing:
            bitstream.read_header(content)  # commands are easily confused
        if output != STREAM:
            check_own_input(source, output)
            _free(output, options.force)
        made = make(task, content)
    if output == STREAM:
        if getattr(sys.stdout, "name", "") == os.devnull:
            raise ValueError("standard output is closed. Name an output.")
        sys.stdout.buffer.write(made.content)
        sys.stdout.buffer.flush()
    else:
        write_atomically(output, made.content)
    Reporter(options).say(
        f"{shown(output)}: {made.line}",
        stream=sys.stderr if output == STREAM else sys.stdout,
        **_facts(source, output, "written"),
        **made.facts,
        left_out=made.left_out,
    )


def _decompression_to(task: Decompression, output: Path) -> Decompression:
    """The task with the format that the name of the output asks for."""
    ending = ".png" if output == STREAM else output.suffix.lower()
    if ending not in WRITE_OPTIONS:
        raise ValueError(
            f"{output}: expected an ending of {' '.join(WRITE_OPTIONS)}, written without loss. "
            f"Received: {ending or 'none'}. Choose one of them."
        )
    return replace(task, kind=ending)


def _free(output: Path, force: bool) -> None:
    """Raise `ValueError` if a file cannot be written under this name."""
    if os.path.lexists(output) and not force:
        raise ValueError(f"{output} exists. Choose another name, or overwrite it with --force.")
    if output.exists() and not output.is_file():
        raise ValueError(f"expected a file. Received: {output}, which is a device or pipe. Use -.")
    if not output.parent.is_dir():
        raise ValueError(f"the folder {output.parent} does not exist. Make it first.")
    if not os.access(output.parent, os.W_OK):
        raise ValueError(f"the folder {output.parent} cannot be written. Choose another one.")


def _convert_all(options: Namespace, task: Task) -> None:
    """Files, and those of folders, into a folder."""
    if STREAM in options.paths:
        raise ValueError("standard input goes to one file or -. Received: --to as well.")
    if is_there(options.to) and not is_folder(options.to):
        raise ValueError(f"expected a folder after --to. Received the file {options.to}.")
    manifest = Manifest(options.manifest) if options.manifest and not options.dry_run else None
    pairs, left_out, unreadable = plan(task, options.paths, options.to, recursive=options.recursive)
    report = Reporter(options)
    results = convert(
        task,
        pairs,
        jobs=options.jobs,
        force=options.force,
        engine=options.engine,
        recorded=manifest,
    )
    if options.dry_run:
        results = (would_become(task, *pair, force=options.force) for pair in pairs)
    states: Counter[str] = Counter()
    for error in unreadable:
        states["failed"] += 1
        report.complain(one_line(error), source=str(error.filename), state="failed")
    progress = Progress(len(pairs), shown=not options.quiet)
    progress.show(0)
    failed = []
    with manifest.open() if manifest else nullcontext():
        for number, outcome in enumerate(results, 1):
            states[outcome.state] += 1
            if manifest and outcome.record is not None:
                manifest.add(outcome.source, outcome.output, outcome.state, **outcome.record)
            if outcome.state == "failed":
                failed.append(shown(outcome.source))
            progress.clear()
            _say_outcome(report, f"{number}/{len(pairs)}", outcome)
            progress.show(number)
    text = ", ".join(f"{count} {state}" for state, count in states.items()) + _in_words(left_out)
    if options.engine:  # its lines come from everywhere, and fast
        text += f"; {_rate(len(pairs), progress.seconds)}"
        text += f"\nfailed: {', '.join(failed)}" if failed else ""
    spent = round(progress.seconds, 1)
    report.say(text, **states, left_out=[str(path) for path in left_out], seconds=spent)
    if states["failed"] or states["in the way"]:
        sys.exit(1)


def _say_outcome(report: Reporter, number: str, outcome: Outcome) -> None:
    facts = _facts(outcome.source, outcome.output, outcome.state)
    if outcome.state == "failed":
        report.complain(f"{number} {outcome.said}" if not report.json else outcome.said, **facts)
        return
    if outcome.made:
        facts |= {**outcome.made.facts, "left_out": outcome.made.left_out}
    report.say(f"{number} {shown(outcome.output)}: {outcome.said or outcome.state}", **facts)


def _facts(source: Path, output: Path, state: str) -> dict[str, Any]:
    return {"source": str(source), "output": str(output), "state": state}


def _in_words(left_out: list[Path]) -> str:
    """What of the folders was left out, as the end of a line."""
    folders = sum(path.is_dir() for path in left_out)
    kinds = {"other file": len(left_out) - folders, "folder": folders}
    said = [_count(count, kind) for kind, count in kinds.items() if count]
    return f"; left out: {', '.join(said)}" if said else ""


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


# --- info, models


def info(options: Namespace) -> None:
    """Print what `.mrdc` files say about themselves."""
    report, failed = Reporter(options), False
    if options.paths.count(STREAM) > 1:
        raise ValueError("standard input can be read once. Received: - more than once.")
    for path in options.paths:
        try:
            with _about(path):
                _say_info(report, path)
        except (OSError, ValueError) as error:
            if len(options.paths) == 1 or isinstance(error, BrokenPipeError):
                raise
            about = None if path == STREAM else path
            report.complain(one_line(error, about), file=str(path))
            failed = True
    if failed:
        sys.exit(1)


def _say_info(report: Reporter, path: Path) -> None:
    data = _content(path, bitstream.MAGIC)
    header = bitstream.read_header(data)
    bpp, whole = bits_per_pixel(data, (header.height, header.width)), bitstream.size_up_to(data, 3)
    sections = dict(zip(bitstream.SECTIONS, header.lengths, strict=True))
    parts = ", ".join(f"{name} {size}" for name, size in sections.items() if size)
    text = f"{_name(path)}: {header.width}x{header.height}, quality {header.quality}\n"
    text += f"model {header.model.hex()}\n{len(data)} bytes ({parts}), {bpp:.3f} bpp"
    if len(data) != whole:
        what = "cut off" if len(data) < whole else "bytes follow"
        text += f"\n{what}: the whole file has {whole} bytes"
    report.say(
        text,
        file=str(path),
        width=header.width,
        height=header.height,
        quality=header.quality,
        model=header.model.hex(),
        bytes=len(data),
        whole_bytes=whole,
        bits_per_pixel=round(bpp, 5),
        sections=sections,
        grey=header.grey,
        stored_tiles=header.stored,
        unfiltered_patches=header.unfiltered,
    )


def models(options: Namespace) -> None:
    """List the shipped models."""
    report = Reporter(options)
    for name, entry in sorted(registry().items()):
        work = inspection.multiplications(load(name).architecture) / 1000
        report.say(
            f"{name}: {entry['id']}  {entry['about']} ({work:.1f} kMAC a pixel to decode)",
            name=name,
            id=entry["id"],
            about=entry["about"],
            kmac_per_pixel=round(work, 1),
        )


# --- train, evaluate


def train(options: Namespace) -> None:
    """Train a codec on a folder of photographs."""
    with extra("tensorflow"):
        from mrdcae_lite.training.run import TrainingRun

    report = Reporter(options)
    chosen = {name: getattr(options, name) for name in TrainingRun.__dataclass_fields__}
    run = TrainingRun(**chosen)
    silent = options.json or options.quiet
    announce = (lambda row: report.say("", **row)) if options.json else None
    run.train(
        options.photographs,
        options.validation,
        options.to,
        devices=options.devices,
        silent=silent,
        announce=announce,
    )
    for folder in (options.photographs, options.validation):
        pictures, left_out = pictures_in(folder)
        facts = {"folder": str(folder), "photographs": len(pictures)}
        text = f"{shown(folder)}: {_count(len(pictures), 'photograph')}{_in_words(left_out)}"
        report.say(text, **facts, left_out=[str(path) for path in left_out])
    trained = options.to / "trained.keras-codec"
    report.say(f"{trained}: done", codec=str(trained))


def export(options: Namespace) -> None:
    """Write the networks of a codec as ONNX graphs."""
    codec = load(options.codec)
    with extra("tensorflow"):
        from mrdcae_lite.training import export as graphs

    report = Reporter(options)
    for path in graphs.export(codec, options.to):
        size = path.stat().st_size
        report.say(f"{shown(path)}: {size} bytes", file=str(path), bytes=size)


def evaluate(options: Namespace) -> None:
    """Compare codecs on pictures, in real bytes."""
    _prepare_engine(options, "images")
    if options.out:
        _free(options.out, options.force)
    earlier = None
    if options.reuse:
        with _about(options.reuse):
            earlier = _earlier(options.reuse)
    with extra("evaluation"):
        from mrdcae_lite.evaluation import benchmark
        from mrdcae_lite.evaluation.report import table, to_json

    report = Reporter(options)
    samples = benchmark.bundled() if options.samples or not options.images else []
    paths, left_out = benchmark.pictures([*options.images, *samples], options.limit)
    names = benchmark.Settings.__dataclass_fields__.keys() & vars(options).keys()
    settings = benchmark.Settings(**{name: getattr(options, name) for name in names})
    progress = Progress(len(paths), shown=not options.quiet)

    def announce(number: int, path: Path, problem: str | None) -> None:
        progress.clear()
        if problem or not (options.quiet or options.json):
            line = f"skipped: {problem}" if problem else shown(path.name)
            print(f"{number}/{len(paths)} {line}", file=sys.stderr, flush=True)
        progress.show(number)

    more = {"jobs": options.jobs, "engine": options.engine, "earlier": earlier}
    found = benchmark.evaluate(paths, settings, announce=announce, **more)
    text = table(found) + _in_words(left_out).replace("; ", "\n", 1)
    if options.out:
        # What of a name is no text becomes an escape of JSON.
        write_atomically(options.out, to_json(found).encode(errors="backslashreplace"))
        text += f"\n\n{options.out}: {options.out.stat().st_size} bytes"
    report.say(text, **found)
    if found["skipped"]:
        sys.exit(1)


def _earlier(path: Path) -> dict[str, Any]:
    """A report that `evaluate` wrote."""
    try:
        earlier: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"expected a report that evaluate wrote, in JSON. Received: {one_line(error)}. Give "
            "another file."
        ) from error
    return earlier or {}
