"""How a model is called; standard library only, for the Triton image has nothing else."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

ONNX_PREFIX = "onnx:"
FACTORY_PREFIX = "py:"
CONTROL = "_control"
"""The model that has the server load others; names that begin with an underscore are the server's own."""
_IMAGE_SUFFIX = "_image"
_TRIAL = re.compile(r"trial-[ab]\.")


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


def image_name(name: str) -> str:
    """The name of the model beside ``name`` that takes pictures as files.

    >>> image_name("resnet50")
    'resnet50_image'
    """
    return f"{name}{_IMAGE_SUFFIX}"


def is_image_name(name: str) -> bool:
    """Whether a name is one that ``image_name`` makes."""
    return name.endswith(_IMAGE_SUFFIX)


def trial_name(name: str, slot: str) -> str:
    """The name of a copy of ``name`` that scripts/tune has the server load beside it for a while; ``slot`` is a or b.

    >>> trial_name("resnet50", "a")
    'trial-a.resnet50'
    """
    return f"trial-{slot}.{name}"


def is_trial_name(name: str) -> bool:
    """Whether a name is one that ``trial_name`` makes, or of the one that takes files for that."""
    return bool(_TRIAL.match(name))


def by_themselves(names: Iterable[str]) -> list[str]:
    """Of the models of a server those that one may mean without a name: not those that take files for another, and no trials.

    >>> by_themselves(["b", "b_image", "a", "trial-a.b", "trial-a.b_image", "_control"])
    ['a', 'b']
    """
    found = set(names) - {CONTROL}
    return sorted(name for name in found - {image_name(name) for name in found} if not is_trial_name(name))
