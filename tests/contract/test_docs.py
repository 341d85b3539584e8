"""``.env`` and the tables of docs/configuration.md are what the declarations of the settings say."""

import subprocess
import sys


def test_the_reference_is_up_to_date(root):
    done = subprocess.run([sys.executable, "-m", "services.core.settings.reference", "--check"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nrun: python -m services.core.settings.reference"
