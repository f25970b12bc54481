"""The public names of the package: loaded when they are used, and known to type checkers and to people before."""

import ast
import subprocess
import sys

import pytest

import jsonrpcs_tx
from tests.support import REPOSITORY
from tests.support.modules import PACKAGE


def loaded_by(code: str) -> set[str]:
    """The modules that an interpreter has after some code."""
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    return set(subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split())


def type_checkers_see() -> dict[str, str]:
    """Where a type checker reads that each name comes from."""
    return {
        alias.name: f"{node.module}"
        for node in ast.walk(ast.parse((PACKAGE / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom) and f"{node.module}".startswith("jsonrpcs_tx.")
        for alias in node.names
    }


def test_one_list() -> None:
    """C{__all__} has what type checkers see, and each name is loaded from where they look for it."""
    seen = type_checkers_see()
    assert sorted(seen) == sorted(jsonrpcs_tx.__all__)
    homes = {name: f"jsonrpcs_tx.{home}" for name, home in jsonrpcs_tx._HOMES.items()}
    assert {**homes, "__version__": "jsonrpcs_tx._version"} == seen


def test_dir() -> None:
    """C{dir()} lists every name, loaded or not."""
    assert set(jsonrpcs_tx.__all__) <= set(dir(jsonrpcs_tx))


@pytest.mark.parametrize("name", jsonrpcs_tx.__all__)
def test_each_name(name: str) -> None:
    """Each name is there, the same each time."""
    assert getattr(jsonrpcs_tx, name) is getattr(jsonrpcs_tx, name)


def test_unknown_name() -> None:
    """A name that does not exist is refused as by any module."""
    with pytest.raises(AttributeError, match="module 'jsonrpcs_tx' has no attribute 'commmand'"):
        jsonrpcs_tx.commmand  # noqa: B018 # the access raises


@pytest.mark.slow
def test_light() -> None:
    """The package itself, its errors and its faults load neither Twisted nor msgspec, nor what is slow in Python."""
    loaded = loaded_by("import jsonrpcs_tx.errors, jsonrpcs_tx.rpc.faults")
    assert {name.partition(".")[0] for name in loaded} & {"twisted", "msgspec", "attr", "typing", "ssl"} == set()
