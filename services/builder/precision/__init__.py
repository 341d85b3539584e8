"""Precision is a property of the graph: TensorRT 11 has no precision flags, and each compiler is fast with another graph."""

from services.builder.precision.lower import Lowered, lower
from services.builder.precision.spec import PRECISIONS, REVISION, PrecisionSpec, UnfitGraphError, obstacle, require

__all__ = ["PRECISIONS", "REVISION", "Lowered", "PrecisionSpec", "UnfitGraphError", "lower", "obstacle", "require"]
