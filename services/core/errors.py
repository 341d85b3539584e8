"""Every error a stage reports on purpose, with the exit code of its kind.

    StackError                 1   base; never raised itself
      + SettingsError          2   a setting or argument that cannot be used
      + SourceError            3   the model or its weights cannot be had, or cannot be exported
      + ContractError          4   a file between two stages is missing, damaged or of an unknown format
      + ToolError              5   another program failed (argv, log file and last lines are in the message)
      + AccuracyError          6   an engine or a server gives other answers than the original model
      + RepositoryError        7   the model repository or a folder cannot be written, or is locked
      + ServerError            8   Triton cannot be reached, refuses, or does not get ready
      + ImageError             9   at least one picture could not be read

Exit code 70 is a defect of the stack itself; 130 and 143 are an interruption by Ctrl-C and SIGTERM.
"""


class StackError(Exception):
    """Says what was found and what was expected; ``hint`` says how to mend it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class SettingsError(StackError):
    """A setting or a command-line argument cannot be used."""

    exit_code = 2


class SourceError(StackError):
    """The model or its weights cannot be had, or cannot be turned into ONNX."""

    exit_code = 3


class ContractError(StackError):
    """A file that one stage wrote for another is missing, damaged or of an unknown format."""

    exit_code = 4


class ToolError(StackError):
    """Another program failed."""

    exit_code = 5


class AccuracyError(StackError):
    """An engine or a server disagrees with the original model by more than the tolerance."""

    exit_code = 6


class RepositoryError(StackError):
    """A folder cannot be written, or somebody else is writing it."""

    exit_code = 7


class ServerError(StackError):
    """Triton cannot be reached, refuses a request, or does not get ready in time."""

    exit_code = 8


class ImageError(StackError):
    """At least one picture could not be read."""

    exit_code = 9
