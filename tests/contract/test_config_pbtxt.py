"""Both accelerators write a config.pbtxt that Triton's protobuf reads, and a client sees no difference."""

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from services.builder.compilers.onnxruntime import OnnxRuntimeCompiler
from services.builder.compilers.tensorrt import TensorRtCompiler
from services.builder.model_config import config_from_card, numbered
from services.core.card import ModelCard
from services.core.settings import BuilderSettings

SERVING = {"tensorrt": TensorRtCompiler.serving, "onnxruntime": OnnxRuntimeCompiler.serving}


@pytest.fixture
def message(make_card):
    def message(accelerator: str, *, pixels: bool) -> pb.ModelConfig:
        card = make_card(pixels=pixels)
        settings = BuilderSettings.from_env({"ACCELERATOR": accelerator, "INSTANCE_COUNT": "1"})
        return text_format.Parse(numbered(config_from_card(card, 32, SERVING[accelerator], (), settings), 3).to_text(), pb.ModelConfig())

    return message


@pytest.mark.parametrize("pixels", [True, False])
def test_both_accelerators_show_the_same_model(message, pixels):
    one, other = (message(accelerator, pixels=pixels) for accelerator in SERVING)
    for field in ("name", "max_batch_size", "input", "output", "version_policy", "dynamic_batching", "parameters", "model_warmup"):
        assert getattr(one, field) == getattr(other, field), field


@pytest.mark.parametrize("accelerator", SERVING)
def test_the_config_is_complete(message, accelerator):
    """Triton runs with --disable-auto-complete-config: what is missing here is missing."""
    config = message(accelerator, pixels=True)
    assert config.default_model_filename
    assert bool(config.platform) != bool(config.backend)
    assert config.max_batch_size > 0
    assert [group.count for group in config.instance_group] == [1]
    assert config.instance_group[0].kind == {"tensorrt": pb.ModelInstanceGroup.KIND_GPU}.get(accelerator, pb.ModelInstanceGroup.KIND_CPU)
    for tensor in (*config.input, *config.output):
        assert tensor.name
        assert tensor.data_type != pb.TYPE_INVALID
        assert all(size > 0 for size in tensor.dims)


@pytest.mark.parametrize("accelerator", SERVING)
def test_a_client_gets_the_whole_card_from_the_server(message, make_card, accelerator):
    text = message(accelerator, pixels=True).parameters["card"].string_value
    assert ModelCard.loads(text, "config.pbtxt") == make_card()
