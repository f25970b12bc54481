"""Programs that tests need, and that may be missing."""

import os
import shutil

import pytest


def lacks(program: str) -> bool:
    """Whether a program is missing, which is an error in CI."""
    if shutil.which(program):
        return False
    assert "CI" not in os.environ, f"{program} is not installed"
    return True


def need(program: str, package: str) -> None:
    """Skip the test where a program is missing; on a machine that is made for the tests that is a failure.

    @param package: Debian's package that has it.
    """
    if shutil.which(program) is None:
        assert "CI" not in os.environ, f"{program} is missing: apt-get install {package}"
        pytest.skip(f"{program} is missing: apt-get install {package}")
