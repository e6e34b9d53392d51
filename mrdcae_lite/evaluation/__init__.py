"""Quality metrics, classical codecs to compare with, and benchmarks on pictures."""
