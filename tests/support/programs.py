"""Programs that tests need, and that may be missing."""

import os
import shutil

import pytest


def lacks(program: str, package: str = "") -> bool:
    """Whether a program is missing. In CI, where all are installed, that is a failure.

    @param package: Debian's package that has it; default: that of the same name.
    """
    if shutil.which(program) is not None:
        return False
    assert "CI" not in os.environ, _message(program, package)
    return True


def need(program: str, package: str) -> None:
    """Skip the test if a program is missing, see L{lacks}."""
    if lacks(program, package):
        pytest.skip(_message(program, package))


def _message(program: str, package: str) -> str:
    return f"{program} is missing: apt-get install {package or program}"
