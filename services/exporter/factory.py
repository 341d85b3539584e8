"""A network that a Python function of the user returns."""

import importlib

import torch

from services.core.errors import SourceError
from services.exporter.sources import FactorySource, packages_setting
from services.exporter.torchvision_models import torchvision_package


def factory_model(source: FactorySource) -> torch.nn.Module:
    """Call the function.

    Raises:
        SourceError: there is no such module or function, it fails, or it returns something else.
    """
    source.file()
    torchvision_package()  # the factory's own import of it then works, too
    called = f"MODEL=py:{source.module}:{source.function}"
    try:
        network = getattr(importlib.import_module(source.module), source.function)()
    except ModuleNotFoundError as error:
        missing = error.name or "of that name"
        raise SourceError(
            f"{called} failed: there is no Python module {missing}",
            hint=f"set {packages_setting(missing)} to install its package with the exporter",
        ) from error
    except Exception as error:
        # Whatever the user's code raises is the user's to read.
        raise SourceError(
            f"{called} failed: {type(error).__name__}: {error}", hint="run it in Python by itself; --debug shows where"
        ) from error
    if not isinstance(network, torch.nn.Module):
        raise SourceError(
            f"{called} returned {type(network).__name__}", hint="expected a function without arguments that returns a torch.nn.Module"
        )
    return network
