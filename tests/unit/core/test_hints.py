"""A hint names the command of the launcher in use."""

import pytest

from services.core import hints


@pytest.mark.parametrize(
    ("launcher", "contained", "builder", "start", "log"),
    [
        ("local", False, "scripts/builder rollback 3", "scripts/up", ".stack/triton.log"),
        ("cpu", True, "scripts/builder rollback 3", "scripts/up", "docker compose logs triton"),
        ("", True, "docker compose run --rm --no-deps builder rollback 3", "docker compose up", "docker compose logs triton"),
        ("", False, "python -m services.builder rollback 3", "scripts/up", ".stack/triton.log"),
    ],
)
def test_commands(monkeypatch, launcher, contained, builder, start, log):
    monkeypatch.setenv("LAUNCHER", launcher)
    monkeypatch.setattr(hints, "in_container", lambda: contained)
    assert hints.command("builder", "rollback", "3") == builder
    assert hints.start() == start
    assert hints.server_log() == log


def test_a_stage_that_is_no_script_is_started_by_up(monkeypatch):
    monkeypatch.setenv("LAUNCHER", "local")
    assert hints.command("exporter", "--force") == "scripts/up"
    assert hints.command("client", "photo.jpg") == "scripts/classify photo.jpg"


@pytest.mark.parametrize(
    ("launcher", "contained", "expected"), [("local", True, False), ("cpu", True, True), ("", True, True), ("", False, False)]
)
def test_a_local_process_in_a_container_is_not_isolated_from_its_user(monkeypatch, launcher, contained, expected):
    monkeypatch.setenv("LAUNCHER", launcher)
    monkeypatch.setattr(hints, "in_container", lambda: contained)
    assert hints.isolated() is expected
