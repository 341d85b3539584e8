"""The version that a published model's folder serves, as the server's own side sees it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.core.card import ModelCard
from services.core.published import CARD, CONFIG, RECORD, live_version
from services.core.record import BuildRecord


@dataclass(frozen=True)
class Published:
    """A version; ``modified`` tells two builds of one number apart, in nanoseconds since 1970."""

    number: int
    modified: int
    card: ModelCard
    record: BuildRecord

    @classmethod
    def live(cls, folder: Path) -> Self:
        """The version that ``config.pbtxt`` names.

        Raises:
            ContractError: something is missing or damaged.
            OSError: the folder cannot be read.
        """
        return cls.read(folder, live_version((folder / CONFIG).read_text(encoding="utf-8", errors="replace")))

    @classmethod
    def read(cls, folder: Path, number: int) -> Self:
        """A version, live or not; raises what ``live`` does."""
        own = folder / str(number)
        return cls(number, _modified(folder, number), ModelCard.load(own / CARD), BuildRecord.load(own / RECORD))

    def is_as_read(self, folder: Path) -> bool:
        """Whether its folder is the one that was read: nobody removed it or built it anew."""
        try:
            return _modified(folder, self.number) == self.modified
        except OSError:
            return False

    def is_live(self, folder: Path) -> bool:
        """Whether the folder still serves it."""
        return live_version((folder / CONFIG).read_text(encoding="utf-8", errors="replace")) == self.number and self.is_as_read(folder)


def _modified(folder: Path, number: int) -> int:
    return (folder / str(number) / RECORD).stat().st_mtime_ns
