"""The command line alone; what it does with a server is for tests/local."""

import pytest

from services.client.__main__ import main, parser, samples, split_command
from services.core.errors import ServerError, SettingsError


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("classify", [])),
        (["a.jpg"], ("classify", ["a.jpg"])),
        (["classify", "a.jpg", "-"], ("classify", ["a.jpg", "-"])),
        (["verify"], ("verify", [])),
        (["wait"], ("wait", [])),
        (["./verify"], ("classify", ["./verify"])),
        (["a.jpg", "verify"], ("classify", ["a.jpg", "verify"])),
    ],
)
def test_classify_is_the_default_command(arguments, expected):
    assert split_command(arguments) == expected


@pytest.mark.parametrize("line", ["--json a.jpg --top 3 b.jpg", "--top=3 a.jpg b.jpg --json", "a.jpg b.jpg --json --top 3"])
def test_options_stand_anywhere(line):
    options = parser().parse_intermixed_args(line.split())
    assert (options.arguments, options.json, options.top) == (["a.jpg", "b.jpg"], True, 3)


def test_standard_input_is_no_option():
    assert parser().parse_intermixed_args(["-", "--json"]).arguments == ["-"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("verify a.jpg", "verify takes no pictures, found a.jpg"),
        ("wait a.jpg", "wait takes no pictures"),
        ("a.jpg --golden g.npz", "--golden belongs to verify"),
        ("--top 0 a.jpg", "TOP_K=0"),
        ("--batch -1 a.jpg", "CLIENT_BATCH=-1"),
        ("--url nonsense wait", "TRITON_URL"),
    ],
)
def test_arguments_that_cannot_be_used(line, found):
    with pytest.raises(SettingsError, match=found):
        main(parser().parse_intermixed_args(line.split()))


def test_options_win_over_the_environment(monkeypatch):
    monkeypatch.setenv("TRITON_GRPC_URL", "127.0.0.1:2")
    monkeypatch.setenv("PROTOCOL", "http")
    monkeypatch.setenv("WAIT_SECONDS", "60")
    monkeypatch.setenv("MODEL_NAME", "other")
    line = "wait --protocol grpc --grpc-url 127.0.0.1:1 --wait 0 --model mine"
    with pytest.raises(ServerError, match=r"grpc://127\.0\.0\.1:1: .*\(waited 0 s\)"):
        main(parser().parse_intermixed_args(line.split()))


def test_samples_are_the_default_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("services.client.__main__.SAMPLES", (tmp_path / "none", tmp_path / "samples"))
    with pytest.raises(SettingsError, match="no picture given"):
        samples()
    (tmp_path / "samples").mkdir()
    assert samples() == [str(tmp_path / "samples")]
