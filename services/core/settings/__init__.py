"""Every setting of the stack, declared once.

A stage reads its class from the environment in ``main()`` and passes it down. A field's name in upper case is its environment
variable; an empty variable counts as unset, because that is how Compose hands on a key that ``.env`` leaves empty. ``.env`` and
the tables of docs/configuration.md are written from these declarations (``python -m services.core.settings.reference``).
"""

from services.core.settings.base import Affects, ModelSettings, Settings
from services.core.settings.stack import StackSettings
from services.core.settings.stages import (
    BuilderSettings,
    ClientSettings,
    ExporterSettings,
    Precision,
    Protocol,
    ServingSettings,
    TritonSettings,
)

STAGES: tuple[type[Settings], ...] = (ExporterSettings, BuilderSettings, TritonSettings, ClientSettings)

__all__ = [
    "STAGES",
    "Affects",
    "BuilderSettings",
    "ClientSettings",
    "ExporterSettings",
    "ModelSettings",
    "Precision",
    "Protocol",
    "ServingSettings",
    "Settings",
    "StackSettings",
    "TritonSettings",
]
