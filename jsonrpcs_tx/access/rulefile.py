"""Rules from a file: one on each line; empty lines, and lines that start with C{#}, are skipped."""

from collections.abc import Mapping
from typing import Final

import attrs

from jsonrpcs_tx.access.rules import Rule, read_rule
from jsonrpcs_tx.errors import NotAllowed, SettingError, StartError
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.problems import FIRST, Problems
from jsonrpcs_tx.protocols import PROTOCOLS, Protocol
from jsonrpcs_tx.safefiles import open_regular, weak_place

_log = make_logger(__name__)

MAX_SIZE: Final = 1_048_576
"""Bytes of the largest file."""


def read_rule_file(path: str, problems: Problems = FIRST, known: Mapping[str, Protocol] = PROTOCOLS) -> list[Rule]:
    """Read a file of rules.

    @param problems: takes the errors in lines.
    @param known: the transports by name.
    @raise StartError: of the setting C{rule_file}: the file cannot be read, or a line is not a rule; it says which.
    """
    try:
        with open_regular(path) as file:
            data = file.read(MAX_SIZE + 1)
        weakness = weak_place(path)
    except OSError as error:
        raise StartError("rule_file", path, error.strerror, "a file that can be read") from None
    except NotAllowed as error:
        raise StartError("rule_file", path, error.reason, error.allowed) from None
    if len(data) > MAX_SIZE:
        raise StartError("rule_file", path, "it is too large", f"a file of up to {MAX_SIZE} bytes")
    if weakness is not None:
        _log.warn("others could replace {path}: {weakness}", path=path, weakness=weakness)
    rules = []
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith(b"#"):
            try:
                rules.append(attrs.evolve(read_rule(line.decode().strip(), known), file=path, line=number))
            except UnicodeDecodeError:
                problems.note(StartError("rule_file", path, "it is not UTF-8", "a rule", number))
            except SettingError as error:
                problems.note(StartError("rule_file", path, f"{error.value!r:.200}", error.allowed, number))
    return rules
