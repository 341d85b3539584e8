"""The client's command line as one typed value."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.core import stage
from services.core.hints import command
from services.core.settings import ClientSettings

COMMANDS = ("classify", "verify", "wait")

# Options that stand for a setting, with what to call their value; the settings themselves check it.
_SETTINGS = {
    "--url": ("triton_url", "HOST:PORT"),
    "--grpc-url": ("triton_grpc_url", "HOST:PORT"),
    "--api-key-file": ("api_key_file", "FILE"),
    "--protocol": ("protocol", "PROTOCOL"),
    "--model": ("model_name", "NAME"),
    "--top": ("top_k", "K"),
    "--batch": ("client_batch", "N"),
    "--in-flight": ("client_in_flight", "N"),
    "--send": ("send", "HOW"),
    "--wait": ("wait_seconds", "SECONDS"),
    "--timeout": ("request_timeout_seconds", "SECONDS"),
    "--max-pixels": ("max_pixels", "N"),
}

_DESCRIPTION = """\
Ask Triton what is in a picture.

commands:
  classify [PICTURE ...]    the default; without a picture, the photographs in samples/
  verify                    send the golden set to the live server and compare with the original model
  wait                      return as soon as the model is ready

A PICTURE is a file, a folder, a quoted pattern ('photos/**/*.jpg'), an http(s) address, or - for standard input.

examples:
  {program} photo.jpg
  {program} --top 1 photos/
  {program} --json 'photos/**/*.jpg' > answers.jsonl
  {program} --json --skip-done answers.jsonl 'photos/**/*.jpg' >> answers.jsonl    goes on where that ended
  {program} --protocol grpc --batch 32 photos/
  {program} --model resnet50 https://example.com/photo.jpg
  {program} - < photo.jpg

Exit codes: 0 all went well, 2 settings, 4 a file or the model card, 6 answers that differ from the original model's, 8 server,
9 a picture could not be read.
"""


@dataclass(frozen=True)
class Arguments:
    """What the user asks for; ``settings`` are those given as options, which win over the environment."""

    command: str
    pictures: tuple[str, ...]
    golden: Path | None
    skip_done: Path | None
    json: bool
    debug: bool
    settings: dict[str, Any]

    @classmethod
    def parse(cls, argv: list[str] | None = None) -> "Arguments":
        """Read the command line; on a mistake, show the usage and end with exit code 2."""
        program = command("client")
        parser = stage.argument_parser("client", _DESCRIPTION.format(program=program), ClientSettings.help())
        parser.add_argument("words", nargs="*", metavar="[COMMAND] PICTURE", help="see above")
        for option, (name, value) in _SETTINGS.items():
            meaning = f"{ClientSettings.model_fields[name].description} ({name.upper()})"
            parser.add_argument(option, dest=name, metavar=value, help=meaning)
        parser.add_argument("--json", action="store_true", help="print one JSON object per line")
        parser.add_argument(
            "--skip-done", type=Path, metavar="FILE", help="leave out pictures that have an answer in FILE, which --json wrote"
        )
        parser.add_argument("--golden", type=Path, metavar="FILE", help="with verify: the golden set, instead of the published one")
        found = vars(parser.parse_intermixed_args(argv))
        words = found.pop("words")
        # A file that is called like a command is written ./verify.
        wanted, pictures = (words[0], words[1:]) if words and words[0] in COMMANDS else ("classify", words)
        if pictures and wanted != "classify":
            parser.error(f"{wanted} takes no pictures, found {' '.join(pictures)}")
        if found["golden"] and wanted != "verify":
            parser.error(f"--golden belongs to verify, found it with {wanted}")
        if found["skip_done"] and wanted != "classify":
            parser.error(f"--skip-done belongs to classify, found it with {wanted}")
        settings = {name: found.pop(name) for name, _ in _SETTINGS.values()}
        return cls(wanted, tuple(pictures), settings={name: value for name, value in settings.items() if value is not None}, **found)
