"""Rules from a file: one on each line, see L{jsonrpcs_tx.files.linefiles}."""

from collections.abc import Mapping

import attrs

from jsonrpcs_tx.access.rules import Rule, read_rule
from jsonrpcs_tx.config.problems import FIRST, Problems
from jsonrpcs_tx.errors import SettingError, StartError
from jsonrpcs_tx.files.linefiles import read_lines
from jsonrpcs_tx.protocols import PROTOCOLS, Protocol


def read_rule_file(path: str, problems: Problems = FIRST, known: Mapping[str, Protocol] = PROTOCOLS) -> list[Rule]:
    """Read a file of rules.

    @param problems: takes the errors in lines.
    @param known: the transports by name.
    @raise StartError: of the setting C{rule_file}: the file cannot be read, or a line is not a rule; it says which.
    """
    rules = []
    for number, line in read_lines("rule_file", path):
        try:
            rules.append(attrs.evolve(read_rule(line.decode().strip(), known), file=path, line=number))
        except UnicodeDecodeError:
            problems.note(StartError("rule_file", path, "it is not UTF-8", "a rule", number))
        except SettingError as error:
            problems.note(StartError("rule_file", path, f"{error.value!r:.200}", error.allowed, number))
    return rules
