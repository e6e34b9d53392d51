"""Keras with the settings that the package chooses, before any test module imports it by itself."""

from mrdcae_lite.training import backend  # noqa: F401
