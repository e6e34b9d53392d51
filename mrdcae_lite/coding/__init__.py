"""Bytes of a `.mrdc` file: container, coding tables, range coder, maps, stored tiles, metadata."""
