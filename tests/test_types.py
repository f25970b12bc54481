"""What type checkers say of the package and of what the documentation shows: pyright, and mypy without its plugin for
zope.interface, as most programs have them.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY
from tests.support.pages import blocks

BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.slow, pytest.mark.long]  # three runs of type checkers


@pytest.fixture(autouse=True)
def pyright() -> None:
    """It is in the extra dev, not in that of the tests."""
    pytest.importorskip("pyright")


def check(directory: Path, *command: str, statuses: tuple[int, ...] = (0,)) -> str:
    """What a checker prints, which finds the package and what it needs as a program's does.

    @param statuses: with which it may end.
    """
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "MYPYPATH": str(REPOSITORY)}
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode in statuses, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every Python block of the documentation as a file."""
    directory: Path = tmp_path_factory.mktemp("examples")
    for page in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))):
        programs = [block.text for block in blocks(page) if block.language == "python"]
        for number, program in enumerate(programs):
            named = re.match(r"# (\w+\.py)\n", program)  # others import it
            (directory / (named[1] if named else f"{page.stem.lower()}_{number}.py")).write_text(program)
    return directory


def test_complete() -> None:
    """The type of everything public is known. The command line is a program, which nobody imports."""
    command = ("pyright", "--verifytypes", "jsonrpcs_tx", "--ignoreexternal", "--outputjson")
    symbols = json.loads(check(REPOSITORY.parent, *command, statuses=(0, 1)))["typeCompleteness"]["symbols"]
    assert len(symbols) > 1000
    assert [
        symbol["name"]
        for symbol in symbols
        if symbol["isExported"] and not symbol["isTypeKnown"] and not symbol["name"].startswith("jsonrpcs_tx.cli.")
    ] == []


def test_pyright(examples: Path) -> None:
    """pyright accepts every example."""
    assert "0 errors, 0 warnings" in check(examples, "pyright", ".")


def test_mypy(examples: Path) -> None:
    """So does mypy --strict without a plugin; much of Twisted has no annotations."""
    printed = check(examples, "mypy", "--strict", "--allow-untyped-calls", "--config-file=", ".")
    assert re.fullmatch(r"Success: no issues found in \d\d source files\n", printed)
