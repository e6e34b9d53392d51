"""Arithmetic of the codec and what all else stands on: no networks, no bytes of a stream."""
