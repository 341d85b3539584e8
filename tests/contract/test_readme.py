"""What the README and the other pages point to is there, and the code they show parses."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from services.core.settings import BuilderSettings, ClientSettings, ExporterSettings

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FIELDS = {name.upper() for kind in (ExporterSettings, BuilderSettings, ClientSettings) for name in kind.model_fields}
# Read by Compose and by scripts, and by no stage.
OTHERS = {"COMPOSE_PROJECT_NAME", "HTTP_PORT", "GRPC_PORT", "METRICS_PORT"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """As GitHub makes it: lower case, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


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
        assert set(re.findall(r"(?<!\S)([A-Z][A-Z0-9_]+)=", block)) <= FIELDS | OTHERS


def test_the_python_in_the_readme_parses_and_asks_for_the_exporters_names():
    (block,) = blocks(README, "python")
    constants = {node.value for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Constant)}
    assert {"images", "UINT8", "scores", "card"} <= constants


def test_the_sizes_of_the_curl_example_agree():
    (block,) = [block for block in blocks(README, "sh") if "curl" in block]
    (shape,) = re.findall(r'"shape": \[([\d, ]+)\]', block)
    _, height, width, channels = map(int, shape.split(","))
    assert f'"binary_data_size": {height * width * channels}}}' in block
    assert f"-extent {width}x{height} " in block
