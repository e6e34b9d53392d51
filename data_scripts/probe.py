"""Ask every official address of the data sets for its first bytes, so that a move is noticed.

``python -m data_scripts.probe`` downloads nothing. It names the addresses that no longer answer
and ends with 1 if there are any.
"""

import argparse
import sys
from collections.abc import Sequence

import requests

from data_scripts.command import Parser, guarded
from data_scripts.manifest import entry, load, names

PATIENCE = 30  # seconds without an answer


def addresses(name: str) -> list[str]:
    """List the official addresses of a data set: single files, archive, splits."""
    data, splits = load(name), entry(name).get("splits", {})
    archive = [data.archive.url] if data.archive else []
    return [*data.urls.values(), *archive, *([splits["url"]] if splits else [])]


def fault(address: str, session: requests.Session) -> str | None:
    """Say what is wrong with an address; None if it sends bytes."""
    try:
        with session.get(address, stream=True, timeout=PATIENCE) as answer:
            answer.raise_for_status()
            return None if next(answer.iter_content(1), b"") else "it is empty"
    except requests.RequestException as error:
        return str(error)


def probe() -> int:
    """Ask all addresses, name the faults; 1 if there are any."""
    faults = 0
    with requests.Session() as session:
        for name in names():
            asked = addresses(name)
            found = {address: fault(address, session) for address in asked}
            bad = {address: text for address, text in found.items() if text}
            print(f"{name}: {len(asked) - len(bad)} of {len(asked)} addresses answer")
            for address, text in bad.items():
                print(f"  {address}: {text}")
            faults += len(bad)
    return 1 if faults else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser: argparse.ArgumentParser = Parser(prog="data_scripts.probe")
    parser.parse_args(argv)
    return guarded(parser.prog, probe)


if __name__ == "__main__":
    sys.exit(main())
