"""Directories for tests, and the rights of a user that is not root."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

STRANGER = 65_534
"""The number of a user other than the one that runs the tests."""


def make_directory(test: SynchronousTestCase) -> Path:
    """A directory for one test, with an absolute path short enough for a socket; removed at its end."""
    parent = tempfile.mkdtemp()
    test.addCleanup(shutil.rmtree, parent)
    directory = Path(parent, "run")
    directory.mkdir()
    return directory


@contextlib.contextmanager
def public_directory() -> Iterator[Path]:
    """A directory that everybody may enter and only its owner may write to; those of pytest are private."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name).resolve()


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Have only the rights of a user that is not root."""
    if os.geteuid():
        yield
        return
    os.seteuid(STRANGER)
    try:
        yield
    finally:
        os.seteuid(0)
