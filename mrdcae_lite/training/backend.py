"""Keras with a backend that is installed: everything else imports it from here."""

import json
import os
import sys
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

BACKENDS = ("tensorflow", "jax")  # to choose from, in this order
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
CRASHES_BEFORE = (3, 15)
"""Older versions of Keras multiply matrices in a way that TensorFlow's oneDNN does not survive on
processors with AVX-512 (seen with Keras 3.13.2 and TensorFlow 2.20); without oneDNN they work."""


def choose_backend() -> None:
    """Set `KERAS_BACKEND` to an installed backend, unless the user chose one.

    Where the installed Keras crashes with TensorFlow's oneDNN, that is switched off as well.

    A Keras that is imported already, the variable itself and `keras.json` go first, in this order.
    Keras writes `keras.json` by itself, with TensorFlow: where that is missing, it was no choice.

    Raises:
        ImportError: if Keras, the backend that was chosen, or any backend is missing.
    """
    if "keras" in sys.modules:
        return
    chosen = _chosen()
    if not find_spec("keras") or not find_spec(chosen):
        raise ImportError(
            f"expected Keras with a backend, {' or '.join(BACKENDS)}, for training. Found: Keras "
            f"{'is' if find_spec('keras') else 'is not'} installed, the backend is {chosen}. "
            'Install one: pip install "mrdcae-lite[tensorflow]" or "mrdcae-lite[jax]".'
        )
    os.environ["KERAS_BACKEND"] = chosen
    numbers = version("keras").split(".")[:2]
    if chosen == "tensorflow" and tuple(map(int, numbers)) < CRASHES_BEFORE:
        os.environ.setdefault(ONEDNN, "0")


def _chosen() -> str:
    """Return the backend that the user chose, or else one that is installed, or "none"."""
    chosen = os.environ.get("KERAS_BACKEND")
    if not chosen:
        folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
        with suppress(OSError, ValueError, AttributeError):
            chosen = json.loads((folder / "keras.json").read_bytes()).get("backend")
        if chosen in (None, "", "tensorflow"):
            chosen = next((name for name in BACKENDS if find_spec(name)), "none")
    return str(chosen)


choose_backend()

import keras as keras  # noqa: E402
from keras import ops as ops  # noqa: E402
