"""Publishing to a live server: new versions, swaps under load, refusals, rollback."""

import hashlib
import http.client
import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from tritonclient import grpc

from tests.local.stack import Stack, asking


class Load(threading.Thread):
    """One client that asks without a pause, over gRPC, and checks every answer."""

    def __init__(self, stack: Stack, inputs: np.ndarray, scores: np.ndarray) -> None:
        super().__init__(daemon=True)
        self._stack, self._inputs, self._scores = stack, inputs, scores
        self.done = threading.Event()
        self.answers, self.failures = 0, list[str]()

    def run(self) -> None:
        with grpc.InferenceServerClient(f"127.0.0.1:{self._stack.grpc}") as client:
            while not self.done.is_set():
                row = self.answers % len(self._inputs)
                tensor = grpc.InferInput("images", [1, *self._inputs.shape[1:]], "UINT8")
                tensor.set_data_from_numpy(self._inputs[row : row + 1])
                try:
                    found = client.infer(self._stack.name, [tensor]).as_numpy("scores")[0]
                    if not np.allclose(found, self._scores[row], atol=1e-3):
                        self.failures.append(f"wrong answer, off by {np.abs(found - self._scores[row]).max()}")
                except grpc.InferenceServerException as error:
                    self.failures.append(str(error))
                self.answers += 1


def test_a_swap_under_load_fails_no_request(tiny: Stack) -> None:
    tiny.run("builder")
    tiny.serve()
    golden = np.load(tiny.model_folder / "1" / "golden.npz")
    clients = [Load(tiny, golden["inputs"], golden["scores"]) for _ in range(8)]
    ready = []
    with grpc.InferenceServerClient(f"127.0.0.1:{tiny.grpc}") as probe, asking(clients):
        for size in ("2", "4", "16"):
            swap = threading.Thread(target=tiny.run, args=("builder",), kwargs={"OPT_BATCH": size})
            swap.start()
            while swap.is_alive():
                ready.append(probe.is_model_ready(tiny.name))
                time.sleep(0.02)
            swap.join()
        tiny.run("builder", "rollback", "2")
        ready.append(probe.is_model_ready(tiny.name))
    assert [failure for client in clients for failure in client.failures] == []
    assert all(ready)
    assert sum(client.answers for client in clients) > 1000
    assert tiny.live_version() == 2


def test_a_backup_under_load_is_restored_without_a_failed_request(tiny: Stack) -> None:
    """Taken at version 1, brought back after two more and the loss of version 1."""
    tiny.run("builder")
    tiny.serve()
    golden = np.load(tiny.model_folder / "1" / "golden.npz")
    saved = tiny.folder / "backup.tar"
    clients = [Load(tiny, golden["inputs"], golden["scores"]) for _ in range(4)]
    with asking(clients):
        told = json.loads(tiny.run("builder", "backup", str(saved), "--json").stdout)
        assert told["models"] == {tiny.name: {"live": 1, "versions": [1]}}
        for size in ("2", "4"):
            tiny.run("builder", OPT_BATCH=size, KEEP_VERSIONS="2")
        assert not (tiny.model_folder / "1").exists()
        assert tiny.live_version() == 3
        restored = tiny.run("builder", "restore", "-", "--json", stdin=saved.read_bytes())
        assert json.loads(restored.stdout)["models"] == {tiny.name: {"live": 1, "versions": {"1": 1}, "new": [1]}}
        with grpc.InferenceServerClient(f"127.0.0.1:{tiny.grpc}") as probe:
            assert probe.is_model_ready(tiny.name, "1")
            assert not probe.is_model_ready(tiny.name, "3")
        tiny.run("builder", "rollback", "3")
        tiny.run("builder", "restore", str(saved))
    assert [failure for client in clients for failure in client.failures] == []
    assert sum(client.answers for client in clients) > 500
    assert tiny.live_version() == 1
    assert json.loads(tiny.run("client", "verify", "--json").stdout)["top1_agreement"] == 1.0


def test_versions_are_listed_kept_and_rolled_back_with_their_own_config(tiny: Stack) -> None:
    for size in ("2", "4", "8", "16"):
        tiny.run("builder", OPT_BATCH=size)
    rows = json.loads(tiny.run("builder", "list", "--json").stdout)
    assert [(row["version"], row["live"]) for row in rows] == [(2, False), (3, False), (4, True)]
    tiny.serve()
    tiny.run("builder", "rollback")
    assert tiny.live_version() == 3
    assert (tiny.model_folder / "config.pbtxt").read_bytes() == (tiny.model_folder / "3" / "config.pbtxt").read_bytes()
    with grpc.InferenceServerClient(f"127.0.0.1:{tiny.grpc}") as client:
        assert client.is_model_ready(tiny.name, "3")
        assert not client.is_model_ready(tiny.name, "4")
    refused = tiny.run("builder", "rollback", "9", code=7)
    assert "2, 3, 4" in refused.stderr
    again = tiny.run("builder", OPT_BATCH="16")
    assert "version 3 is served since a rollback" in again.stderr
    assert tiny.live_version() == 3


def test_a_setting_of_serving_is_in_force_in_seconds_and_compiles_nothing(tiny: Stack) -> None:
    tiny.run("builder")
    tiny.serve()
    published = tiny.run("builder", INSTANCE_COUNT="2", MAX_QUEUE_DELAY_US="100")
    assert "the engine of version 1 is what would be built: it is published anew, nothing is compiled" in published.stderr
    assert "optimises the graph" not in published.stderr
    assert tiny.live_version() == 2
    assert (tiny.model_folder / "2" / "model.onnx").samefile(tiny.model_folder / "1" / "model.onnx")
    with grpc.InferenceServerClient(f"127.0.0.1:{tiny.grpc}") as client:
        config = client.get_model_config(tiny.name).config
    assert config.instance_group[0].count == 2
    assert config.dynamic_batching.max_queue_delay_microseconds == 100
    assert not config.dynamic_batching.HasField("default_queue_policy")
    assert json.loads(tiny.run("client", "verify", "--json").stdout)["top1_agreement"] == 1.0


def test_a_retired_model_is_out_of_the_server_which_stays_until_it_comes_back(tiny: Stack) -> None:
    tiny.run("builder")
    tiny.serve()
    retired = tiny.run("builder", "retire", tiny.name)
    assert f"{tiny.name} is out of service" in retired.stderr
    assert [row["live"] for row in json.loads(tiny.run("builder", "list", "--json").stdout)] == [False]
    with grpc.InferenceServerClient(f"127.0.0.1:{tiny.grpc}") as client:
        while client.is_model_ready(tiny.name):
            time.sleep(0.1)
        # The watcher asks every few seconds, and would end a server that fails three times.
        time.sleep(8)
        assert client.is_server_live()
        assert "no longer answers" not in tiny.log
        assert "not in service" in tiny.run("builder", "retire", code=7).stderr
        tiny.run("builder", "rollback")
        assert client.is_model_ready(tiny.name, "1")
    tiny.wait_until_healthy(30, lambda _why: None)
    shutil.copytree(tiny.model_folder, tiny.folders.repository / "other")
    tiny.run("builder", "retire", "other")  # published, and never loaded
    assert not (tiny.folders.repository / "other" / "config.pbtxt").exists()
    tiny.run("builder", "retire")
    assert "put back into service" in tiny.run("builder").stderr
    assert tiny.live_version() == 1


def test_a_quantised_version_without_calibration_pictures_gets_healthy(lite0: Stack, tmp_path: Path) -> None:
    """It may disagree in a near-tie or two; what the builder let through must be good enough for everybody who asks later."""
    stack = Stack(tmp_path, MODEL=lite0.settings["MODEL"], ARTIFACTS_DIR=lite0.settings["ARTIFACTS_DIR"], PRECISION="int8")
    stack.run("builder")
    stack.serve()
    try:
        agreement = json.loads(stack.run("client", "verify", "--json").stdout)
        assert agreement["top1_agreement"] >= agreement["min_top1_agreement"]
        stack.run("builder", "verify")
    finally:
        stack.stop()


def test_an_engine_that_fails_the_gate_is_not_published(tiny: Stack) -> None:
    """The graph is exchanged for one with other weights behind the card's back, with a hash that fits."""
    tiny.run("builder")
    tiny.serve()
    artifacts = tiny.folder / "other"
    exported = Path(tiny.settings["ARTIFACTS_DIR"]) / tiny.name
    target = artifacts / tiny.name
    target.mkdir(parents=True)
    for name in ("golden.npz", "labels.txt"):
        shutil.copy(exported / name, target)
    graph = onnx.load(exported / "model.onnx")
    weights = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights.raw_data = (np.frombuffer(weights.raw_data, np.float32) * -1).tobytes()
    onnx.save(graph, target / "model.onnx")
    card = json.loads((exported / "card.json").read_text())
    card["onnx"]["sha256"] = hashlib.sha256((target / "model.onnx").read_bytes()).hexdigest()
    (target / "card.json").write_text(json.dumps(card))
    refused = tiny.run("builder", code=6, ARTIFACTS_DIR=str(artifacts))
    assert "disagrees with the original model" in refused.stderr
    assert "expected at" in refused.stderr
    assert tiny.live_version() == 1
    assert "up to date" not in refused.stderr
    with grpc.InferenceServerClient(f"127.0.0.1:{tiny.grpc}") as client:
        assert client.is_model_ready(tiny.name, "1")


def test_a_version_that_the_server_cannot_load_leaves_the_old_one_serving(tiny: Stack) -> None:
    tiny.run("builder")
    tiny.serve()
    for _ in range(3):
        refused = tiny.run("builder", code=8, INSTANCE_KIND="KIND_GPU")
        assert "KIND_GPU" in refused.stderr
        assert "version 1 is served again" in refused.stderr
    assert "starting it again" not in tiny.log
    assert tiny.live_version() == 1
    assert not (tiny.model_folder / "2").exists()
    assert json.loads(tiny.run("client", "verify", "--json").stdout)["top1_agreement"] == 1.0


def test_the_second_of_two_builders_waits_and_finds_nothing_to_do(tiny: Stack) -> None:
    first, second = tiny.start("builder"), tiny.start("builder")
    output = [process.communicate(timeout=120)[0].decode() for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], output
    assert sum("published" in text for text in output) == 1
    assert sum("up to date" in text for text in output) == 1
    assert tiny.live_version() == 1


@pytest.mark.parametrize("connection", ["idle keep-alive", "none"])
def test_a_stop_lets_requests_in_flight_finish(tiny: Stack, connection: str) -> None:
    tiny.run("builder")
    tiny.serve()
    golden = np.load(tiny.model_folder / "1" / "golden.npz")
    idle = http.client.HTTPConnection("127.0.0.1", tiny.http)
    if connection == "idle keep-alive":
        idle.request("GET", "/v2/health/live")
        idle.getresponse().read()
    client = Load(tiny, golden["inputs"], golden["scores"])
    client.start()
    while client.answers < 20:
        time.sleep(0.01)
    server = tiny.server
    assert server is not None
    server.terminate()
    server.wait(20)
    client.done.set()
    client.join()
    idle.close()
    tiny.server = None
    unfinished = [failure for failure in client.failures if "wrong" in failure or "deadline" in failure.lower()]
    assert unfinished == []
