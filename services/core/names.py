"""How a model is called; standard library only, for the Triton image has nothing else."""

import re
from pathlib import PurePosixPath

ONNX_PREFIX = "onnx:"
FACTORY_PREFIX = "py:"


def served_name(model: str, override: str = "") -> str:
    """The name a model is served under, from the MODEL setting.

    >>> served_name("resnet50"), served_name("onnx:/models/My Net.onnx"), served_name("py:shop.models:tiny")
    ('resnet50', 'My_Net', 'tiny')
    """
    if override:
        name = override
    elif model.startswith(ONNX_PREFIX):
        name = PurePosixPath(model.removeprefix(ONNX_PREFIX)).stem
    elif model.startswith(FACTORY_PREFIX):
        name = model.rpartition(":")[2]
    else:
        name = model
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".-")
