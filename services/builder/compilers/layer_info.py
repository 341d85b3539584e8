"""Which precision an engine really computes in, from the layer information that ``trtexec --exportLayerInfo`` writes.

Two forms are in public listings: library kernels (``LayerType: CaskConvolution``, ``Format/Datatype: Channel major FP16 format …``)
and Myelin's (``LayerType: gemm``, ``conv``, ``fusion``; ``Format/Datatype: Half``). Sources: NVIDIA/TensorRT issues 3876, 4020.
TensorRT 11 made ``Datatype`` and ``Format`` of that one key (Polygraphy 0.53.6 reads both forms).
"""

import re
from collections import Counter
from typing import Any

from services.core.errors import ToolError

_KINDS = {
    "bf16": re.compile(r"BF16|BFloat16", re.IGNORECASE),
    "fp16": re.compile(r"\bFP16\b|\bHalf\b", re.IGNORECASE),
    "fp8": re.compile(r"FP8|E4M3", re.IGNORECASE),
    "int8": re.compile(r"\bInt8\b", re.IGNORECASE),
    "fp32": re.compile(r"FP32|\bFloat\b", re.IGNORECASE),
}
_PRODUCTS = re.compile(r"conv|gemm|matmul|matrixmultiply", re.IGNORECASE)


def precisions(information: dict[str, Any]) -> dict[str, int]:
    """How many convolutions and matrix products run in which precision; all layers, where fusion has left none by itself.

    Raises:
        ToolError: the engine was built without detailed layer information.
    """
    layers = [layer for layer in information.get("Layers", []) if isinstance(layer, dict)]
    if not layers:
        raise ToolError("the engine has no detailed layer information", hint="it must be built with --profilingVerbosity=detailed")
    products = [layer for layer in layers if _is_product(layer)] or layers
    found = dict(Counter(kind for layer in products if (kind := _kind(layer))))
    if not found:
        raise ToolError("the engine's layer information tells no types", hint="its format may be new; report it with layers.json")
    return found


def _is_product(layer: dict[str, Any]) -> bool:
    described = " ".join(str(layer.get(key, "")) for key in ("LayerType", "ParameterType", "TacticName"))
    return layer.get("LayerType") not in ("Reformat", "NoOp", "Constant") and bool(_PRODUCTS.search(described))


def _kind(layer: dict[str, Any]) -> str:
    """By the weights where they are told (an input may be reformatted on the way in), else by the first input."""
    weights = layer.get("Weights")
    inputs = layer.get("Inputs") or [{}]
    told = inputs[0].get("Format/Datatype") or inputs[0].get("Datatype", "")
    texts = [weights.get("Type", "") if isinstance(weights, dict) else "", told]
    return next((kind for text in texts for kind, pattern in _KINDS.items() if pattern.search(text)), "")


def demand_precision(asked: str, found: dict[str, int]) -> None:
    """Refuse an engine that silently computes in another precision than the graph asked for.

    At least half of the products must be in it: the first and last layers of a quantised network stay higher on purpose.

    Raises:
        ToolError: most products run in another precision.
    """
    total = sum(found.values())
    if found.get(asked, 0) * 2 < total:
        most = max(found, key=lambda kind: found[kind])
        share = ", ".join(f"{count} of {total} in {kind}" for kind, count in sorted(found.items()))
        raise ToolError(
            f"asked {asked}, engine is {most} (convolutions and matrix products: {share})",
            hint="nothing was published; this GPU and TensorRT version may have no fast kernel: take another PRECISION",
        )
