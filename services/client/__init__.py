"""Ask a served model what is in pictures, from Python.

    from services.client import Classifier

    with Classifier("127.0.0.1:8000") as classifier:
        for result in classifier.classify("photos/"):
            print(result.file, result.error or result.top[0].label)

The names below are imported when they are first used: a third of a second.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.client.classifier import AsyncClassifier, Classifier
    from services.client.pictures import Named
    from services.client.report import Result
    from services.client.served import Class

__all__ = ["AsyncClassifier", "Class", "Classifier", "Named", "Result"]

_MODULES = {
    "AsyncClassifier": "classifier",
    "Class": "served",
    "Classifier": "classifier",
    "Named": "pictures",
    "Result": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
