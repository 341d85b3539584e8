"""The four stages and what they share; each stage runs as ``python -m services.<stage>``."""

__version__ = "0.1.0"
