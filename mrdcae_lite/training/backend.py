"""Keras with a backend that is installed: everything else imports it from here."""

import json
import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

BACKENDS = ("tensorflow", "jax")  # to choose from, in this order


def choose_backend() -> None:
    """Set `KERAS_BACKEND` to an installed backend, unless the user chose one.

    A Keras that is imported already, the variable itself and `keras.json` go first, in this order.
    Keras writes `keras.json` by itself, with TensorFlow: where that is missing, it was no choice.

    Raises:
        ImportError: if Keras, the backend that was chosen, or any backend is missing.
    """
    if "keras" in sys.modules:
        return
    chosen = os.environ.get("KERAS_BACKEND")
    if not chosen:
        folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
        with suppress(OSError, ValueError, AttributeError):
            chosen = json.loads((folder / "keras.json").read_bytes()).get("backend")
        if chosen in (None, "", "tensorflow"):
            chosen = next((name for name in BACKENDS if find_spec(name)), "none")
    if not find_spec("keras") or not find_spec(chosen):
        raise ImportError(
            f"expected Keras with a backend, {' or '.join(BACKENDS)}, for training. Found: Keras "
            f"{'is' if find_spec('keras') else 'is not'} installed, the backend is {chosen}. "
            'Install one: pip install "mrdcae-lite[tensorflow]" or "mrdcae-lite[jax]".'
        )
    os.environ["KERAS_BACKEND"] = chosen


choose_backend()

import keras as keras  # noqa: E402
from keras import ops as ops  # noqa: E402
