"""The folder of ``<model>_image``, the model that takes pictures as files: it follows the served version of the model beside it.

Nothing in it decides what is served: while it lags behind, its model still asks the version that is live, and refuses where the
classes have other names.
"""

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from services.builder.model_config import FINGERPRINT_PARAMETER, IMAGE_VERSION
from services.core.errors import ContractError, RepositoryError
from services.core.files import remove_stale, write_atomically, writing
from services.core.names import image_name
from services.core.published import CONFIG, IMAGE_CONFIG, LABELS

_CODE = Path(__file__).resolve().parents[1] / "triton" / "models" / "image.py"


class ImageFolder:
    """Its files; whoever writes holds the lock of the model beside it."""

    def __init__(self, repository: Path, name: str) -> None:
        self.name = image_name(name)
        self.path = repository / self.name

    def serve(self, version: Path) -> None:
        """Fit it to a version of the model, given that version's folder; one of an older release has no such model."""
        source = version / IMAGE_CONFIG
        if not source.is_file():
            self.unserve()
            return
        with writing(self.path):
            remove_stale(self.path, [f".{CONFIG}.*.part", f"{IMAGE_VERSION}/.*.part"])
        own = self.path / str(IMAGE_VERSION)
        for content, target in (((version / LABELS), own / LABELS), (_CODE, own / "model.py"), (source, self.path / CONFIG)):
            if not target.is_file() or target.read_bytes() != content.read_bytes():
                write_atomically(target, content.read_bytes())

    def unserve(self) -> None:
        """Take it out of service."""
        if (self.path / CONFIG).exists():
            self.demand_own()
            with writing(self.path):
                (self.path / CONFIG).unlink()

    def demand_own(self) -> None:
        """See that the folder is no model of somebody else's.

        Raises:
            RepositoryError: it is.
        """
        if (self.path / CONFIG).exists() and not self.fingerprint():
            raise RepositoryError(
                f"{self.path} holds a model of another kind; the name is kept for the one that takes pictures as files",
                hint="publish that model under another name (MODEL_NAME), and remove the folder",
            )

    def fingerprint(self) -> str:
        """What its config says; "" where there is none.

        Raises:
            ContractError: it is damaged.
        """
        try:
            config = text_format.Parse((self.path / CONFIG).read_text(encoding="utf-8", errors="replace"), pb.ModelConfig())
        except FileNotFoundError:
            return ""
        except text_format.ParseError as error:
            raise ContractError(f"{self.path / CONFIG} is damaged: {error}", hint="remove it, and run the builder again") from None
        return str(config.parameters[FINGERPRINT_PARAMETER].string_value)
