"""DIV2K, high-resolution photographs for academic use: 100 to validate, 800 to train.

``python -m data_scripts.div2k --to DIR`` downloads the validation part (449 MB),
``--part div2k_train`` the training part (3.5 GB).
"""

from collections.abc import Sequence

from data_scripts.fetch import command


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare one part of the set in a folder."""
    return command(["div2k_validation", "div2k_train"], argv)


if __name__ == "__main__":
    raise SystemExit(main())
