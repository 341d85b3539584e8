"""Every setting is in .env and explained in docs/configuration.md."""

import re

import pytest

from services.core.settings import BuilderSettings, ClientSettings, ExporterSettings

ENV_KEY = re.compile(r"^#?([A-Z][A-Z0-9_]+)=", re.MULTILINE)
FIELDS = {name.upper() for kind in (ExporterSettings, BuilderSettings, ClientSettings) for name in kind.model_fields}


@pytest.fixture(scope="module")
def env_keys(root):
    return ENV_KEY.findall((root / ".env").read_text())


def test_every_settings_field_is_in_env(env_keys):
    assert sorted(FIELDS - set(env_keys)) == []


def test_no_key_is_in_env_twice(env_keys):
    assert sorted({key for key in env_keys if env_keys.count(key) > 1}) == []


def test_every_line_of_env_that_is_a_key_has_a_comment_above_it(root):
    """A comment may stand above a group of keys."""
    lines = (root / ".env").read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"[A-Z]", line):
            above = next(text for text in reversed(lines[:number]) if not re.match(r"[A-Z]", text))
            assert above.startswith("# "), line


def test_every_key_is_explained_in_the_configuration_page(root, env_keys):
    page = (root / "docs" / "configuration.md").read_text()
    explained = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", page))
    assert sorted((set(env_keys) | FIELDS) - explained) == []


@pytest.mark.parametrize("kind", [ExporterSettings, BuilderSettings, ClientSettings])
def test_the_defaults_in_env_are_the_codes(root, kind):
    """A default that stands in two places is one that can differ; the NGC release is a fact of the images, unknown outside of them."""
    written = dict(re.findall(r"^([A-Z][A-Z0-9_]+)=(.*)$", (root / ".env").read_text(), re.MULTILINE))
    written.pop("NGC_RELEASE")
    assert kind.from_env(written) == kind()
