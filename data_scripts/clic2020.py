"""CLIC 2020 professional validation photographs, to evaluate on.

``python -m data_scripts.clic2020 --to DIR`` downloads 135 MB and fills DIR with PNG files.
"""

from collections.abc import Sequence

from data_scripts.fetch import command


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare the set in a folder."""
    return command(["clic2020"], argv)


if __name__ == "__main__":
    raise SystemExit(main())
