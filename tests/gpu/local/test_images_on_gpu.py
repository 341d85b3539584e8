"""The tests of ``<model>_image`` on the CPU, with decoder and engine on the GPU."""

from tests.local.test_image_model import *  # noqa: F403 - the same tests, on the other settings of this folder
