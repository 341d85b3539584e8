"""A simulator of the tensorrt module: its version, and nothing else."""

import os

__version__ = os.environ["TRT_VERSION"]
