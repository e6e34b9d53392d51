"""Packages that only some of the functions need; the package is installed without them."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import in this context what an extra of the package brings.

    Args:
        name: the extra, as `pyproject.toml` calls it.

    Raises:
        ImportError: naming package and extra, if it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise ImportError(
            f"expected the package {package}. Received: none of that name is installed. "
            f'Install the extra that brings it: pip install "mrdcae-lite[{name}]".'
        ) from error
