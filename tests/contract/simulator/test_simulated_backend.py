"""What the simulated backend demands of a configuration; the server itself runs in the docker tier."""

import copy
from pathlib import Path
from typing import Any

import pytest

CONFIG: dict[str, Any] = {
    "name": "net",
    "max_batch_size": 4,
    "default_model_filename": "model.plan",
    "input": [{"name": "images", "data_type": "TYPE_UINT8", "dims": ["8", "8", "3"]}],
    "output": [{"name": "scores", "data_type": "TYPE_FP32", "dims": ["4"]}],
    "optimization": {"cuda": {"graphs": True, "graph_spec": [{"batch_size": 4, "graph_lower_bound": {"batch_size": 1}}]}},
}


def changed(path: str, value: object) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *way, last = (int(part) if part.isdigit() else part for part in path.split("."))
    inner: Any = config
    for part in way:
        inner = inner[part]
    inner[last] = value
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed("max_batch_size", 8), "configuration specified max-batch 8 but TensorRT engine only supports max-batch 4"),
        (changed("max_batch_size", 0), "the model expects 4 dimensions (shape [-1,8,8,3]) but the model configuration specifies 3"),
        (changed("input.0.data_type", "TYPE_FP32"), "unexpected datatype TYPE_UINT8 for inference input 'images', expecting TYPE_FP32"),
        (changed("output.0.name", "probabilities"), "unexpected inference output 'probabilities', allowed outputs are: scores"),
        (changed("output.0.dims", ["5"]), "making complete shape [-1,5])"),
        (changed("input", []), "failed to specify the dimensions of all input bindings"),
        (changed("input", CONFIG["input"] * 2), "configuration expects 2 inputs, model provides at most 1"),
        (changed("optimization.cuda.graph_spec.0.batch_size", 5), "graph spec expects 'batch_size' to be >= 1 and <= 4"),
        (
            changed("optimization.cuda.graph_spec.0", {"batch_size": 2, "input": {"images": {"dim": ["8", "8"]}}}),
            "failed to set input shape to",
        ),
        (changed("optimization.cuda.graph_spec.0", {"batch_size": 2, "input": {"x": {"dim": ["8"]}}}), "for unknown input 'images'"),
        (changed("optimization.cuda.graph_spec.0", {"batch_size": 2, "graph_lower_bound": {"batch_size": 3}}), "graph lower bound spec"),
    ],
)
def test_refuses_a_configuration(plan: Path, config: dict[str, Any], message: str) -> None:
    from simulator.machine import Machine
    from simulator.served import RefusedModelError, check_config, load_plan

    engine = load_plan(CONFIG, plan.parent, Machine.from_env())
    check_config(CONFIG, engine)
    with pytest.raises(RefusedModelError) as refused:
        check_config(config, engine)
    assert message in str(refused.value)


def test_refuses_a_plan(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator.machine import Machine
    from simulator.served import RefusedModelError, load_plan

    with pytest.raises(RefusedModelError, match=r"unable to find '.*missing"):
        load_plan(CONFIG, plan.parent / "missing", Machine.from_env())
    monkeypatch.setenv("SIMULATOR_TENSORRT", "10.16.1.11")
    with pytest.raises(RefusedModelError, match=r"unable to create TensorRT engine: .*got 11\.1\.0\.106"):
        load_plan(CONFIG, plan.parent, Machine.from_env())


@pytest.mark.parametrize("shape", [(5, 8, 8, 3), (0, 8, 8, 3), (1, 8, 9, 3), (8, 8, 3)])
def test_refuses_a_request_outside_the_profile(plan: Path, shape: tuple[int, ...]) -> None:
    from simulator.machine import Machine
    from simulator.served import RefusedModelError, check_request, load_plan

    engine = load_plan(CONFIG, plan.parent, Machine.from_env())
    check_request(CONFIG, engine, "images", (4, 8, 8, 3))
    with pytest.raises(RefusedModelError, match="request specifies invalid shape for input 'images'"):
        check_request(CONFIG, engine, "images", shape)
