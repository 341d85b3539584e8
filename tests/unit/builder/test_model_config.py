"""config.pbtxt, read back with Triton's own protobuf, says what card and settings say."""

import dataclasses
import re

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from services.builder.compilers.base import Inspection, Serving
from services.builder.model_config import config_from_card, demand_tensors, image_config, numbered
from services.core.card import ModelCard
from services.core.errors import ContractError
from services.core.published import live_version
from services.core.record import Speed
from services.core.settings import BuilderSettings

TENSORRT = Serving(platform="tensorrt_plan", default_model_filename="model.plan", cuda_graphs=True)
PYTHON = Serving(backend="python", default_model_filename="model.py")


def read_back(config) -> pb.ModelConfig:
    return text_format.Parse(config.to_text(), pb.ModelConfig())


@pytest.fixture
def written(make_card):
    """The message that is read back for a card, a way of serving, and an environment."""

    def write(
        card: ModelCard | None = None, serving: Serving = PYTHON, *, largest: int = 32, devices: tuple[int, ...] = (), **environment: str
    ) -> pb.ModelConfig:
        settings = BuilderSettings.from_env(environment)
        return read_back(numbered(config_from_card(card or make_card(), largest, serving, devices, settings), 7))

    return write


@pytest.mark.parametrize(("pixels", "name", "kind", "dims"), [(True, "images", "UINT8", [8, 8, 3]), (False, "input", "FP32", [3, 8, 8])])
def test_tensors_are_the_cards_without_the_batch(make_card, written, pixels, name, kind, dims):
    message = written(make_card(pixels=pixels))
    (given,), (scores,) = message.input, message.output
    assert (given.name, pb.DataType.Name(given.data_type), list(given.dims)) == (name, f"TYPE_{kind}", dims)
    assert (scores.name, pb.DataType.Name(scores.data_type), list(scores.dims)) == ("scores", "TYPE_FP32", [4])


def test_version_policy_and_labels_name_the_version(written):
    message = written()
    assert list(message.version_policy.specific.versions) == [7]
    assert message.output[0].label_filename == "7/labels.txt"
    assert live_version(text_format.MessageToString(message)) == 7


def test_the_card_travels_with_the_config(make_card, written):
    card = make_card(name='größe "quoted" \\ \n line')
    message = written(card)
    assert ModelCard.loads(message.parameters["card"].string_value, "config") == card
    assert message.name == card.name


@pytest.mark.parametrize(("serving", "expected"), [(TENSORRT, ("tensorrt_plan", "", "model.plan")), (PYTHON, ("", "python", "model.py"))])
def test_platform_or_backend(written, serving, expected):
    message = written(serving=serving)
    assert (message.platform, message.backend, message.default_model_filename) == expected


@pytest.mark.parametrize("serving", [TENSORRT, PYTHON])
@pytest.mark.parametrize("engine", [1, 4])
def test_nothing_asks_for_more_than_the_largest_batch(written, serving, engine):
    message = written(serving=serving, largest=engine, OPT_BATCH="8", PREFERRED_BATCH="2,8")
    asked = [warmup.batch_size for warmup in message.model_warmup]
    asked += [spec.batch_size for spec in message.optimization.cuda.graph_spec]
    asked += message.dynamic_batching.preferred_batch_size
    assert max(asked) <= message.max_batch_size == engine


def test_queue_and_instances_are_the_settings(written):
    message = written(
        INSTANCE_COUNT="3",
        INSTANCE_KIND="KIND_CPU",
        PREFERRED_BATCH="4,16",
        MAX_QUEUE_DELAY_US="250",
        MAX_QUEUE_SIZE="99",
        QUEUE_TIMEOUT_MS="1500",
    )
    batching = message.dynamic_batching
    policy = batching.default_queue_policy
    assert [(group.kind, group.count) for group in message.instance_group] == [(pb.ModelInstanceGroup.KIND_CPU, 3)]
    assert (list(batching.preferred_batch_size), batching.max_queue_delay_microseconds) == ([4, 16], 250)
    assert (policy.max_queue_size, policy.default_timeout_microseconds, policy.timeout_action) == (
        99,
        1_500_000,
        pb.ModelQueuePolicy.REJECT,
    )
    assert policy.allow_timeout_override


def test_a_number_of_threads_is_a_parameter_and_the_policy_is_none(written):
    assert "cpu_threads" not in written().parameters
    assert written(CPU_THREADS="3").parameters["cpu_threads"].string_value == "3"


def test_without_a_bound_there_is_no_queue_policy(written):
    """Any of its fields would cost single requests half a second (core, scheduler_utils.cc)."""
    assert not written().dynamic_batching.HasField("default_queue_policy")
    assert written(MAX_QUEUE_SIZE="8").dynamic_batching.default_queue_policy.max_queue_size == 8
    assert not written(MAX_QUEUE_SIZE="8").dynamic_batching.default_queue_policy.allow_timeout_override
    assert written(QUEUE_TIMEOUT_MS="8").dynamic_batching.default_queue_policy.default_timeout_microseconds == 8000


def test_instances_stay_on_the_gpus_that_are_like_the_one_built_for(written):
    assert list(written(serving=TENSORRT, devices=(0, 2)).instance_group[0].gpus) == [0, 2]
    assert list(written(serving=TENSORRT).instance_group[0].gpus) == []
    assert list(written(serving=TENSORRT, devices=(0, 2), INSTANCE_KIND="KIND_CPU").instance_group[0].gpus) == []


def test_warm_up_runs_one_picture_and_the_tuned_batch_with_the_real_shape(written):
    warmups = {warmup.batch_size: warmup.inputs["images"] for warmup in written(OPT_BATCH="8").model_warmup}
    assert sorted(warmups) == [1, 8]
    assert all(data.random_data and data.data_type == pb.TYPE_UINT8 and list(data.dims) == [8, 8, 3] for data in warmups.values())
    assert [warmup.batch_size for warmup in written(OPT_BATCH="1").model_warmup] == [1]


@pytest.mark.parametrize(("largest", "tuned"), [(1, 1), (2, 1), (6, 5), (8, 8), (32, 8), (32, 24), (33, 1), (100, 100)])
def test_every_batch_runs_as_exactly_one_cuda_graph(written, largest, tuned):
    cuda = written(serving=TENSORRT, largest=largest, MAX_BATCH=str(largest), OPT_BATCH=str(tuned)).optimization.cuda
    covered = [size for spec in cuda.graph_spec for size in range(spec.graph_lower_bound.batch_size, spec.batch_size + 1)]
    assert cuda.graphs
    assert covered == list(range(1, largest + 1))
    assert tuned in [spec.batch_size for spec in cuda.graph_spec]
    for spec in cuda.graph_spec:
        assert list(spec.input["images"].dim) == list(spec.graph_lower_bound.input["images"].dim) == [8, 8, 3]


def test_only_tensorrt_gets_cuda_graphs_and_pinned_memory(written):
    assert not written(serving=PYTHON).HasField("optimization")
    optimization = written(serving=TENSORRT).optimization
    assert optimization.input_pinned_memory.enable
    assert optimization.output_pinned_memory.enable


def test_both_ways_of_serving_differ_in_nothing_a_client_sees(written):
    tensorrt, python = written(serving=TENSORRT), written(serving=PYTHON, ACCELERATOR="onnxruntime")
    for message in (tensorrt, python):
        for field in ("platform", "backend", "default_model_filename", "instance_group", "optimization"):
            message.ClearField(field)
    assert tensorrt == python


@pytest.mark.parametrize(
    ("environment", "told", "kind", "gpus"),
    [
        ({}, "auto", "KIND_GPU", [0, 2]),
        ({"DECODER": "gpu"}, "gpu", "KIND_GPU", [0, 2]),
        ({"DECODER": "cpu"}, "cpu", "KIND_CPU", []),
        ({"INSTANCE_KIND": "KIND_CPU"}, "cpu", "KIND_CPU", []),
        ({"ACCELERATOR": "onnxruntime"}, "cpu", "KIND_CPU", []),
    ],
)
def test_pictures_are_decoded_where_the_model_is_served(make_card, environment, told, kind, gpus):
    settings = BuilderSettings.from_env({"IMAGE_INSTANCES": "3"} | environment)
    message = text_format.Parse(image_config(make_card(), 32, (0, 2), settings), pb.ModelConfig())
    (group,) = message.instance_group
    assert message.parameters["decoder"].string_value == told
    assert (pb.ModelInstanceGroup.Kind.Name(group.kind), group.count, list(group.gpus)) == (kind, 3, gpus)


def test_an_engine_with_other_tensors_is_refused_and_both_are_told(make_card):
    card, other = make_card(), make_card(size=16)
    speed = Speed(batch=8, images_per_second=1, median_ms=1, p99_ms=1, spread=0)
    inspection = Inspection(inputs=other.inputs, outputs=card.outputs, max_batch=32, precisions={}, speed=speed)
    expected = "the engine's inputs are images UINT8 [-1, 16, 16, 3], the card says images UINT8 [-1, 8, 8, 3]"
    with pytest.raises(ContractError, match=re.escape(expected)):
        demand_tensors(card, inspection)


def test_every_field_of_the_config_changes_what_is_written(make_config, make_card):
    """A field that nothing reads would be a setting that does nothing."""
    base = make_config(serving=TENSORRT)
    other = {
        "name": "other",
        "version": 9,
        "serving": PYTHON,
        "max_batch_size": 16,
        "input": make_card(pixels=False).input,
        "output": make_card(classes=5).output,
        "instance_kind": "KIND_GPU",
        "instance_count": 2,
        "gpus": (1,),
        "preferred_batch": (4,),
        "max_queue_delay_us": 1,
        "max_queue_size": 1,
        "queue_timeout_us": 1,
        "opt_batch": 5,
        "cpu_threads": 3,
        "card": "{}",
    }
    assert set(other) == {field.name for field in dataclasses.fields(base)}
    for field, value in other.items():
        assert read_back(dataclasses.replace(base, **{field: value})) != read_back(base), field


@pytest.mark.parametrize("text", ["name: ", "", 'name: "tiny"', "version_policy { latest { num_versions: 1 } }"])
def test_a_config_that_names_no_version_is_damaged(text):
    with pytest.raises(ContractError, match=r"config\.pbtxt names no version") as caught:
        live_version(text)
    assert "rollback" in caught.value.hint
