"""Search for bytes that break the decoder, guided by the code that they reach.

    python -m data_scripts.fuzz [--seconds 600] [--codec FILE] [--corpus DIR]

Needs atheris, which is no dependency of the project: `pip install atheris`, Linux and macOS only.
Every input is tried as it is and with its checksums made right. The rules are those of
`data_scripts.mutate`; an input that breaks them is written to a file `crash-...` in the current
folder, and the exit code is not 0.
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

MISSING = (
    "data_scripts.fuzz: expected the package atheris, which is optional. Received: {error}. "
    "Install it with `pip install atheris`, or run data_scripts.mutate."
)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; atheris ends the process itself."""
    parser = argparse.ArgumentParser(prog="data_scripts.fuzz")
    parser.add_argument("--seconds", type=int, default=600, help="how long to search (600)")
    parser.add_argument("--codec", default="lite", help="shipped codec or codec file")
    parser.add_argument("--corpus", type=Path, help="folder that keeps what was found")
    options = parser.parse_args(argv)
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError as error:
        print(MISSING.format(error=error), file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["mrdcae_lite"]):
        import mrdcae_lite as mr
        from data_scripts.mutate import judge, originals, repaired
    codec = mr.load(options.codec)
    files = originals(codec)

    def try_one(data: bytes) -> None:
        for file in (data, repaired(data)):
            verdict = judge(codec, file, files[0], sealed=True)
            if verdict.violation:
                raise AssertionError(verdict.violation)

    with tempfile.TemporaryDirectory() as seeds:
        for number, file in enumerate(files):
            (Path(seeds) / str(number)).write_bytes(file.data)
        corpus = options.corpus or Path(seeds) / "found"
        corpus.mkdir(parents=True, exist_ok=True)
        limits = [f"-max_total_time={options.seconds}", "-max_len=4096", "-timeout=20"]
        atheris.Setup(["data_scripts.fuzz", *limits, str(corpus), seeds], try_one)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
