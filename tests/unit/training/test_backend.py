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


@pytest.mark.parametrize(
    ("keras", "name", "setting"),
    [
        ("3.13.2", "tensorflow", "0"),
        ("3.15.0", "tensorflow", None),
        ("4.0.0", "tensorflow", None),
        ("3.13.2", "jax", None),
    ],
)
def test_onednn_is_off_where_an_older_keras_would_crash_in_it(
    installed, monkeypatch, keras, name, setting
):
    monkeypatch.setattr(backend, "version", {"keras": keras}.__getitem__)
    monkeypatch.setenv(backend.ONEDNN, "")  # so that what is set here does not stay
    monkeypatch.delenv(backend.ONEDNN)
    installed(name)
    backend.choose_backend()
    assert os.environ.get(backend.ONEDNN) == setting


def test_a_setting_of_onednn_by_the_user_is_kept(installed, monkeypatch):
    monkeypatch.setattr(backend, "version", {"keras": "3.13.2"}.__getitem__)
    monkeypatch.setenv(backend.ONEDNN, "1")
    installed("tensorflow")
    backend.choose_backend()
    assert os.environ[backend.ONEDNN] == "1"
