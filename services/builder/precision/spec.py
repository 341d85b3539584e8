"""What each precision is: where it can be had, how its graph is made, and what it may cost; the one table of them.

Sources: NVIDIA's TensorRT support matrix (hardware and precision) and explicit quantisation pages; for ONNX Runtime, its CPU
kernel registrations: on x86-64 none computes in half, so such a graph runs in FP32 between casts; in CUDA none convolves in bf16 or in
8 bits, so that one runs partly on the CPU.
"""

from dataclasses import dataclass

from onnx import TensorProto

from services.core.errors import SettingsError
from services.numerics.agreement import Tolerance

REVISION = 2
"""Of how graphs are lowered; a part of an engine's fingerprint. ``tests/unit/builder/precision/test_revision.py`` says when to raise it."""


class UnfitGraphError(SettingsError):
    """This graph cannot be had at the precision asked for; at another it can."""


@dataclass(frozen=True)
class PrecisionSpec:
    """One precision.

    Attributes:
        name: as PRECISION says it.
        least_compute_capability: of GPUs with tensor cores for the type, (major, minor).
        accelerators: the values of ACCELERATOR that compute in it.
        onnx_type: ``TensorProto.DataType`` of the weights of its matrix operations.
        quantised: made with Q/DQ nodes whose ranges come from calibration.
        least_opset: of the graph: convolutions take bf16 from 22 on, Q/DQ nodes half scales and E4M3 from 19 on.
        tolerance: how far scores may be from the original's on the golden set.
        allowed_loss: how much of the top-1 on EVAL_DIR it may cost, as a share of all pictures.
    """

    name: str
    least_compute_capability: tuple[int, int]
    accelerators: tuple[str, ...]
    onnx_type: int
    quantised: bool
    least_opset: int
    tolerance: Tolerance
    allowed_loss: float

    def obstacle(self, accelerator: str, compute_capability: tuple[int, int] | None = None) -> str:
        """Why this precision cannot be had, or "" where it can.

        Args:
            accelerator: ``tensorrt``, ``onnxruntime`` or ``onnxruntime-gpu``.
            compute_capability: of the GPU, as (major, minor); None where it is not known.
        """
        if accelerator not in self.accelerators:
            able = " or ".join(spec.name for spec in PRECISIONS.values() if accelerator in spec.accelerators)
            where = "a CPU" if accelerator == "onnxruntime" else "a GPU"
            return f"ONNX Runtime is not fast in {self.name} on {where}; it takes {able}"
        if accelerator != "onnxruntime" and compute_capability is not None and compute_capability < self.least_compute_capability:
            found, least = (".".join(map(str, version)) for version in (compute_capability, self.least_compute_capability))
            return f"{self.name} needs a GPU of compute capability {least} or later, this one has {found}"
        return ""


_TENSORRT, _CPU, _GPU = "tensorrt", "onnxruntime", "onnxruntime-gpu"
# FP32 leaves room for TF32, which TensorRT uses for it from Ampere on (10 bits of mantissa).
_FP32 = Tolerance(max_error=0.01, mean_error=0.001, top1_agreement=1.0)
_FP16 = Tolerance(max_error=0.03, mean_error=0.003, top1_agreement=1.0)
_BF16 = Tolerance(max_error=0.15, mean_error=0.01, top1_agreement=0.95)
_EIGHT_BITS = Tolerance(max_error=0.35, mean_error=0.02, top1_agreement=0.85)

PRECISIONS = {
    spec.name: spec
    for spec in (  # name, compute capability, accelerators, type, quantised, opset, tolerance, loss of top-1
        PrecisionSpec("fp32", (7, 5), (_TENSORRT, _CPU, _GPU), TensorProto.FLOAT, False, 0, _FP32, 0.002),
        PrecisionSpec("fp16", (7, 5), (_TENSORRT, _GPU), TensorProto.FLOAT16, False, 0, _FP16, 0.005),
        PrecisionSpec("bf16", (8, 0), (_TENSORRT,), TensorProto.BFLOAT16, False, 22, _BF16, 0.01),
        PrecisionSpec("int8", (7, 5), (_TENSORRT, _CPU), TensorProto.INT8, True, 19, _EIGHT_BITS, 0.02),
        PrecisionSpec("fp8", (8, 9), (_TENSORRT,), TensorProto.FLOAT8E4M3FN, True, 19, _EIGHT_BITS, 0.02),
    )
}
"""By name, highest precision first."""


def obstacle(precision: str, accelerator: str, compute_capability: tuple[int, int] | None = None) -> str:
    """Why a precision cannot be had, or "" where it can; see ``PrecisionSpec.obstacle``."""
    if precision not in PRECISIONS:
        return f"{precision} is none of {', '.join(PRECISIONS)}"
    return PRECISIONS[precision].obstacle(accelerator, compute_capability)


def require(precision: str, accelerator: str, compute_capability: tuple[int, int] | None = None) -> PrecisionSpec:
    """The precision's spec; an impossible combination is refused.

    Raises:
        SettingsError: with the obstacle.
    """
    if reason := obstacle(precision, accelerator, compute_capability):
        raise SettingsError(f"PRECISION={precision}: {reason}", hint="set PRECISION=auto, or one that this hardware has")
    return PRECISIONS[precision]
