"""What a release says of itself, and what keeps one from being made."""

import re
import subprocess

from jsonrpcs_tx._version import __version__
from tests.support import REPOSITORY


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(REPOSITORY / "packaging" / command[0]), *command[1:]], capture_output=True, text=True)


def test_notes() -> None:
    """The notes are the section of the version in the changelog."""
    done = run("release-notes", __version__)
    assert done.returncode == 0, done.stderr
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    section = re.search(rf"^## {re.escape(__version__)}\b[^\n]*\n(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE)
    assert section is not None
    assert done.stdout.strip() == section[1].strip()


def test_no_notes() -> None:
    """There is no release of a version that the changelog does not have."""
    done = run("release-notes", "99.0.0")
    assert (done.returncode, done.stderr) == (1, "release-notes: CHANGELOG.md has no section for 99.0.0\n")
