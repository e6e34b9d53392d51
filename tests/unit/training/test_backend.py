"""Which backend Keras gets when the training sub-package is imported."""

import json
import os
import sys

import pytest

from mrdcae_lite.training import backend


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Before Keras is imported, with nothing chosen: call it with what is installed."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "")

    def install(*names):
        found = {"keras", *names}
        monkeypatch.setattr(backend, "find_spec", lambda name: name in found)

    return install


@pytest.mark.parametrize(
    ("names", "chosen"),
    [(["tensorflow", "jax"], "tensorflow"), (["tensorflow"], "tensorflow"), (["jax"], "jax")],
)
@pytest.mark.parametrize("config", [None, "{", "[]", '{"backend": "tensorflow"}'])
def test_the_backend_is_one_that_is_installed(installed, tmp_path, config, names, chosen):
    """Keras writes a file that names TensorFlow by itself, installed or not."""
    if config:
        (tmp_path / "keras.json").write_text(config)
    installed(*names)
    backend.choose_backend()
    assert os.environ["KERAS_BACKEND"] == chosen


def test_the_choice_of_the_user_goes_first(installed, tmp_path, monkeypatch):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    installed("tensorflow", "jax", "torch")
    backend.choose_backend()
    assert os.environ["KERAS_BACKEND"] == "torch"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    backend.choose_backend()
    assert os.environ["KERAS_BACKEND"] == "jax"


@pytest.mark.parametrize(
    ("names", "chosen", "message"),
    [
        ([], "", "the backend is none. Install one: pip install"),
        (["tensorflow"], "jax", "the backend is jax"),
    ],
)
def test_a_missing_backend_is_one_line_that_says_what_to_install(
    installed, monkeypatch, names, chosen, message
):
    installed(*names)
    monkeypatch.setenv("KERAS_BACKEND", chosen)
    with pytest.raises(ImportError, match=message) as raised:
        backend.choose_backend()
    assert "\n" not in str(raised.value)


def test_a_keras_that_is_there_is_left_alone(installed, monkeypatch):
    installed()
    monkeypatch.setitem(sys.modules, "keras", object())
    backend.choose_backend()
    assert not os.environ["KERAS_BACKEND"]
