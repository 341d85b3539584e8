"""``config.pbtxt``: a dataclass, turned into Triton's own protobuf message, printed as text.

An unknown or mistyped field cannot be written this way. Format: model_config.proto of triton-inference-server/common, as
tritonclient ships it; what each field does is in docs/configuration.md.
"""

from dataclasses import dataclass, replace
from hashlib import sha256

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from services.builder.compilers.base import Inspection, Serving
from services.core.card import ModelCard, Tensor
from services.core.errors import ContractError
from services.core.names import image_name
from services.core.published import CONFIG, ENCODED, LABELS, VERSION
from services.core.settings import BuilderSettings

CARD_PARAMETER = "card"
FINGERPRINT_PARAMETER = "fingerprint"
IMAGE_VERSION = 1
"""The only one: which version of the model beside it answers is its own affair."""
THREADS_PARAMETER = "cpu_threads"
_TYPES = {"UINT8": pb.TYPE_UINT8, "FP32": pb.TYPE_FP32}


@dataclass(frozen=True)
class ModelConfig:
    """Everything that ``config.pbtxt`` says; times are in microseconds, dims leave out the batch."""

    name: str
    version: int
    serving: Serving
    max_batch_size: int
    input: Tensor
    output: Tensor
    instance_kind: str
    instance_count: int
    gpus: tuple[int, ...]
    preferred_batch: tuple[int, ...]
    max_queue_delay_us: int
    max_queue_size: int
    queue_timeout_us: int
    opt_batch: int
    cpu_threads: int
    card: str

    def to_text(self) -> str:
        """The config in protobuf text format."""
        return text_format.MessageToString(self.to_message(), use_index_order=True)

    def to_message(self) -> pb.ModelConfig:
        """The config as Triton's message."""
        message = pb.ModelConfig(
            name=self.name,
            platform=self.serving.platform,
            backend=self.serving.backend,
            default_model_filename=self.serving.default_model_filename,
            max_batch_size=self.max_batch_size,
            version_policy=pb.ModelVersionPolicy(specific=pb.ModelVersionPolicy.Specific(versions=[self.version])),
            input=[pb.ModelInput(name=self.input.name, data_type=_TYPES[self.input.dtype], dims=self.input.shape[1:])],
            output=[
                pb.ModelOutput(
                    name=self.output.name,
                    data_type=_TYPES[self.output.dtype],
                    dims=self.output.shape[1:],
                    label_filename=f"{self.version}/{LABELS}",
                )
            ],
            instance_group=[
                pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.Kind.Value(self.instance_kind), count=self.instance_count, gpus=self.gpus)
            ],
            dynamic_batching=self._batching(),
            model_warmup=[self._warmup(size) for size in sorted({1, self.opt_batch})],
            parameters={key: pb.ModelParameter(string_value=value) for key, value in self._parameters().items()},
        )
        if self.serving.cuda_graphs:
            message.optimization.CopyFrom(self._optimization())
        return message

    def _parameters(self) -> dict[str, str]:
        return {CARD_PARAMETER: self.card} | ({THREADS_PARAMETER: str(self.cpu_threads)} if self.cpu_threads else {})

    def _batching(self) -> pb.ModelDynamicBatching:
        batching = pb.ModelDynamicBatching(preferred_batch_size=self.preferred_batch, max_queue_delay_microseconds=self.max_queue_delay_us)
        # Any queue policy makes Triton stop prefetching (core, scheduler_utils.cc), and single requests then wait half a second.
        if self.max_queue_size or self.queue_timeout_us:
            batching.default_queue_policy.CopyFrom(
                pb.ModelQueuePolicy(
                    timeout_action=pb.ModelQueuePolicy.REJECT,
                    default_timeout_microseconds=self.queue_timeout_us,
                    allow_timeout_override=bool(self.queue_timeout_us),
                    max_queue_size=self.max_queue_size,
                )
            )
        return batching

    def _warmup(self, batch: int) -> pb.ModelWarmup:
        data = pb.ModelWarmup.Input(data_type=_TYPES[self.input.dtype], dims=self.input.shape[1:], random_data=True)
        return pb.ModelWarmup(name=f"batch of {batch}", batch_size=batch, inputs={self.input.name: data})

    def _optimization(self) -> pb.ModelOptimizationPolicy:
        """CUDA graphs for powers of two up to the profile's largest batch, each also for the smaller ones down to the one before.

        The surplus rows of such a run hold anything; that is safe because the exporter has shown that rows of a batch do not
        influence one another.
        """
        powers = {2**power for power in range(self.max_batch_size.bit_length())}
        sizes = sorted({*powers, self.opt_batch, self.max_batch_size})
        specs = []
        for lower, size in zip([0, *sizes], sizes, strict=False):
            bound = pb.ModelOptimizationPolicy.Cuda.GraphSpec.LowerBound(batch_size=lower + 1, input={self.input.name: self._shape()})
            specs.append(
                pb.ModelOptimizationPolicy.Cuda.GraphSpec(batch_size=size, input={self.input.name: self._shape()}, graph_lower_bound=bound)
            )
        return pb.ModelOptimizationPolicy(
            cuda=pb.ModelOptimizationPolicy.Cuda(graphs=True, graph_spec=specs),
            input_pinned_memory=pb.ModelOptimizationPolicy.PinnedMemoryBuffer(enable=True),
            output_pinned_memory=pb.ModelOptimizationPolicy.PinnedMemoryBuffer(enable=True),
        )

    def _shape(self) -> pb.ModelOptimizationPolicy.Cuda.GraphSpec.Shape:
        return pb.ModelOptimizationPolicy.Cuda.GraphSpec.Shape(dim=self.input.shape[1:])


def image_config(card: ModelCard, max_batch: int, devices: tuple[int, ...], settings: BuilderSettings) -> str:
    """The config of the model beside ``card``'s that takes pictures as files, in protobuf text format.

    Args:
        card: the model beside it.
        max_batch: largest batch that it takes.
        devices: as for ``config_from_card``.
        settings: those of serving, with a number of instances.
    """
    on_gpu = settings.published_decoder != "cpu"
    told = {
        "model": card.name,
        "labels_sha256": card.labels_sha256,
        "decode_workers": settings.decode_workers,
        "max_pixels": settings.max_pixels,
        "max_image_bytes": settings.max_image_bytes,
        "decoder": settings.published_decoder,
    }
    message = pb.ModelConfig(
        name=image_name(card.name),
        backend="python",
        default_model_filename="model.py",
        max_batch_size=max_batch,
        version_policy=pb.ModelVersionPolicy(specific=pb.ModelVersionPolicy.Specific(versions=[IMAGE_VERSION])),
        input=[pb.ModelInput(name=ENCODED, data_type=pb.TYPE_STRING, dims=[1])],
        output=[
            pb.ModelOutput(
                name=card.output.name,
                data_type=_TYPES[card.output.dtype],
                dims=card.output.shape[1:],
                label_filename=f"{IMAGE_VERSION}/{LABELS}",
            ),
            pb.ModelOutput(name=VERSION, data_type=pb.TYPE_INT64, dims=[1]),
        ],
        instance_group=[
            pb.ModelInstanceGroup(
                kind=pb.ModelInstanceGroup.KIND_GPU if on_gpu else pb.ModelInstanceGroup.KIND_CPU,
                count=settings.image_instances,
                gpus=devices if on_gpu else (),
            )
        ],
        dynamic_batching=pb.ModelDynamicBatching(),
        parameters={name: pb.ModelParameter(string_value=str(value)) for name, value in told.items()},
    )
    # By this the builder knows whether a server has loaded this config, or one before it.
    fingerprint = sha256(message.SerializeToString(deterministic=True)).hexdigest()
    message.parameters[FINGERPRINT_PARAMETER].string_value = fingerprint
    return text_format.MessageToString(message, use_index_order=True)


def demand_tensors(card: ModelCard, inspection: Inspection) -> None:
    """Hold the tensors of a compiled engine against the card's.

    Raises:
        ContractError: they are not the card's.
    """
    for what, found, expected in (("inputs", inspection.inputs, card.inputs), ("outputs", inspection.outputs, card.outputs)):
        if found != expected:
            raise ContractError(
                f"the engine's {what} are {_names(found)}, the card says {_names(expected)}",
                hint="run the exporter again, then the builder",
            )


def config_from_card(card: ModelCard, max_batch: int, serving: Serving, devices: tuple[int, ...], settings: BuilderSettings) -> ModelConfig:
    """The config of a proven engine; ``version`` is 0 until the repository gives it one (see ``numbered``).

    Args:
        card: the model.
        max_batch: largest batch that the engine takes.
        serving: how Triton runs such engines.
        devices: the GPUs to serve on, where they are not all of them.
        settings: those of serving, with a number of instances.
    """
    return ModelConfig(
        name=card.name,
        version=0,
        serving=serving,
        max_batch_size=max_batch,
        input=card.input,
        output=card.output,
        instance_kind=settings.kind,
        instance_count=settings.instance_count,
        gpus=devices if settings.kind == "KIND_GPU" else (),
        preferred_batch=tuple(size for size in settings.preferred_batch if size <= max_batch),
        max_queue_delay_us=settings.max_queue_delay_us,
        max_queue_size=settings.max_queue_size,
        queue_timeout_us=settings.queue_timeout_ms * 1000,
        opt_batch=min(settings.opt_batch, max_batch),
        cpu_threads=settings.cpu_threads,
        card=card.model_dump_json(),
    )


def numbered(config: ModelConfig, version: int) -> ModelConfig:
    """The same config for a version: it serves that version and no other, so replacing it is what publishes."""
    return replace(config, version=version)


def renumbered(text: str, version: int) -> str:
    """The text of a published config, for another number of its version.

    Raises:
        ContractError: it is damaged.
    """
    try:
        message = text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError as error:
        raise ContractError(f"a {CONFIG} is damaged: {error}", hint="take another version, or another backup") from None
    message.version_policy.specific.versions[:] = [version]
    for output in message.output:
        output.label_filename = f"{version}/{LABELS}"
    return text_format.MessageToString(message, use_index_order=True)


def _names(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(f"{tensor.name} {tensor.dtype} {list(tensor.shape)}" for tensor in tensors)
