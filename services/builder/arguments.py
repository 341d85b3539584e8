"""The builder's command line as one typed value."""

import re
from dataclasses import dataclass

from services.core import stage
from services.core.hints import command
from services.core.settings import BuilderSettings

COMMANDS = ("build", "list", "rollback", "retire", "verify", "backup", "restore")
_BELONGS = {"--force": ("build",), "--dry-run": ("build", "restore"), "--model": ("restore",), "--with-weights": ("backup",)}

_DESCRIPTION = """\
Compile an exported model, prove it against the original, and publish it for Triton.

commands:
  build               build and publish what has changed since the last time, down to nothing (the default)
  list                show the published versions
  rollback [VERSION]  serve an older version again, with its own config; without VERSION, the one before the live one
  retire [MODEL]      take a model out of service; its versions stay, and rollback or build brings it back
  verify              ask the live version for the known answers: over the server, or here if none answers
  backup FILE         write all models and exports into one file, while they are served; "-" is standard output
  restore FILE        check such a file, bring back what it holds, and serve what was live; "-" is standard input

examples:
  PRECISION=fp16 {program} build
  {program} build --force
  {program} build --dry-run --json
  {program} list --json
  {program} rollback 3
  {program} retire resnet50
  {program} restore --model resnet50 --dry-run backup.tar

Exit codes: 0 all went well, 2 settings, 4 a file or the model card, 5 the compiler, 6 answers that differ from the
original model's, 7 the model repository or a full disk, 8 server.
"""


@dataclass(frozen=True)
class Arguments:
    """What the user asks for.

    Attributes:
        model: the name that ``retire`` was given, "" for the configured one.
        file: the file of ``backup`` and ``restore``, "" with other commands.
        models: those to restore; all where it is empty.
    """

    command: str
    version: int | None
    model: str
    file: str
    models: tuple[str, ...]
    with_weights: bool
    force: bool
    dry_run: bool
    json: bool
    debug: bool

    @classmethod
    def parse(cls, argv: list[str] | None = None) -> "Arguments":
        """Read the command line; on a mistake, show the usage and end with exit code 2."""
        parser = stage.argument_parser("builder", _DESCRIPTION.format(program=command("builder")), BuilderSettings.help())
        parser.add_argument("command", nargs="?", choices=COMMANDS, default="build", metavar="COMMAND", help="see above")
        parser.add_argument("operand", nargs="?", default="", metavar="VERSION|MODEL|FILE", help="see above")
        parser.add_argument("--force", action="store_true", help="with build: compile and publish even if nothing has changed")
        parser.add_argument("--dry-run", action="store_true", help="with build and restore: say what it would do, and do nothing")
        parser.add_argument("--model", action="append", default=[], metavar="NAME", help="with restore: only this one; repeatable")
        parser.add_argument("--with-weights", action="store_true", help="with backup: also the weights that the exporter downloaded")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        found = vars(parser.parse_intermixed_args(argv))
        wanted, operand = found["command"], found.pop("operand")
        if wanted == "rollback" and operand and not re.fullmatch(r"\d{1,9}", operand):
            parser.error(f"rollback takes the number of a version, found {operand!r}; {command('builder', 'list')} shows the versions")
        with_file = wanted in ("backup", "restore")
        if with_file and not operand:
            parser.error(f"{wanted} takes a FILE, or - for standard {'output' if wanted == 'backup' else 'input'}")
        if operand and not with_file and wanted not in ("rollback", "retire"):
            parser.error(f"{wanted} takes no further words, found {operand!r}")
        for option, commands in _BELONGS.items():
            if found[option[2:].replace("-", "_")] and wanted not in commands:
                parser.error(f"{option} belongs to {' and '.join(commands)}, found it with {wanted}")
        if found["json"] and wanted == "backup" and operand == "-":
            parser.error("--json prints to standard output, where the backup goes; name a FILE")
        if found["force"] and found["dry_run"]:
            parser.error("--force compiles in any case; --dry-run does not")
        version = int(operand) if operand and wanted == "rollback" else None
        models = tuple(found.pop("model"))
        return cls(version=version, model=operand if wanted == "retire" else "", file=operand if with_file else "", models=models, **found)
