"""How a setting is declared, read from the environment, and shown in ``--help``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, model_validator

from services.core.errors import SettingsError
from services.core.names import is_image_name, served_name

Affects = Literal["export", "engine", "serving"]
"""What is made anew when a setting changes: the exported graph, the compiled engine, or only how the engine is served."""

HINT = "correct it in .env, in the environment or on the command line; docs/configuration.md explains every setting"


def setting(
    default: Any,
    meaning: str,
    *,
    affects: Affects | None = None,
    values: str = "",
    empty: str = "",
    advice: str = "",
    by_launcher: bool = False,
    **constraints: Any,
) -> Any:
    """Declare a setting.

    Args:
        default: its value where the variable is unset or empty.
        meaning: in a few words, for ``--help``, ``.env`` and docs/configuration.md.
        affects: which fingerprint it enters; None where nothing is made anew.
        values: what may stand there, for the documentation; made from the type where empty.
        empty: what an empty value means, where the default is empty.
        advice: when to change it, for docs/configuration.md.
        by_launcher: the launchers set it; in ``.env`` it is only mentioned.
        constraints: pydantic's (``ge``, ``le``, ``gt``, ``min_length``).
    """
    told: dict[str, JsonValue] = {"affects": affects, "values": values, "empty": empty, "advice": advice, "by_launcher": by_launcher}
    return Field(default, description=meaning, json_schema_extra=told, **constraints)


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


COMMAS = BeforeValidator(_split)
"""Lets a tuple be written as ``1,2,3``."""


LONGEST_NAME = 100
"""Characters of a served name: folders and files are called after it, with a few more."""


LARGEST = 2**31 - 1
"""Largest number that a setting may be: what Triton's configuration, and the clocks of the system, can hold."""


class Settings(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        for name, value in self:
            if isinstance(value, int | float) and value > LARGEST:
                raise ValueError(f"{name.upper()}={value:.15g}: expected at most {LARGEST}")
        return self

    @classmethod
    def from_env(cls, environ: Mapping[str, str], **overrides: object) -> Self:
        """Read the settings; ``overrides`` (from the command line) that are not None win over the environment.

        Raises:
            SettingsError: a value is not of its kind; all of them are named at once.
        """
        values: dict[str, object] = {name: value for name in cls.model_fields if (value := environ.get(name.upper(), "").strip())}
        values |= {name: value for name, value in overrides.items() if value is not None}
        # They are written into documents, which are UTF-8.
        broken = [name for name, value in values.items() if any("\ud800" <= letter <= "\udfff" for letter in str(value))]
        if broken:
            found = "\n".join(f"{name.upper()}={values[name]}: found bytes that are no UTF-8, expected text" for name in broken)
            raise SettingsError(found, hint="rename the file or folder it names, or correct the setting")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError("\n".join(_line(problem) for problem in error.errors()), hint=HINT) from None

    def affecting(self, what: Affects) -> dict[str, Any]:
        """The settings that enter a fingerprint, by name, as JSON values."""
        return self.model_dump(mode="json", include={name for name in type(self).model_fields if told(type(self), name)["affects"] == what})

    @classmethod
    def help(cls) -> str:
        """The settings as text for ``--help``."""
        lines = ["settings (environment variables; docs/configuration.md has them all):"]
        for name, field in cls.model_fields.items():
            default = f" [{shown(field.default)}]" if shown(field.default) else ""
            lines.append(f"  {name.upper():<26}{field.description}{default}")
        return "\n".join(lines)


class ModelSettings(Settings):
    """Which model, and how a stage talks."""

    log_format: Literal["text", "json"] = setting(
        "text", "text for people, or json for one object a line", advice="`json` for a log collector"
    )
    model: str = setting(
        "resnet50",
        "torchvision classifier by name, efficientnet_lite0, onnx:/models/net.onnx, or py:module:function",
        affects="export",
        min_length=1,
        values="torchvision name · `efficientnet_lite0` · `onnx:FILE` · `py:module:function`",
        empty="resnet50; with the launchers cpu and local efficientnet_lite0",
        advice="Files belong in `models/`; every launcher understands a path like `models/net.onnx`",
    )
    model_name: str = setting(
        "",
        "name the model is served under",
        affects="export",
        values="text",
        empty="made from MODEL",
        advice="Set it to serve two variants of one model. Letters, digits and `_.-` stay, anything else becomes `_`; "
        "100 characters at most",
    )

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        # An empty name would make the folder of all models the model's own.
        if self.model and not self.name:
            raise ValueError(f"MODEL={self.model}, MODEL_NAME={self.model_name}: no name is left to serve the model under; set MODEL_NAME")
        found = f"MODEL={self.model}, MODEL_NAME={self.model_name}: the model would be called {self.name}"
        if len(self.name) > LONGEST_NAME:
            raise ValueError(f"{found}, {len(self.name)} characters, expected at most {LONGEST_NAME}; set a shorter MODEL_NAME")
        if self.name.startswith("_"):
            raise ValueError(f"{found}; names that begin with an underscore are the server's own; set another MODEL_NAME")
        if is_image_name(self.name):
            raise ValueError(f"{found}, which is kept for the one that takes pictures as files beside a model; set another MODEL_NAME")
        return self

    @property
    def name(self) -> str:
        """The name the model is served under."""
        return served_name(self.model, self.model_name)


class FolderSettings(ModelSettings):
    """The two folders in which the stages meet."""

    artifacts_dir: Path = setting(Path("artifacts"), "folder of exported models, one below it per model", by_launcher=True)
    model_repository_dir: Path = setting(Path("model_repository"), "Triton's model repository, as the stages see it", by_launcher=True)

    @property
    def artifacts(self) -> Path:
        """Folder of this model's exported files."""
        return self.artifacts_dir / self.name


def told(kind: type[Settings], name: str) -> dict[str, Any]:
    """What the declaration of a field says besides type, default and meaning; see ``setting``."""
    extra = kind.model_fields[name].json_schema_extra
    assert isinstance(extra, dict)  # noqa: S101 - declared by setting() alone
    return extra


def shown(value: object) -> str:
    """A default as it is written in ``.env``."""
    if value in (None, (), ""):
        return ""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _line(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"][:1]).upper()
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}={problem['input']}: {message}" if key else message
