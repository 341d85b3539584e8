"""What the command does around its work; what it does with a model is for tests/local."""

import json

import pytest

from services.client.__main__ import main, samples, work
from services.client.arguments import Arguments
from services.core.errors import ServerError, SettingsError
from tests.unit.client.servers import web_server


@pytest.mark.parametrize(
    ("line", "found"), [("--top 0 a.jpg", "TOP_K=0"), ("--batch -1 a.jpg", "CLIENT_BATCH=-1"), ("--url nonsense wait", "TRITON_URL")]
)
def test_settings_that_cannot_be_used(line, found):
    with pytest.raises(SettingsError, match=found):
        work(Arguments.parse(line.split()))


def test_options_win_over_the_environment(monkeypatch):
    monkeypatch.setenv("TRITON_GRPC_URL", "127.0.0.1:2")
    monkeypatch.setenv("PROTOCOL", "http")
    monkeypatch.setenv("WAIT_SECONDS", "60")
    monkeypatch.setenv("MODEL_NAME", "other")
    with pytest.raises(ServerError, match=r"grpc://127\.0\.0\.1:1: .*\(waited 0 s\)"):
        work(Arguments.parse(["wait", "--protocol", "grpc", "--grpc-url", "127.0.0.1:1", "--wait", "0", "--model", "mine"]))


@pytest.mark.parametrize(("line", "waited"), [("a.jpg", 5), ("verify", 5), ("a.jpg --wait 60", 60), ("wait", 90)])
def test_only_those_who_ask_for_it_wait_long_for_a_server_that_nobody_started(line, waited, monkeypatch):
    """WAIT_SECONDS stands in .env, so that it is set says nothing."""
    bounds = []

    def note(settings, absent_seconds):
        bounds.append(min(settings.wait_seconds, absent_seconds))
        raise ServerError("noted")

    monkeypatch.setenv("WAIT_SECONDS", "90")
    monkeypatch.setattr("services.client.__main__.wait_until_ready", note)
    with pytest.raises(ServerError, match="noted"):
        work(Arguments.parse(line.split()))
    assert bounds == [waited]


def test_wait_names_the_model(triton, monkeypatch, capsys):
    triton.models = ["tiny"]
    for variable in ("TRITON_URL", "TRITON_GRPC_URL"):
        monkeypatch.setenv(variable, f"127.0.0.1:{triton.port}")
    monkeypatch.setenv("PROTOCOL", triton.protocol)
    monkeypatch.setenv("MODEL", "")
    assert work(Arguments.parse(["wait"])) == 0
    assert "[client tiny] tiny is ready" in capsys.readouterr().err


def test_samples_are_the_default_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr("services.client.__main__.SAMPLES", (tmp_path / "none", tmp_path / "samples"))
    with pytest.raises(SettingsError, match="no picture named"):
        samples()
    (tmp_path / "samples").mkdir()
    assert samples() == (str(tmp_path / "samples"),)


CONFIG = {"max_batch_size": 4, "version_policy": {"specific": {"versions": [1]}}}


def models(name: object) -> bytes:
    return json.dumps({"model_stats": [{"name": name}]}).encode()


@pytest.mark.parametrize(
    ("path", "answer", "code", "found"),
    [
        ("/v2", b"[" * 100_000, 8, "is not a Triton server"),
        ("/v2", b"\xff", 8, "is not a Triton server"),
        ("/v2/models/stats", b"[" * 100_000, 8, "is not a Triton server"),
        ("/v2/models/stats", models(["tiny"]), 4, r"the configuration of ['tiny'] has no model card"),
        ("/v2/models/stats", models("\x1b[31m%(x)s"), 4, r"the configuration of \x1b[31m%(x)s has no model card"),
        ("/config", json.dumps(CONFIG).encode(), 4, "has no model card"),
        ("/config", json.dumps(CONFIG | {"max_batch_size": "\x1b"}).encode(), 4, "is not one of Triton's"),
        ("/config", json.dumps(CONFIG | {"parameters": []}).encode(), 4, "is not one of Triton's"),
        ("/config", json.dumps(CONFIG | {"parameters": {"card": {"string_value": 3}}}).encode(), 4, "is not one of Triton's"),
        ("/config", json.dumps(CONFIG | {"parameters": {"card": {"string_value": "\x1b"}}}).encode(), 4, "is not JSON"),
        ("/config", b"null", 8, "is not a Triton server"),
    ],
)
def test_a_server_that_says_odd_things(monkeypatch, ended, path, answer, code, found):
    said = {"/v2": b'{"extensions": []}', "/v2/models/stats": models("tiny"), "/config": json.dumps(CONFIG).encode()} | {path: answer}
    monkeypatch.setenv("MODEL", "")

    def reply(asked: str) -> tuple[int, bytes]:
        return 200, b"" if asked.endswith("/ready") else said["/config" if asked.endswith("/config") else asked]

    with web_server(reply) as port:
        ended_with, _, error = ended(main, "--url", f"127.0.0.1:{port}", "--protocol", "http", "--wait", "0", "a.jpg")
    assert ended_with == code
    assert found in error
    assert "   fix: " in error
    assert "\x1b" not in error
