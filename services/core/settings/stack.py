"""The settings that no stage reads: those of Compose and the launchers."""

from typing import Literal

from services.core.settings.base import Settings, setting


class ImageSettings(Settings):
    """Images and their builds."""

    pytorch_image: str = setting(
        "",
        "the exporter's base image in the place of NGC's, e.g. of a private registry, or by its digest (@sha256:…)",
        values="an image",
        empty="`nvcr.io/nvidia/pytorch:<NGC_RELEASE>-py3`",
    )
    tensorrt_image: str = setting(
        "", "the builder's base image in the place of NGC's", values="an image", empty="`nvcr.io/nvidia/tensorrt:<NGC_RELEASE>-py3`"
    )
    triton_image: str = setting(
        "", "the server's base image in the place of NGC's", values="an image", empty="`nvcr.io/nvidia/tritonserver:<NGC_RELEASE>-py3`"
    )
    debian_image: str = setting("debian:trixie-slim", "base of the client, and without a GPU of exporter and builder", values="an image")
    cpu_triton_base: str = setting(
        "debian:bookworm-slim",
        "base of the server without a GPU: Debian bookworm takes the PyPI server (24.10), an NGC tritonserver image serves with its own",
        values="an image",
        advice="Never tested with an NGC image",
    )
    accept_old_release: Literal["", "yes"] = setting(
        "",
        "yes: take an NGC_RELEASE that has published weaknesses",
        values="`yes`",
        empty="refuse it",
        advice="[SECURITY.md](../SECURITY.md#releases-with-published-weaknesses) has the list",
    )
    pip_packages: str = setting(
        "",
        "more packages for the exporter, for a py: model, e.g. timm==1.0.31",
        values="packages, separated by blanks",
        empty="none",
        advice="They are installed into the exporter's image, or into the environment of `--local`, without touching torch",
    )
    pip_cert: str = setting("", "a company's certificate authority for pip during the build", values="a PEM file", empty="none")


class DockerSettings(Settings):
    """What Compose gives the containers."""

    gpu_device_ids: str = setting(
        "all",
        "GPUs for builder and server: all, or indices or UUIDs (a MIG slice has one), separated by commas",
        values="`all` · `0,1` · `GPU-…` · `MIG-…`",
        advice="The engine is built for the first of them, and served on those of the same kind",
    )
    stack_uid: str = setting("", "owner of the files in the model repository", values="a uid", empty="1000; with scripts/up your own uid")
    stack_gid: str = setting("", "group of the files in the model repository", values="a gid", empty="1000; with scripts/up your own")
    model_repository: str = setting("./model_repository", "folder of the model repository", values="a folder")
    stop_grace_period: str = setting("30s", "time Docker waits for the server to end before it kills it", values="a duration, `30s`")
    start_period: str = setting(
        "120s", "time the model may take to get ready after a start before the server counts as unhealthy", values="a duration, `120s`"
    )
    exporter_memory: str = setting("16g", "most memory of the exporter's container", values="a size, `16g`")
    builder_memory: str = setting("16g", "most memory of the builder's container", values="a size, `16g`")
    triton_memory: str = setting("16g", "most memory of the server's container", values="a size, `16g`")
    triton_shm_size: str = setting(
        "2g",
        "most shared memory of the server's container; its Python models take pictures and scores through it",
        values="a size, `2g`",
        advice="Raise it where the log says `Failed to increase the shared memory pool size`: many long files at a time. What is not "
        "used costs nothing, but what was used once stays taken until the server ends",
    )
    client_memory: str = setting("2g", "most memory of the client's container", values="a size, `2g`")
    pids_limit: int = setting(4096, "most processes and threads of a container", ge=1)
    log_max_size: str = setting("10m", "size of a log file of a container", values="a size, `10m`")
    log_max_files: int = setting(3, "number of log files of a container", ge=1)


class GatewaySettings(Settings):
    """What ``compose.public.yaml`` adds."""

    public_address: str = setting("0.0.0.0", "address the gateway is published on", values="an address")  # noqa: S104 - its purpose
    public_port: int = setting(443, "port of the gateway, for HTTPS and gRPC", ge=1, le=65_535, values="a port")
    tls_dir: str = setting("./tls", "folder of the certificate: fullchain.pem and privkey.pem", values="a folder")
    keys_dir: str = setting("./keys", "folder of the keys' hashes, which scripts/keys writes", values="a folder")
    key_rate: int = setting(50, "requests a second that one key may send", ge=1, advice="More are answered with 429")
    key_burst: int = setting(50, "requests that one key may send at once beyond its rate", ge=1)
    key_in_flight: int = setting(8, "requests of one key that may be under way", ge=1, advice="More are answered with 429")
    server_in_flight: int = setting(
        16,
        "requests of all keys that may be under way",
        ge=1,
        advice="More are answered with 503 at once. An accepted request waits for so many others at most: "
        "without a GPU, two for each processor keep latencies; raise it where the GPU is not busy",
    )
    public_max_bytes: int = setting(
        16 << 20,
        "longest request that the gateway takes, in bytes",
        ge=1,
        advice="`SERVER_IN_FLIGHT` requests of this length must fit into `GATEWAY_MEMORY`",
    )
    gateway_memory: str = setting("1g", "most memory of the gateway's container", values="a size, `1g`")


class StackSettings(ImageSettings, DockerSettings, GatewaySettings):
    """Everything that only Compose and the launchers read."""
