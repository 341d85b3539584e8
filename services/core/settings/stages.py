"""The settings of the four stages."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import model_validator

from services.core.card import LONGEST_SIDE
from services.core.record import LARGEST_BATCH
from services.core.settings.base import COMMAS, FolderSettings, Settings, setting, shown

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8", "auto"]
Protocol = Literal["http", "grpc"]
Channels = Annotated[tuple[float, float, float], COMMAS]


class PictureSettings(Settings):
    """Of every stage that decodes pictures."""

    max_pixels: int = setting(
        89_478_485,
        "largest picture to decode, in pixels",
        affects="serving",
        ge=1,
        advice="Decoding takes at most 6 bytes for each of them, 512 MiB. Pixels that take more count for more, so that the default lets "
        "through 89 megapixels of a common JPEG or an RGB PNG, 53 to 76 of a progressive JPEG, 59 of an RGBA PNG, 53 of one with 16 bits "
        "a colour, 33 to 89 of a TIFF, 31 of a WebP, 26 of an AVIF, 21 of a JPEG 2000. Raise it for larger ones",
    )


class GrpcSettings(Settings):
    """Of every stage that speaks gRPC with the server."""

    triton_grpc_url: str = setting("127.0.0.1:8001", "gRPC address of the server, as the stages see it", by_launcher=True)


class ExporterSettings(FolderSettings, PictureSettings):
    """Settings of the exporter."""

    weights: str = setting(
        "default",
        "default (the published ones), random (seeded), or a file of a state_dict, e.g. /models/weights.pth",
        affects="export",
        values="`default` · `random` · a file",
        advice="Published weights are downloaded once into `TORCH_HOME`; those of `efficientnet_lite0` come in a package. A file may be "
        "wrapped (`state_dict`, `model_state_dict`, `model`) or saved under DataParallel. `onnx:` does not use it, and a `py:` "
        "function is called as it is: only a file or `random` changes its weights",
    )
    input: Literal["uint8", "float32"] = setting(
        "uint8",
        "uint8: pixels [N,H,W,3], normalised in the graph; float32: normalised [N,3,H,W]",
        affects="export",
        advice="`uint8` sends a quarter of the bytes. `float32` is what NVIDIA's tutorial has: the client normalises",
    )
    scores: Literal["probabilities", "logits"] = setting(
        "probabilities",
        "what the output holds: probabilities or logits",
        affects="export",
        advice="A final Softmax is added or taken away as needed. A final Sigmoid stays; a model of one output is served as two classes",
    )
    labels: str = setting(
        "",
        "file with one class name a line",
        affects="export",
        values="a file",
        empty="the model's own classes",
        advice="UTF-8. With a weights file, the number of lines is also the number of classes the network is made with",
    )
    resize: int | None = setting(
        None,
        "short side to resize to, in pixels",
        affects="export",
        ge=1,
        le=LONGEST_SIDE,
        empty="the model's own; 256 for `onnx:` and `py:`, in proportion where only CROP is set",
    )
    crop: int | None = setting(
        None,
        "side of the centre crop, in pixels",
        affects="export",
        ge=1,
        le=LONGEST_SIDE,
        empty="the model's own; 224 for `py:`, the side of the input for `onnx:`",
        advice="It is the height and width of the input",
    )
    interpolation: Literal["bilinear", "bicubic"] | None = setting(
        None, "of the resize: bilinear or bicubic", affects="export", empty="the model's own; bilinear for `onnx:` and `py:`"
    )
    mean: Channels | None = setting(
        None,
        "per channel, of pixels in 0..1, e.g. 0.485,0.456,0.406",
        affects="export",
        values="three numbers, `a,b,c`",
        empty="the model's own; ImageNet's for `onnx:` and `py:`",
        advice="Set what the network was trained with",
    )
    std: Channels | None = setting(
        None,
        "per channel, of pixels in 0..1, e.g. 0.229,0.224,0.225",
        affects="export",
        values="three numbers, `a,b,c`",
        empty="the model's own; ImageNet's for `onnx:` and `py:`",
        advice="Set what the network was trained with",
    )
    golden_dir: Path = setting(
        Path("samples"),
        "folder of photographs that the known answers (golden set) are made from",
        values="a folder",
        advice="Name a folder of your own subject. Without a photograph in it, the golden set is seeded noise",
    )
    golden_count: int = setting(
        8,
        "size of the golden set",
        affects="export",
        ge=1,
        le=256,
        advice="Mirrored and closer views fill up where there are fewer photographs",
    )


class ServingSettings(Settings):
    """How an engine is served: written into config.pbtxt by the builder, and compiled into nothing."""

    instance_count: int = setting(
        0,
        "execution instances of the model (0: chosen by the processors; on a GPU 1, with ONNX Runtime 2)",
        affects="serving",
        ge=0,
        advice="On a GPU, 2 can hide copies behind compute. On a CPU they share out the processors: 0 makes it 2 where the builder sees "
        "16 or more, else 1. One answers a single client soonest, more answer more clients at a time; each takes the memory of the model "
        "([benchmarks.md](benchmarks.md#what-follows))",
    )
    cpu_threads: int = setting(
        0,
        "ONNX Runtime threads of each instance on a CPU (0: its share of the processors)",
        affects="serving",
        ge=0,
        advice="The share is by what the server's process may use: its affinity mask, or less where a cgroup limits it (Docker's `cpus:`). "
        "The server's log tells what was chosen. Fewer leave processors to other programs",
    )
    instance_kind: Literal["", "KIND_GPU", "KIND_CPU"] = setting(
        "",
        "KIND_GPU or KIND_CPU",
        affects="serving",
        values="`KIND_GPU` · `KIND_CPU`",
        empty="made from the compiler",
        advice="There is no silent fall-back: `KIND_GPU` does not load where there is no GPU",
    )
    preferred_batch: Annotated[tuple[int, ...], COMMAS] = setting(
        (),
        "batch sizes the dynamic batcher aims at, e.g. 8,16",
        affects="serving",
        values="`a,b,…`, each from 1 to `MAX_BATCH`",
        empty="none",
        advice="Triton's documentation advises leaving it empty with one optimisation profile",
    )
    max_queue_delay_us: int = setting(
        0,
        "time a request may wait for others to join its batch, in microseconds",
        affects="serving",
        ge=0,
        advice="[benchmarks.md](benchmarks.md) has the measured table",
    )
    max_queue_size: int = setting(
        0,
        "requests that may wait in Triton's queue (0: no bound); any bound costs single requests half a second",
        affects="serving",
        ge=0,
        advice="More are refused at once (HTTP 503). Triton then stops prefetching, and 3 to 12 % of all requests take 500 ms more, even "
        "without load: bound the requests in front of the server instead",
    )
    queue_timeout_ms: int = setting(
        0,
        "time after which a waiting request is refused, in milliseconds (0: never); costs what MAX_QUEUE_SIZE costs",
        affects="serving",
        ge=0,
        advice="A request may then bring its own timeout, too",
    )
    max_image_bytes: int = setting(
        64 << 20,
        "longest picture file that the server takes, in bytes",
        affects="serving",
        ge=1,
        advice="`MAX_PIXELS` bounds what comes out of it",
    )
    image_instances: int = setting(
        0,
        "processes of the server that decode pictures (0: chosen by the processors)",
        affects="serving",
        ge=0,
        advice="While one waits for the engine, another decodes. 0 makes it 4 where the builder sees 16 processors or more, "
        "else 2; where a GPU decodes one for two processors, from 2 to 8 for each GPU",
    )
    decode_workers: int = setting(
        0,
        "threads that decode pictures, in each of those processes (0: its share of the processors)",
        affects="serving",
        ge=0,
        advice="More than there are processors slow each other down ([benchmarks.md](benchmarks.md#pictures-as-files))",
    )
    decoder: Literal["auto", "cpu", "gpu"] = setting(
        "auto",
        "where the server decodes JPEG files: cpu, gpu (NVIDIA DALI), or auto (gpu where the model is served on one)",
        affects="serving",
        advice="What is no common JPEG is decoded on the CPU in any case. Where DALI cannot be used, `auto` decodes on the CPU and says so "
        "in the server's log; with `gpu` the model that takes files does not load",
    )


class BuilderSettings(FolderSettings, PictureSettings, ServingSettings, GrpcSettings):
    """Settings of the builder."""

    accelerator: Literal["tensorrt", "onnxruntime", "onnxruntime-gpu"] = setting(
        "tensorrt", "compiler and runtime of the engine: tensorrt, onnxruntime or onnxruntime-gpu", affects="engine", by_launcher=True
    )
    precision: Precision = setting(
        "fp32",
        "arithmetic of the engine: fp32, fp16, bf16, int8, fp8, or auto (the fastest that passes the accuracy gate)",
        affects="engine",
        advice="Without a GPU: `fp32`, `int8` and `auto`; on a GPU without Docker: `fp32`, `fp16` and `auto`. "
        "See [precisions.md](precisions.md)",
    )
    opt_batch: int = setting(
        8, "batch the engine is tuned for", affects="engine", ge=1, le=LARGEST_BATCH, advice="Set it to the batch you expect under load"
    )
    max_batch: int = setting(32, "largest batch the engine and the server take", affects="engine", ge=1, le=LARGEST_BATCH)
    workspace_mib: int = setting(
        4096, "memory TensorRT may use while it builds, in MiB", affects="engine", ge=1, advice="Lower it on a small GPU"
    )
    build_timeout_seconds: float = setting(3600, "time after which a build is stopped, in seconds", gt=0)
    calibration_dir: Path | None = setting(
        None,
        "folder of images that int8 and fp8 are calibrated on, e.g. /models/calibration",
        values="a folder",
        empty="the golden set",
        advice="See [precisions.md](precisions.md)",
    )
    eval_dir: Path | None = setting(
        None,
        "folder with one sub-folder of images per class, for top-1 and top-5",
        values="a folder",
        empty="no evaluation",
        advice="See [precisions.md](precisions.md)",
    )
    keep_versions: int = setting(
        3, "published versions to keep", ge=1, advice="The served one is among them; older ones are deleted after a publish"
    )
    lock_wait_seconds: float = setting(600, "time to wait for another builder of the same model, in seconds", ge=0)
    load_timeout_seconds: float = setting(
        300, "time a model may take to load into a running server, in seconds", gt=0, advice="Raise it for very large engines"
    )
    ngc_release: str = setting(
        "",
        "release of the three NGC images; they must be of one release",
        values="`YY.MM`",
        advice="An upgrade rebuilds the engine: a plan loads only with the TensorRT version that built it. "
        "See [operations.md](operations.md#upgrades)",
    )
    server_tensorrt: str = setting(
        "",
        "TensorRT version in the server's image, e.g. 11.2.1.2, where NGC_RELEASE does not tell it",
        values="`a.b.c.d`",
        empty="the release's",
        advice="For an image of your own",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.opt_batch > self.max_batch:
            raise ValueError(f"OPT_BATCH={self.opt_batch}, MAX_BATCH={self.max_batch}: expected OPT_BATCH <= MAX_BATCH")
        if any(not 1 <= size <= self.max_batch for size in self.preferred_batch):
            raise ValueError(f"PREFERRED_BATCH={shown(self.preferred_batch)}: expected sizes from 1 to MAX_BATCH={self.max_batch}")
        if self.decoder == "gpu" and self.kind != "KIND_GPU":
            raise ValueError("DECODER=gpu, and the model is served on the CPU (INSTANCE_KIND, ACCELERATOR): expected DECODER=auto or cpu")
        return self

    @property
    def kind(self) -> str:
        """Instance group kind: never a silent fall-back to the CPU."""
        return self.instance_kind or ("KIND_CPU" if self.accelerator == "onnxruntime" else "KIND_GPU")

    @property
    def published_decoder(self) -> Literal["auto", "cpu", "gpu"]:
        """``decoder`` as the server is told: ``auto`` only where there is a GPU to try."""
        return self.decoder if self.kind == "KIND_GPU" else "cpu"


class PortSettings(Settings):
    """The server's three ports."""

    http_port: int = setting(8000, "port on 127.0.0.1: HTTP", ge=1, le=65_535, values="a port")
    grpc_port: int = setting(8001, "port on 127.0.0.1: gRPC", ge=1, le=65_535, values="a port")
    metrics_port: int = setting(8002, "port on 127.0.0.1: metrics, for Prometheus", ge=1, le=65_535, values="a port")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        ports = (self.http_port, self.grpc_port, self.metrics_port)
        if len(set(ports)) < len(ports):
            found = f"HTTP_PORT={self.http_port}, GRPC_PORT={self.grpc_port}, METRICS_PORT={self.metrics_port}"
            raise ValueError(f"{found}: expected three different ports")
        return self


class TritonSettings(FolderSettings, PortSettings):
    """Settings of the server's launcher and health check."""

    exit_timeout_seconds: int = setting(
        10,
        "time that requests in flight get at a stop, in seconds; keep STOP_GRACE_PERIOD above it",
        ge=0,
        advice="One idle keep-alive connection uses all of it",
    )
    max_request_bytes: int = setting(
        0,
        "largest HTTP request, in bytes, after decompression (NVIDIA's server only)",
        ge=0,
        empty="the server's own bound (64 MiB)",
        advice="Without a GPU it is ignored: release 24.10 has no such option",
    )
    listen_address: str = setting("127.0.0.1", "address the server listens on", by_launcher=True)
    backend_directory: str = setting("", "folder of the server's backends, where it is not the server's default", by_launcher=True)
    control_directory: str = setting("", "folder of the server's own models, where it is not the launcher's", by_launcher=True)


class ClientSettings(FolderSettings, PictureSettings, GrpcSettings):
    """Settings of the client; with no model named it asks the server which one it serves."""

    model: str = setting("", "the model to ask for, as the exporter's MODEL", values="as above", empty="the one that is served")
    protocol: Protocol = setting("http", "http or grpc", advice="gRPC costs less per request with large batches")
    top_k: int = setting(5, "classes to show per picture", ge=1)
    client_batch: int = setting(8, "pictures per request; the server's own limit lowers it", ge=1)
    client_in_flight: int = setting(
        4,
        "requests that are under way at a time, each in a thread of the client",
        ge=1,
        le=256,
        advice="Raise it for a server far away, and for pictures from other hosts. With `SEND=pixels` the same threads decode",
    )
    send: Literal["auto", "file", "pixels"] = setting(
        "auto",
        "file: pictures as they are, the server decodes them; pixels: the client does; auto: file where the server can",
        advice="`pixels` where the server's processors are the bottleneck",
    )
    wait_seconds: float = setting(
        120,
        "time to wait for the model to get ready, in seconds",
        ge=0,
        advice="Where nothing listens at the address, `classify` and `verify` give up after 5 seconds; `wait` and `--wait` do not",
    )
    request_timeout_seconds: float = setting(
        60, "time for one request, and for asking an overloaded or lost server again, in seconds", gt=0
    )
    api_key_file: Path | None = setting(
        None,
        "file with NAME:KEY, as scripts/keys printed it, for a server behind the gateway",
        values="a file",
        empty="no key",
        advice="It is sent over an encrypted connection only. [operations.md](operations.md#exposing-it)",
    )
    triton_url: str = setting("127.0.0.1:8000", "HTTP address of the server, as the stages see it", by_launcher=True)
