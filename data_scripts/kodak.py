"""Kodak Lossless True Color Image Suite: 24 photographs, to evaluate on and never to train on.

``python -m data_scripts.kodak --to DIR`` fills DIR with kodim01.png to kodim24.png.
"""

from collections.abc import Sequence

from data_scripts.fetch import command_line


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare the set in a folder."""
    return command_line("kodak", argv)


if __name__ == "__main__":
    raise SystemExit(main())
