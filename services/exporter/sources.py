"""Where model, weights and labels come from, read off the settings without importing the model."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import SettingsError, SourceError
from services.core.names import FACTORY_PREFIX, ONNX_PREFIX
from services.core.settings import ExporterSettings

LITE0 = "efficientnet_lite0"


@dataclass(frozen=True)
class TorchvisionSource:
    """A classifier of torchvision, or ``efficientnet_lite0``, whose weights are a package."""

    name: str


@dataclass(frozen=True)
class OnnxSource:
    """Somebody else's ONNX file."""

    path: Path


@dataclass(frozen=True)
class FactorySource:
    """A Python function without arguments that returns a ``torch.nn.Module``."""

    module: str
    function: str

    def file(self) -> Path:
        """The source file of the module.

        Raises:
            SourceError: there is no such module.
        """
        try:
            spec = importlib.util.find_spec(self.module)
        except (ImportError, ValueError):
            spec = None
        if spec is None or spec.origin is None:
            raise SourceError(
                f"MODEL=py:{self.module}:{self.function}: there is no Python module {self.module}",
                hint="put it in the folder models/ (it is on the Python path), or install it in the exporter's environment",
            )
        return Path(spec.origin)


Source = TorchvisionSource | OnnxSource | FactorySource


def parse_source(model: str) -> Source:
    """Read the MODEL setting.

    Raises:
        SettingsError: ``py:`` without a module and a function.
        SourceError: the ONNX file does not exist.
    """
    if model.startswith(ONNX_PREFIX):
        path = Path(model.removeprefix(ONNX_PREFIX))
        if not path.is_file():
            raise SourceError(
                f"MODEL={model}: there is no file {path}",
                hint="in Docker, put it in the folder models/ and write onnx:/models/<file>.onnx",
            )
        return OnnxSource(path)
    if model.startswith(FACTORY_PREFIX):
        module, _, function = model.removeprefix(FACTORY_PREFIX).partition(":")
        if not module or not function.isidentifier():
            raise SettingsError(f"MODEL={model}: expected py:package.module:function", hint="for example py:shop.models:tiny_net")
        return FactorySource(module, function)
    return TorchvisionSource(model)


def weights_file(settings: ExporterSettings) -> Path | None:
    """The file that WEIGHTS names, or None for ``default`` and ``random``.

    Raises:
        SourceError: there is no such file.
    """
    if settings.weights in ("default", "random"):
        return None
    path = Path(settings.weights)
    if not path.is_file():
        raise SourceError(
            f"WEIGHTS={settings.weights}: there is no such file",
            hint="write default, random, or the path of a state_dict file; in Docker /models/<file>, from the folder models/",
        )
    return path


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names, one a line; CRLF is accepted.

    Raises:
        SourceError: the file is missing, empty, or no text.
    """
    try:
        labels = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"LABELS={path}: {error}", hint="expected a UTF-8 text file with one class name a line") from None
    if not labels or not all(labels):
        raise SourceError(f"LABELS={path}: {'an empty line' if labels else 'no lines'}", hint="expected one class name on every line")
    return labels
