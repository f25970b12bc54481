"""The modules of the package, read from its directory."""

from pathlib import Path

from tests.support import REPOSITORY

PACKAGE = REPOSITORY / "jsonrpcs_tx"
"""The directory of the package."""


def modules() -> dict[str, Path]:
    """The modules of the package by their dotted names, without the package's own; a wing's is that of its
    C{__init__}.
    """
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found
