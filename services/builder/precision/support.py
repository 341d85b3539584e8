"""Which precision goes with which accelerator and GPU; asked before anything is built.

Sources: NVIDIA's TensorRT support matrix (hardware and precision) and explicit quantisation pages; for ONNX Runtime, its CPU
kernel registrations: none computes in half on x86-64, so such a graph runs in FP32 between casts.
"""

from services.core.errors import SettingsError

# Least compute capability with tensor cores for the type.
_LEAST = {"fp32": (7, 5), "fp16": (7, 5), "int8": (7, 5), "bf16": (8, 0), "fp8": (8, 9)}
_ONNXRUNTIME = ("fp32", "int8")


def supported(precision: str, accelerator: str, compute_capability: tuple[int, int] | None = None) -> str:
    """Why a precision cannot be had, or "" where it can.

    Args:
        precision: ``fp32``, ``fp16``, ``bf16``, ``int8`` or ``fp8``.
        accelerator: ``tensorrt`` or ``onnxruntime``.
        compute_capability: of the GPU, as (major, minor); None where it is not known.
    """
    if precision not in _LEAST:
        return f"{precision} is none of {', '.join(_LEAST)}"
    if accelerator == "onnxruntime":
        if precision in _ONNXRUNTIME:
            return ""
        return f"ONNX Runtime computes nothing in {precision} on a CPU; it takes {' or '.join(_ONNXRUNTIME)}"
    least = _LEAST[precision]
    if compute_capability is not None and compute_capability < least:
        found = ".".join(map(str, compute_capability))
        return f"{precision} needs a GPU of compute capability {'.'.join(map(str, least))} or later, this one has {found}"
    return ""


def require(precision: str, accelerator: str, compute_capability: tuple[int, int] | None = None) -> None:
    """Refuse an impossible combination.

    Raises:
        SettingsError: with the reason that ``supported`` gives.
    """
    if reason := supported(precision, accelerator, compute_capability):
        raise SettingsError(f"PRECISION={precision}: {reason}", hint="set PRECISION=auto, or one that this hardware has")
