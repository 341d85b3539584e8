"""The compilers; which one is used is the ACCELERATOR setting."""

from services.builder.compilers.base import Compiler
from services.core.settings import BuilderSettings


def compiler_for(settings: BuilderSettings) -> Compiler:
    """The compiler that ACCELERATOR names; each image holds what its own needs, so the import waits until here."""
    if settings.accelerator != "tensorrt":
        from services.builder.compilers.onnxruntime import OnnxRuntimeCompiler, OnnxRuntimeGpuCompiler

        return OnnxRuntimeCompiler() if settings.accelerator == "onnxruntime" else OnnxRuntimeGpuCompiler()
    from services.builder.compilers.tensorrt import TensorRtCompiler

    return TensorRtCompiler(settings)
