"""Which precision an engine computes in, from the layer information that ``trtexec --exportLayerInfo`` writes.

Two forms are in public listings: library kernels (``LayerType: CaskConvolution``, ``Format/Datatype: Channel major FP16 format …``)
and Myelin's (``LayerType: gemm``, ``conv``, ``fusion``; ``Format/Datatype: Half``). Sources: NVIDIA/TensorRT issues 3876, 4020.
TensorRT 11 made ``Datatype`` and ``Format`` of that one key (Polygraphy 0.53.6 reads both forms).

A listing is evidence, not truth: an unusual one must not cost a good engine. Engines are strongly typed, so fp32, fp16 and bf16 are
what the graph says; only 8 bits can get lost silently, where the compiler runs a quantised operation in half between its Q/DQ nodes.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from services.core.errors import ToolError

# Narrowest first: a fused layer is as narrow as the narrowest thing it reads, be that its weights or one of its inputs.
_KINDS = {
    "int8": re.compile(r"\bInt8\b", re.IGNORECASE),
    "fp8": re.compile(r"FP8|E4M3", re.IGNORECASE),
    "bf16": re.compile(r"BF16|BFloat16", re.IGNORECASE),
    "fp16": re.compile(r"\bFP16\b|\bHalf\b", re.IGNORECASE),
    "fp32": re.compile(r"FP32|\bFloat\b", re.IGNORECASE),
}
# Some fused layers list no 8-bit operand at all; their kernel's name still has the types of both factors.
_TACTICS = {"int8": re.compile("i8i8"), "fp8": re.compile("e4m3", re.IGNORECASE)}
_PRODUCTS = re.compile(r"conv|gemm|matmul|matrixmultiply", re.IGNORECASE)
_TYPE_KEYS = ("Format/Datatype", "Datatype", "DataType", "Type")


def precisions(listing: str) -> dict[str, int]:
    """How many convolutions and matrix products run in which precision; all layers, where fusion has left none by itself.

    Empty where the listing does not tell.

    Args:
        listing: the file's text. TensorRT 8.6 was seen to write raw control characters in it (NVIDIA/TensorRT#2779).
    """
    try:
        found = json.loads(listing, strict=False)
    except ValueError:
        return {}
    layers = [layer for layer in (found.get("Layers") if isinstance(found, dict) else None) or [] if isinstance(layer, dict)]
    counted = [layer for layer in layers if _is_product(layer)] or ([] if any(map(_is_opaque, layers)) else layers)
    return dict(Counter(kind for layer in counted if (kind := _kind(layer))))


def _is_product(layer: dict[str, Any]) -> bool:
    described = " ".join(str(layer.get(key, "")) for key in ("LayerType", "ParameterType", "TacticName"))
    return layer.get("LayerType") not in ("Reformat", "NoOp", "Constant") and bool(_PRODUCTS.search(described))


def _is_opaque(layer: dict[str, Any]) -> bool:
    """A whole sub-graph in one layer: its types are those of its borders, which say nothing of what is inside."""
    return str(layer.get("Name", "")).startswith("{ForeignNode[")


def _kind(layer: dict[str, Any]) -> str:
    told = [kind for text in _types(layer) for kind, pattern in _KINDS.items() if pattern.search(text)]
    told += [kind for kind, pattern in _TACTICS.items() if pattern.search(str(layer.get("TacticName", "")))]
    return min(told, key=[*_KINDS].index, default="")


def _types(layer: dict[str, Any]) -> Iterator[str]:
    """What the layer says of the types that it reads."""
    for key in ("Weights", "Constants", "Inputs"):
        value = layer.get(key) or []
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                yield next((str(part[name]) for name in _TYPE_KEYS if name in part), "")


def doubt(asked: str, found: dict[str, int], share: float, *, quantised: bool) -> str:
    """What speaks against an engine being of the precision asked for, as a sentence, or "".

    Args:
        asked: the precision.
        found: what ``precisions`` counted.
        share: of the graph's matrix operations, those that were lowered to it.
        quantised: it is one of 8 bits.

    Raises:
        ToolError: it is one of 8 bits, and less than half of its share was found.
    """
    total = sum(found.values())
    if not total:
        return "the engine's layer information tells no types"
    if found.get(asked, 0) * 2 >= share * total:
        return ""
    most = max(found, key=lambda kind: found[kind])
    counts = ", ".join(f"{count} of {total} in {kind}" for kind, count in sorted(found.items()))
    what = f"asked {asked}, engine is {most} (convolutions and matrix products: {counts})"
    if quantised:
        raise ToolError(what, hint="nothing was published; this GPU and TensorRT version may have no fast kernel: take another PRECISION")
    return f"{what}, by a listing that the types of the graph overrule"
