"""Where model, weights and labels come from, read off the settings without importing the model."""

import errno
import glob
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import SettingsError, SourceError
from services.core.files import open_regular, read_regular
from services.core.names import FACTORY_PREFIX, ONNX_PREFIX
from services.core.settings import ExporterSettings

LITE0 = "efficientnet_lite0"
_MAX_LABELS = 16 << 20


@dataclass(frozen=True)
class TorchvisionSource:
    """A classifier of torchvision, or ``efficientnet_lite0``, whose weights are a package."""

    name: str


@dataclass(frozen=True)
class OnnxSource:
    """Somebody else's ONNX file."""

    path: Path

    def files(self) -> list[Path]:
        """The file and those beside it that may hold its weights (``net.onnx.data``, ``net_data.bin``)."""
        return [self.path, *sorted(path for path in self.path.parent.glob(f"{glob.escape(self.path.stem)}*data*") if path != self.path)]


@dataclass(frozen=True)
class FactorySource:
    """A Python function without arguments that returns a ``torch.nn.Module``."""

    module: str
    function: str

    def file(self) -> Path:
        """The source file of the module.

        Raises:
            SourceError: there is no such module, or it is part of Python itself.
        """
        try:
            spec = importlib.util.find_spec(self.module)
        except (ImportError, ValueError):
            spec = None
        except Exception as error:  # the packages above it are imported, and may raise whatever they like
            raise SourceError(
                f"MODEL=py:{self.module}:{self.function}: importing what {self.module} is in fails: {type(error).__name__}: {error}",
                hint="run it in Python by itself; --debug shows where",
            ) from error
        if spec is None or spec.origin is None:
            raise SourceError(
                f"MODEL=py:{self.module}:{self.function}: there is no Python module {self.module}",
                hint=f"put it in the folder models/ (it is on the Python path); for a package of PyPI set {packages_setting(self.module)}",
            )
        if not spec.has_location:
            raise SourceError(
                f"MODEL=py:{self.module}:{self.function}: {self.module} is part of Python itself, expected a module with a model in it",
                hint="name a function without arguments that returns a torch.nn.Module, for example py:shop.models:tiny_net",
            )
        return Path(spec.origin)


def packages_setting(module: str) -> str:
    """The setting that installs the package of a module beside the exporter."""
    return f"PIP_PACKAGES={module.partition('.')[0]}"


Source = TorchvisionSource | OnnxSource | FactorySource


def parse_source(model: str) -> Source:
    """Read the MODEL setting.

    Raises:
        SettingsError: ``py:`` without a module and a function.
        SourceError: the ONNX file does not exist, or cannot be read.
    """
    if model.startswith(ONNX_PREFIX):
        path = Path(model.removeprefix(ONNX_PREFIX))
        _demand_file(path, f"MODEL={model}", "in Docker, put it in the folder models/ and write onnx:/models/<file>.onnx")
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
        SourceError: there is no such file, or it cannot be read.
    """
    if settings.weights in ("default", "random"):
        return None
    path = Path(settings.weights)
    _demand_file(
        path,
        f"WEIGHTS={settings.weights}",
        "write default, random, or the path of a state_dict file; in Docker /models/<file>, from the folder models/",
    )
    return path


def _demand_file(path: Path, setting: str, hint: str) -> None:
    try:
        with open_regular(path):
            return
    except PermissionError as error:
        raise unreadable(error) from None
    except OSError as error:
        raise SourceError(f"{setting}: {'there is no such file' if error.errno == errno.ENOENT else error.strerror}", hint=hint) from None


def unreadable(error: OSError) -> SourceError:
    """The error for a file that is there and cannot be read."""
    hint = (
        f"make it readable for uid {os.getuid()}: chmod a+r" if isinstance(error, PermissionError) else "correct the setting that names it"
    )
    return SourceError(f"cannot read {error.filename}: {error.strerror}", hint=hint)


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names, one a line; CRLF and a byte order mark are accepted.

    Raises:
        SourceError: the file is missing, cannot be read, is empty, too long, or no text.
    """
    expected = "expected a UTF-8 text file with one class name a line"
    try:
        content = read_regular(path, _MAX_LABELS)
        labels = tuple(line.strip() for line in content.decode("utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"LABELS={path}: {getattr(error, 'strerror', None) or error}", hint=expected) from None
    if len(content) > _MAX_LABELS:
        raise SourceError(f"LABELS={path}: found more than {_MAX_LABELS >> 20} MiB", hint=expected)
    if not labels or not all(labels):
        raise SourceError(f"LABELS={path}: {'an empty line' if labels else 'no lines'}", hint="expected one class name on every line")
    return labels
