"""What the README and the other pages point to is there; the commands and the code they show can be run as written."""

import functools
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.core.settings.reference import keys

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMPOSE = {"COMPOSE_FILE", "COMPOSE_PROJECT_NAME"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """As GitHub makes it: lower case, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def simple_commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command of a shell text, without assignments before it and without comments."""
    text = re.sub(r"(^|\s)#.*$", r"\1", text.replace("\\\n", " "), flags=re.MULTILINE)
    lexer = shlex.shlex(text, posix=True, punctuation_chars="();|&{}\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    words: list[str] = []
    for word in [*lexer, "\n"]:
        if not set(word) <= set("();|&{}\n"):
            words.append(word)
        elif words:
            while words and re.match(r"[A-Za-z_]+=", words[0]):
                words = words[1:]
            if words:
                yield words
            words = []


def commands_of(page: Path) -> Iterator[str]:
    """The commands of this project that a page shows, in blocks and within sentences."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`((?:[A-Z_]+=\S+ )*(?:scripts/[a-z]|docker compose |(?:\.venv/bin/)?python -m )[^`…<]*)`", prose)
    for text in [*blocks(page, "sh"), *spans]:
        for words in simple_commands(text):
            if (
                words[0].startswith("scripts/")
                or words[:2] == ["docker", "compose"]
                or re.match(r"-m (services|benchmarks)\b", " ".join(words[1:]))
            ):
                yield shlex.join(words)


COMMANDS = sorted({command for page in PAGES for command in commands_of(page)})
SERVICES = {name for file in ROOT.glob("compose*.yaml") for name in re.findall(r"^  (\w+):$", file.read_text(), re.MULTILINE)}


@functools.cache
def help_of(*program: str) -> str:
    done = subprocess.run([*program, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{shlex.join(program)} --help ended with {done.returncode}: {done.stderr}"
    return done.stdout + done.stderr


def check_words(words: list[str], *program: str) -> None:
    """Every option, and the command of a program that has commands, stands in the program's help."""
    told = help_of(*program) if words else ""
    for option in (word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", told), f"{shlex.join(program)} has no option {option}"
    chosen = next((word for word in words if not word.startswith("-")), None)
    if chosen and re.search(r"^commands:", told, re.MULTILINE):
        assert re.search(rf"^  {chosen}\b", told, re.MULTILINE), f"{shlex.join(program)} has no command {chosen}"


def check_compose(words: list[str]) -> None:
    """The files, the options, the service and what is asked of it."""
    while words[:1] == ["-f"]:
        assert (ROOT / words[1]).is_file(), words[1]
        words = words[2:]
    if not words:
        return
    verb, *words = words
    told = help_of("docker", "compose", verb) if shutil.which("docker") else ""
    entrypoint = False
    while words and words[0].startswith("-"):
        option, _, _ = words[0].partition("=")
        found = re.search(rf"(?:^|[ ,]){option}(?:, --[\w-]+)?(?: (\w+))?  ", told, re.MULTILINE)
        assert found or not told, f"docker compose {verb} has no option {option}"
        takes_value = "=" not in words[0] and (found[1] if found else option in ("-e", "--entrypoint"))
        entrypoint |= option == "--entrypoint"
        words = words[2 if takes_value else 1 :]
    if verb == "run":
        assert words, "no service"
        assert words[0] in SERVICES
        if not entrypoint:
            check_words(words[1:], sys.executable, "-m", f"services.{words[0]}")
    else:
        assert set(words) <= SERVICES


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_run_as_written(command):
    program, *words = shlex.split(command)
    for word in words:
        assert not word.startswith(("samples/", "/samples/", "tests/", "docs/")) or (ROOT / word.lstrip("/")).exists(), word
    if program == "docker":
        check_compose(words[1:])
    elif program.startswith("scripts/"):
        check_words(words, program)
    else:
        module, *words = words[1:]
        assert (ROOT / module.replace(".", "/")).exists() or (ROOT / f"{module.replace('.', '/')}.py").exists(), module
        check_words(words, sys.executable, "-m", module)


def test_the_commands_of_the_pages_are_found():
    """The readers above find what they should, so that the test of every command is one of something."""
    assert {"scripts/up", "scripts/test"} <= set(COMMANDS)
    text = "A=1 scripts/up --cpu   # why\nkey=$(docker compose run -e A=b builder) |\n  { cat x; }"
    assert list(simple_commands(text)) == [["scripts/up", "--cpu"], ["docker", "compose", "run", "-e", "A=b", "builder"], ["cat", "x"]]


def test_the_readme_is_one_page():
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, section = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if section:
            assert section in map(anchor, re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)), target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_script_that_is_named_exists(page):
    for script in re.findall(r"(?<![\w./])scripts/[a-z][\w.-]*\w", page.read_text()):
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_shell_block_parses_and_names_settings_that_exist(page):
    for block in blocks(page, "sh"):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert set(re.findall(r"(?<!\S)([A-Z][A-Z0-9_]+)=", block)) <= keys() | COMPOSE


def test_the_readme_shows_the_library_and_curl():
    """tests/local runs both."""
    (block,) = blocks(README, "python")
    assert "from services.client import Classifier" in block
    assert len([block for block in blocks(README, "sh") if "curl" in block]) == 1
