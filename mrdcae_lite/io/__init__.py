"""Picture files: reading and writing them, converting many, and the Pillow plugin."""
