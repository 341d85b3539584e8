"""Shared memory of a server: private, and gone when it has ended."""

import mmap
import os
import uuid

from services.triton.models import regions


def test_regions_of_a_server_that_was_killed_go(tmp_path, monkeypatch):
    monkeypatch.setattr(regions, "SHARED_MEMORY", tmp_path)
    for name in ("triton-9000-a", "triton-9000-b", "triton-900-a", "psm_1"):
        (tmp_path / name).touch()
    regions.remove("triton-9000-")
    assert {path.name for path in tmp_path.iterdir()} == {"triton-900-a", "psm_1"}


def test_what_a_process_has_mapped_is_its_own():
    path = regions.SHARED_MEMORY / f"test-{uuid.uuid4()}"
    try:
        with path.open("w+b") as file:
            file.truncate(4096)
            os.fchmod(file.fileno(), 0o644)
            with mmap.mmap(file.fileno(), 4096):
                regions.make_private()
        assert path.stat().st_mode & 0o777 == 0o600
    finally:
        path.unlink()
