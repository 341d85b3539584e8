"""The whole chain on a real server, with real weights and real photographs."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import http

from tests.local.stack import SAMPLES, Stack

CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat
ESPRESSO = 967


def classify(stack: Stack, *arguments: str, **changes: Any) -> dict[str, list[dict[str, object]]]:
    lines = stack.run("client", "classify", "--json", *arguments, **changes).stdout.splitlines()
    return {Path(str(entry["file"])).stem: entry["top"] for entry in map(json.loads, lines)}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_cat_is_a_cat_and_the_coffee_an_espresso(lite0: Stack, protocol: str) -> None:
    top = classify(lite0, str(SAMPLES), "--protocol", protocol)
    assert {"chelsea", "coffee"} <= top.keys()
    assert top["chelsea"][0]["index"] in CATS
    assert top["coffee"][0]["index"] == ESPRESSO
    assert top["coffee"][0]["label"] == "espresso"
    assert 0.8 < float(str(top["coffee"][0]["score"])) <= 1
    assert all(len(classes) == 5 for classes in top.values())


def test_served_scores_are_the_original_models(lite0: Stack) -> None:
    result = json.loads(lite0.run("client", "verify", "--json").stdout)
    assert result["top1_agreement"] == 1.0
    assert 0 <= result["max_error"] < 1e-4


def test_a_single_picture_from_standard_input_and_a_table_for_people(lite0: Stack) -> None:
    done = lite0.run("client", "classify", "-", "--top", "3", stdin=(SAMPLES / "coffee.jpg").read_bytes())
    assert "espresso" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert len([line for line in done.stdout.splitlines() if "%" in line]) == 3


def test_a_file_that_is_no_picture_is_named_and_the_others_are_classified(lite0: Stack, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    done = lite0.run("client", "classify", "--json", str(broken), str(SAMPLES / "coffee.jpg"), code=9)
    assert "broken.jpg" in done.stderr
    assert [json.loads(line)["top"][0]["index"] for line in done.stdout.splitlines() if "top" in json.loads(line)] == [ESPRESSO]


def test_doing_it_again_touches_nothing(lite0: Stack) -> None:
    files = [path for folder in ("artifacts", "model_repository") for path in (lite0.folder / folder).rglob("*") if path.is_file()]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files if path.name != ".lock"}
    assert "up to date" in lite0.run("exporter").stderr
    assert "up to date" in lite0.run("builder").stderr
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in before}


def test_the_server_explains_the_model_it_serves(lite0: Stack) -> None:
    with urllib.request.urlopen(f"{lite0.url}/v2/models/{lite0.name}/config") as answer:
        config = json.load(answer)
    card = json.loads(config["parameters"]["card"]["string_value"])
    assert card == json.loads((lite0.model_folder / "card.json").read_text())
    assert card["name"] == config["name"] == "efficientnet_lite0"


def test_requests_that_arrive_together_run_as_one_batch_and_keep_their_own_answers(lite0: Stack) -> None:
    golden = np.load(lite0.model_folder / str(lite0.live_version()) / "golden.npz")

    def executions() -> tuple[int, int]:
        with urllib.request.urlopen(f"{lite0.url}/v2/models/{lite0.name}/stats") as answer:
            stats = json.load(answer)["model_stats"][0]
        return stats["execution_count"], stats["inference_count"]

    client = http.InferenceServerClient(f"127.0.0.1:{lite0.http}", concurrency=8)
    before = executions()
    try:
        pending = []
        for index in [*range(8)] * 4:
            tensor = http.InferInput("images", [1, *golden["inputs"].shape[1:]], "UINT8")
            tensor.set_data_from_numpy(golden["inputs"][index : index + 1])
            pending.append((index, client.async_infer(lite0.name, [tensor])))
        for index, request in pending:
            np.testing.assert_allclose(request.get_result().as_numpy("scores")[0], golden["scores"][index], atol=1e-4)
    finally:
        client.close()
    after = executions()
    asked = after[1] - before[1]
    assert 32 <= asked < 40  # the server's launcher asks now and then, too
    assert after[0] - before[0] < 32


def test_a_model_with_random_weights_by_the_tutorials_own_client(tmp_path: Path) -> None:
    """The tutorial: FP32 [N,3,224,224] in, class_count=1000 out, ``score:index`` strings over plain tritonclient."""
    stack = Stack(tmp_path, MODEL="resnet50", WEIGHTS="random", INPUT="float32", SCORES="logits")
    try:
        stack.build()
        stack.serve()
        golden = np.load(stack.model_folder / "1" / "golden.npz")
        with http.InferenceServerClient(f"127.0.0.1:{stack.http}") as client:
            tensor = http.InferInput("input", [2, 3, 224, 224], "FP32")
            tensor.set_data_from_numpy(golden["inputs"][:2], binary_data=True)
            output = http.InferRequestedOutput("scores", binary_data=True, class_count=1000)
            answer = client.infer("resnet50", [tensor], outputs=[output]).as_numpy("scores")
        assert answer.shape == (2, 1000)
        for row, expected in zip(answer, golden["scores"], strict=False):
            pairs = [item.decode().split(":")[:2] for item in row]
            assert sorted(int(index) for _, index in pairs) == list(range(1000))
            assert int(pairs[0][1]) == expected.argmax()
            scale = np.abs(expected).max()
            np.testing.assert_allclose([float(score) for score, _ in pairs], np.sort(expected)[::-1], atol=1e-3 * scale)
    finally:
        stack.stop()
