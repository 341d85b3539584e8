"""Files that are either whole or absent: hashes, atomic writes, an advisory lock."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from services.core.errors import RepositoryError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read; whatever else has a name may keep its reader waiting, or never end.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"is {_KINDS[kind]} and no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, most: int) -> bytes:
    """The content of a regular file; of one that is longer than ``most`` bytes, one byte more than that.

    No more is read than the file says it holds: those of /proc say nothing, and some of them never end.

    Raises:
        OSError: as ``open_regular``.
    """
    with open_regular(path) as file:
        return file.read(min(os.fstat(file.fileno()).st_size, most + 1))


def sha256_of(*paths: Path) -> str:
    """Hex SHA-256 over the content of the files, in the order given; no more than ``read_regular`` is read of one.

    Raises:
        OSError: as ``open_regular``.
    """
    digest = hashlib.sha256()
    for path in paths:
        with open_regular(path) as file:
            left = os.fstat(file.fileno()).st_size
            try:
                while chunk := file.read(min(left, 1 << 20)):
                    digest.update(chunk)
                    left -= len(chunk)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from None  # of itself it names no file
    return digest.hexdigest()


def fingerprint_of(inputs: dict[str, Any]) -> str:
    """Hex SHA-256 of a JSON-serialisable mapping; the order of keys does not count."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the errors of a write below ``folder`` into one that says what to do.

    Raises:
        RepositoryError: they are told by it: a full disk, a read-only file system, denied access, a file in the place of a folder.
    """
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: "free some space on that file system, then run the same command again",
            errno.EDQUOT: "free some of your quota, then run the same command again",
            errno.EROFS: "mount it writable for this stage",
            errno.EACCES: f"make it writable for uid {os.getuid()}, or set STACK_UID and STACK_GID to its owner",
            errno.EPERM: f"make it writable for uid {os.getuid()}, or set STACK_UID and STACK_GID to its owner",
            errno.EEXIST: "a file is where a folder should be: remove it, or name another folder",
            errno.ENOTDIR: "a file is where a folder should be: remove it, or name another folder",
        }
        hint = hints.get(error.errno or 0, "see the reason, or name another folder")
        raise RepositoryError(f"cannot write in {folder}: {error.strerror or error}", hint=hint) from error


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder below ``TMPDIR`` that goes at the end.

    Raises:
        RepositoryError: there is no room for what is written in it.
    """
    try:
        made = tempfile.TemporaryDirectory()
    except FileNotFoundError as error:  # Python tries the folders it knows, with a few bytes
        raise RepositoryError(f"there is no room for temporary files: {error.strerror}", hint=_ROOM) from error
    with made as name:
        try:
            yield Path(name)
        except Exception as error:
            disk = shutil.disk_usage(name)
            # ONNX Runtime reports a full disk as a defect of the model.
            if disk.free and not (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
                raise
            found = f"the folder for temporary files, {Path(name).parent}, is full: it holds {disk.total / (1 << 20):g} MiB"
            raise RepositoryError(found, hint=_ROOM) from error


_ROOM = "free some space there, or set TMPDIR to a larger folder; in a container compose.yaml bounds it (tmpfs)"


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Write a file by rename, so that a reader sees the old content or the new one, never a part; an error leaves the old one.

    Raises:
        RepositoryError: the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | str, *, mode: int = 0o644) -> None:
    """Write a small file by rename, as ``replacing`` does.

    Raises:
        RepositoryError: the folder cannot be written.
    """
    with replacing(path, mode=mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def sync_tree(folder: Path) -> None:
    """Flush every file below a folder, and the folders, to disk, so that a rename after it publishes whole files."""
    for path in (folder, *folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def lock(path: Path, *, wait_seconds: float, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold an advisory lock on ``path``; it is released by the kernel when the process ends, however it ends.

    Args:
        path: the lock file; it is created where missing and stays.
        wait_seconds: how long to wait for another holder.
        on_wait: told once, before waiting, who holds the lock.

    Raises:
        RepositoryError: the folder cannot be written, or the lock was not free in time.
    """
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    with file:
        deadline = time.monotonic() + wait_seconds
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                if time.monotonic() >= deadline:
                    raise RepositoryError(
                        f"{path.parent} is locked by {holder}, and was not free within {wait_seconds:g} s",
                        hint="wait for the other run to end, or stop it",
                    ) from None
                if not told:
                    on_wait(holder)
                    told = True
                time.sleep(0.2)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {os.uname().nodename}, since {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n")
        file.flush()
        yield


def remove_tree(path: Path) -> None:
    """Remove a folder. Ctrl-C and SIGTERM wait until it is gone.

    Python's ``rmtree`` closes a descriptor twice when a signal handler raises inside it; the second close hides what was
    raised, and the process would go on as if nobody had stopped it.

    Raises:
        OSError: something in it cannot be removed.
    """
    if threading.current_thread() is not threading.main_thread():
        shutil.rmtree(path)  # handlers run in the main thread alone
        return
    came: list[int] = []
    handlers = {number: signal.signal(number, lambda found, _: came.append(found)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        shutil.rmtree(path)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def remove_stale(folder: Path, patterns: Iterable[str]) -> None:
    """Remove what a killed run left in ``folder``; call it with the folder's lock held."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            remove_tree(path) if path.is_dir() else path.unlink(missing_ok=True)
