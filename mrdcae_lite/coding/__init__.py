"""Bytes of a `.mrdc` file: container, range coder, routing map, metadata."""
