"""Versioned JSON documents: what one stage writes for another."""

import json
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from services.core.errors import ContractError
from services.core.files import write_atomically


class Part(BaseModel):
    """A part of a document: immutable, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class Document(Part):
    """A whole document; ``format_version`` comes first, and its major number is looked at before anything else."""

    FORMAT: ClassVar[str]
    HINT: ClassVar[str]

    def dumps(self) -> str:
        """The document as JSON text."""
        return self.model_dump_json(indent=2) + "\n"

    def dump(self, path: Path) -> None:
        """Write the document atomically."""
        write_atomically(path, self.dumps())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and validate a document.

        Raises:
            ContractError: it is missing, damaged, or of another major format version.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ContractError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}", hint=cls.HINT) from None
        return cls.loads(text, str(path))

    @classmethod
    def loads(cls, text: str, origin: str) -> Self:
        """Validate a document that came from ``origin``.

        Raises:
            ContractError: it is damaged, or of another major format version.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"{origin} is not JSON: {error}", hint=cls.HINT) from None
        found = raw.get("format_version") if isinstance(raw, dict) else None
        if not isinstance(found, str) or found.partition(".")[0] != cls.FORMAT.partition(".")[0]:
            newer = "it was written by another release of this stack"
            raise ContractError(f"{origin} has format_version {found!r}, expected {cls.FORMAT}; {newer}", hint=cls.HINT)
        try:
            return cls.model_validate_json(text)  # and not what Python's reader takes beyond JSON: NaN, and lone surrogates
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'document'}: {p['msg']}" for p in error.errors())
            raise ContractError(f"{origin} is damaged: {problems}", hint=cls.HINT) from None
