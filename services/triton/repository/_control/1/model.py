"""Python-backend model that loads others: its code is that of the server's image, whose launcher says where it lies."""

import os
import sys

# The server's Python ignores PYTHONPATH; at the end, so that its own packages go before.
sys.path += os.environ["STACK_PYTHONPATH"].split(os.pathsep)

from services.triton.control import TritonPythonModel  # noqa: F401 - named by the backend
