"""``scripts/sbom`` lists what a lock file pins."""

import json
import re
import socket
import subprocess

import pytest

from tests.checkout import copy_checkout, outside


def test_a_list_has_every_package_of_the_lock_file_with_its_hashes(tmp_path):
    try:
        socket.gethostbyname(outside())
    except OSError:
        pytest.skip("this machine has no network, from which the tool would come")
    clone = copy_checkout(tmp_path / "clone")
    done = subprocess.run([clone / "scripts/sbom", "launcher"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "sbom/launcher.json\n"), done.stderr
    listed = json.loads((clone / "sbom/launcher.json").read_text())
    lock = (clone / "requirements/launcher.lock").read_text()
    assert listed["bomFormat"] == "CycloneDX"
    assert {(part["name"], part["version"]) for part in listed["components"]} == set(re.findall(r"(?m)^([\w.-]+)==(\S+)", lock))
    hashes = {found["content"] for part in listed["components"] for source in part["externalReferences"] for found in source["hashes"]}
    assert hashes == set(re.findall(r"--hash=sha256:(\w+)", lock))
