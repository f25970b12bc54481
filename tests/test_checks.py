"""The checks that pyproject.toml sets up do check."""

import warnings

import pytest

from tests.support import REPOSITORY


@pytest.mark.parametrize("module", ["jsonrpcs_tx", "jsonrpcs_tx.rpc.dispatcher", "/src/jsonrpcs_tx/transports/http"])
def test_own_warnings_are_errors(module: str) -> None:
    """A warning that a line of the package causes fails the test; trial names a module by its path."""
    with pytest.raises(DeprecationWarning, match="old"):
        warnings.warn_explicit("old", DeprecationWarning, "module.py", 1, module)


@pytest.mark.parametrize(
    "module",
    ["twisted.web.http", "tests.test_checks", "/src/jsonrpcs_tx/tests/transports/test_http", f"{REPOSITORY}/tests/x"],
)
def test_warnings_of_others(module: str) -> None:
    """A warning about other code is not one of the package's, even if its checkout is called jsonrpcs_tx."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn_explicit("old", DeprecationWarning, "module.py", 1, module)
    assert len(caught) == 1
