"""Bytes of a `.mrdc` file: container, coding tables, range coder, routing map, metadata."""
