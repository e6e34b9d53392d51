"""Bytes of a `.mrdc` file: container, coding tables, range coder, maps, lossless tiles, metadata."""
