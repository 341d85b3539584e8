"""The one file of a backup: a tar that says of every byte in it what it must be.

``model_repository/<model>/…`` and ``artifacts/<model>/…`` lie in it as they lie on disk, so that ``tar xf`` alone gives folders
that can be served; ``weights/…`` is what the exporter downloaded. ``MANIFEST.json`` lists every file, and the last member,
``SHA256``, is the hash of all bytes before it.
"""

import hashlib
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar

from pydantic import Field

from services.core.documents import Document, Part
from services.core.errors import ContractError, RepositoryError

REPOSITORY, ARTIFACTS, WEIGHTS = "model_repository", "artifacts", "weights"
_MANIFEST, _SEAL = "MANIFEST.json", "SHA256"
_HINT = "restore from another file; nothing was changed"
_CHUNK = 1 << 20
# Relative, below one of the three folders, and without hidden parts: neither "..", nor a lock, nor a staging folder.
_SAFE = re.compile(rf"({REPOSITORY}|{ARTIFACTS}|{WEIGHTS})(/[^./\0][^/\0]*)+")


class Entry(Part):
    """One file."""

    path: str
    size: int = Field(ge=0, description="bytes")
    sha256: str


class Manifest(Document):
    """What an archive holds. Format 1: ``MANIFEST.json``."""

    FORMAT: ClassVar[str] = "1.0"
    HINT: ClassVar[str] = _HINT

    format_version: str = FORMAT
    release: str = Field(description="version of the stack that wrote it")
    created: str = Field(description="UTC, ISO 8601")
    models: dict[str, int | None] = Field(description="the version that each served; null: it was out of service")
    files: tuple[Entry, ...]

    def below(self, folder: str) -> dict[str, Entry]:
        """The files below a folder, by their path in it."""
        return {entry.path.removeprefix(f"{folder}/"): entry for entry in self.files if entry.path.startswith(f"{folder}/")}

    def versions(self, model: str) -> list[int]:
        """Numbers of a model's versions, oldest first."""
        first = {PurePosixPath(path).parts[0] for path in self.below(f"{REPOSITORY}/{model}")}
        return sorted(int(name) for name in first if name.isdecimal())

    def exports(self) -> list[str]:
        """The models whose export it holds."""
        return sorted({PurePosixPath(entry.path).parts[1] for entry in self.files if entry.path.startswith(f"{ARTIFACTS}/")})


class _Hashed:
    """A file that notes the SHA-256 of what is read from it or written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.size, self._digest = file, 0, hashlib.sha256()

    def read(self, size: int) -> bytes:
        return self._noted(self._file.read(size))

    def write(self, data: bytes) -> int:
        return self._file.write(self._noted(data))

    def tell(self) -> int:
        return self.size

    def sha256(self) -> str:
        return self._digest.hexdigest()

    def _noted(self, data: bytes) -> bytes:
        self.size += len(data)
        self._digest.update(data)
        return data


class Writer:
    """Writes an archive, which may go into a pipe."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hashed = file, _Hashed(file)
        self._tar = tarfile.open(fileobj=self._hashed, mode="w")  # type: ignore[call-overload]  # noqa: SIM115 - never closed: see finish
        self.entries: list[Entry] = []

    def add(self, files: Iterable[tuple[Path, str]]) -> None:
        """Add files that do not change meanwhile, each with its path in the archive; of hard links among them the content is stored once.

        Raises:
            RepositoryError: one cannot be read.
        """
        known: dict[int, Entry] = {}
        for source, path in files:
            with _opened(source) as file:
                status = os.fstat(file.fileno())
                info = tarfile.TarInfo(path)
                info.mtime = int(status.st_mtime)
                if entry := known.get(status.st_ino):
                    info.type, info.linkname = tarfile.LNKTYPE, entry.path
                    self._tar.addfile(info)
                    self.entries.append(entry.model_copy(update={"path": path}))
                    continue
                info.size, content = status.st_size, _Hashed(file)
                self._tar.addfile(info, content)
                known[status.st_ino] = Entry(path=path, size=info.size, sha256=content.sha256())
                self.entries.append(known[status.st_ino])

    def finish(self, manifest: Manifest) -> int:
        """Write the manifest and the hash over everything; return the size of the archive in bytes."""
        self._hashed.write(_member(_MANIFEST, manifest.dumps().encode()))
        seal = _seal(self._hashed.sha256())
        self._file.write(seal)
        return self._hashed.size + len(seal)


class Archive:
    """An archive whose every byte was checked.

    Args:
        file: it, seekable.
        name: what messages call it.

    Raises:
        ContractError: it is damaged, cut short, no backup, or holds what no backup holds.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._name = name
        _demand_whole(file, name)
        file.seek(0)
        try:
            self._tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - the file is the caller's
            *content, manifest, _ = self._tar.getmembers()
            self._members = {member.name: member for member in content}
            self.manifest = Manifest.loads(self._content(manifest).read().decode(), f"{manifest.name} in {name}")
            self._demand_what_is_listed(content)
            for entry in self.manifest.files:
                for _ in self.chunks(entry):
                    pass
        except (tarfile.TarError, ValueError, KeyError) as error:
            raise ContractError(f"{name} is no backup of this stack: {error}", hint=_HINT) from None

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        """The content of a file, piece by piece.

        Raises:
            ContractError: it is not what the manifest says; found after the last piece.
        """
        content = _Hashed(self._content(self._members[entry.path]))
        while chunk := content.read(_CHUNK):
            yield chunk
        if (content.size, content.sha256()) != (entry.size, entry.sha256):
            raise ContractError(
                f"{entry.path} in {self._name} has {content.size} bytes and sha256 {content.sha256()[:12]}…, "
                f"the manifest says {entry.size} and {entry.sha256[:12]}…",
                hint=_HINT,
            )

    def text(self, path: str) -> str:
        """The content of a small text file.

        Raises:
            ContractError: there is none of that path.
        """
        if path not in self._members:
            raise ContractError(f"{self._name} holds no {path}", hint=_HINT)
        return self._content(self._members[path]).read().decode()

    def _content(self, member: tarfile.TarInfo) -> BinaryIO:
        content = self._tar.extractfile(member)
        if content is None:
            raise ContractError(f"{member.name} in {self._name} is no file", hint=_HINT)
        return content  # type: ignore[return-value]

    def _demand_what_is_listed(self, members: list[tarfile.TarInfo]) -> None:
        """Only files of safe names that the manifest lists, each once; a hard link leads to one of them that is no link."""
        listed = [entry.path for entry in self.manifest.files]
        found = sorted(member.name for member in members)
        if found != sorted(listed) or len(set(found)) != len(found):
            odd = sorted(set(found) ^ set(listed)) or ["the same name twice"]
            raise ContractError(f"{self._name} holds other files than its manifest lists: {', '.join(odd)}", hint=_HINT)
        for member in members:
            target = self._members.get(member.linkname) if member.islnk() else member
            if not _SAFE.fullmatch(member.name) or target is None or not target.isreg():
                raise ContractError(
                    f"{self._name} holds {member.name!r}, expected nothing but files below {REPOSITORY}, {ARTIFACTS} and {WEIGHTS}",
                    hint="it was not written by this stack: do not use it",
                )
        for model, live in self.manifest.models.items():
            if "/" in model or not (versions := self.manifest.versions(model)) or live not in (None, *versions):
                raise ContractError(f"{self._name} holds no live version {live} of {model!r}, which its manifest names", hint=_HINT)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise RepositoryError(f"cannot read {path}: {error.strerror}", hint=f"make it readable for uid {os.getuid()}") from None


def _member(name: str, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info.tobuf() + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def _seal(sha256: str) -> bytes:
    """How an archive ends: the last member, and the two empty blocks that end every tar."""
    return _member(_SEAL, f"{sha256}\n".encode()) + bytes(2 * tarfile.BLOCKSIZE)


def _demand_whole(file: BinaryIO, name: str) -> None:
    size = len(_seal("0" * 64))
    left = file.seek(0, os.SEEK_END) - size
    file.seek(0)
    hashed = _Hashed(file)
    while left > 0 and (chunk := hashed.read(min(left, _CHUNK))):
        left -= len(chunk)
    if (end := file.read()) == _seal(found := hashed.sha256()):
        return
    said = end[tarfile.BLOCKSIZE :][:64].decode(errors="replace")
    if end[: tarfile.BLOCKSIZE] != _seal(found)[: tarfile.BLOCKSIZE] or end != _seal(said):
        raise ContractError(f"{name} does not end as a backup does: it was cut short, is damaged, or is no backup", hint=_HINT)
    raise ContractError(f"{name} is damaged: its content has sha256 {found[:12]}…, its last member says {said[:12]}…", hint=_HINT)
