"""What scripts/docker.sh asks of Compose, and tells it: ``python -m services.local.compose facts | pictures ...``."""

from __future__ import annotations  # it runs with any Python from 3.9, without packages

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from services.core.names import served_name

PORTS = (8000, 8001, 8002)
_WILDCARD = re.compile(r"[*?\[]")


def settings(folder: Path, keys: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The settings of a folder's ``.env`` and of the shell, as Compose reads them; it has no command of its own for that.

    Args:
        folder: where ``.env`` lies.
        keys: which settings.
        environ: the shell's variables; an empty one counts as unset.

    Raises:
        OSError: there is no Docker.
        subprocess.SubprocessError: Compose cannot read the file, or does not answer.
    """
    asking = json.dumps({"services": {"settings": {"image": "none", "environment": dict.fromkeys(keys)}}})
    command = ["docker", "compose", "--project-directory", str(folder), "--file", "-", "config", "--format", "json"]
    own = {key: value for key, value in environ.items() if value and key != "COMPOSE_FILE"}
    done = subprocess.run(command, input=asking, env=own, capture_output=True, text=True, timeout=30, check=True)
    found = json.loads(done.stdout)["services"]["settings"]["environment"]
    return {key: value.replace("$$", "$") for key, value in found.items() if value is not None}


def facts(config: Mapping[str, Any]) -> str:
    """Project, served name and published ports, from the output of ``docker compose config``."""
    exporter = config["services"]["exporter"]["environment"]
    ports = {port["target"]: port["published"] for port in config["services"]["triton"]["ports"]}
    name = served_name(exporter["MODEL"], exporter.get("MODEL_NAME") or "")
    return " ".join([config["name"], name, *(ports[port] for port in PORTS)])


def pictures(words: Sequence[str], folder: Path) -> tuple[dict[str, Any], list[str]]:
    """A Compose file that mounts what the words name, and the words as the client in its container understands them.

    Args:
        words: of the client's command line; a file, a folder, or a pattern of files.
        folder: where their names start.
    """
    sources, told = set(), []
    for word in words:
        base = Path(_WILDCARD.split(word)[0])
        path = (folder / word).resolve()
        if path.exists():
            sources.add(path)
        elif _WILDCARD.search(word) and "://" not in word:
            start = folder / (base if word[: len(str(base)) + 1].endswith("/") else base.parent)
            if not start.is_dir():
                told.append(word)
                continue
            sources.add(start.resolve())
            path = start.resolve() / Path(folder / word).relative_to(start)
        else:
            told.append(word)
            continue
        told.append(str(path))
    volumes = [
        {"type": "bind", "source": escaped, "target": escaped, "read_only": True}
        for escaped in sorted(str(source).replace("$", "$$") for source in sources)
    ]
    return {"services": {"client": {"volumes": volumes}}}, told


def main(arguments: list[str]) -> int:
    """``facts`` from standard input, or ``pictures FOLDER FILE WORD...``: the file for Compose, and the words with a NUL after each."""
    if arguments[0] == "facts":
        sys.stdout.write(facts(json.load(sys.stdin)) + "\n")
        return 0
    folder, file, *words = arguments[1:]
    mounts, told = pictures(words, Path(folder))
    Path(file).write_text(json.dumps(mounts))
    sys.stdout.write("".join(f"{word}\0" for word in told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
