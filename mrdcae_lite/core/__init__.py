"""Arithmetic of the codec in NumPy: no files, no networks, no bytes of a stream."""
