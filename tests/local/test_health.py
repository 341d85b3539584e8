"""A server is healthy while it gives the known answers; what breaks it is noticed, and what should not break it does not."""

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from tests.conftest import wait_for
from tests.local.stack import Stack


def stubs(stack: Stack) -> set[int]:
    """The processes in which the stack's server runs its Python models, one an instance."""
    assert stack.server is not None
    return {pid for pid in descendants(stack.server.pid) if Path(f"/proc/{pid}/comm").read_text().startswith("triton_python_b")}


def descendants(pid: int) -> set[int]:
    children = {int(child) for tasks in Path(f"/proc/{pid}/task").glob("*/children") for child in tasks.read_text().split()}
    return children.union(*map(descendants, children))


def test_a_dead_backend_is_noticed_and_the_server_started_again(tiny: Stack) -> None:
    """Triton itself never notices: it answers every request with 500, and says that it is ready."""
    tiny.run("builder")
    tiny.serve()
    before = stubs(tiny)
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: "the server ended with 8; starting it again" in tiny.log, 60, every=0.1)
    assert "the server no longer answers: version 1 refuses a known picture" in tiny.log
    tiny.wait_until_healthy(60, lambda _why: None)
    assert stubs(tiny)
    assert not stubs(tiny) & before
    tiny.run("client", "verify")


def ask(stack: Stack, tensor: npt.NDArray[np.float32], shape: list[int] | None = None) -> npt.NDArray[Any]:
    """Send a tensor, and say that it has another shape where one is given."""
    with contextlib.closing(triton_http.InferenceServerClient(f"127.0.0.1:{stack.http}")) as client:
        given = triton_http.InferInput("input", list(tensor.shape), "FP32")
        given.set_data_from_numpy(tensor)
        given.set_shape(shape or list(tensor.shape))
        return np.asarray(client.infer(stack.name, [given]).as_numpy("scores"))


def test_a_request_without_rows_gets_an_error_of_its_own_and_the_others_their_answers(tiny: Stack, tiny_export: Stack) -> None:
    """In one batch with good requests; an error object that responses shared ended the server by SIGSEGV."""
    tiny.settings |= {
        "INPUT": "float32",
        "ARTIFACTS_DIR": str(tiny.folder / "float32"),
        "PYTHONPATH": f"{tiny.settings['PYTHONPATH']}{os.pathsep}{tiny_export.folder}",
    }
    tiny.build(MAX_QUEUE_DELAY_US="20000")
    tiny.serve()
    golden = np.load(tiny.model_folder / "1" / "golden.npz")
    refused: list[str] = []

    def ask_for_nothing() -> None:
        for _ in range(100):
            with pytest.raises(InferenceServerException) as error:
                ask(tiny, np.zeros((1, 3, 32, 32), np.float32), [0, 3, 32, 32])
            refused.append(str(error.value))

    rude = [threading.Thread(target=ask_for_nothing) for _ in range(4)]
    for thread in rude:
        thread.start()
    answered = 0
    while any(thread.is_alive() for thread in rude):
        found = ask(tiny, golden["inputs"][:2])
        assert np.abs(found - golden["scores"][:2]).max() < 1e-4
        answered += 1
    for thread in rude:
        thread.join()
    assert answered
    assert len(refused) == 400
    assert "starting it again" not in tiny.log
