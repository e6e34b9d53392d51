"""The experiments: running, collecting and comparing them, and what they measure with."""
