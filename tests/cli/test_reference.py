"""The manual and docs/cli.md are what the descriptions say."""

import re
import subprocess

import pytest

from jsonrpcs_tx import catalogue
from jsonrpcs_tx.cli import configuration, reference
from jsonrpcs_tx.cli.descriptions import GENERAL, IN_SHELL, SUBCOMMANDS
from tests.support import PATIENCE, REPOSITORY
from tests.support.programs import need

PAGE = REPOSITORY / "docs" / "cli.md"
MANUAL = REPOSITORY / "docs" / "jsonrpcs.1"


def test_page() -> None:
    """docs/cli.md ends with the reference; made by C{python -m jsonrpcs_tx.cli.reference docs}."""
    page = PAGE.read_text()
    assert page == reference.head(page) + reference.document()


def test_manual() -> None:
    """docs/jsonrpcs.1 is the manual; made by the same."""
    assert MANUAL.read_text() == reference.manual()


def test_all_is_in_it() -> None:
    """Both name every sub-command, option and setting."""
    options = {option.usage for one in (*SUBCOMMANDS, *IN_SHELL) for option in (*one.options, *GENERAL)}
    words = {*options, *(one.usage for one in (*SUBCOMMANDS, *IN_SHELL)), *configuration._TOP, *configuration._PROFILE}
    manual = re.sub(r"\\-", "-", reference.manual())
    for word in words:
        assert word.removeprefix("jsonrpcs ") in reference.document()
        assert word in manual
    assert [name for name, _ in reference.SETTINGS] == sorted(
        configuration._TOP, key=list(dict(reference.SETTINGS)).index
    )
    assert {name for name, _ in reference.PROFILE} == set(configuration._PROFILE)


def test_table_names_what_there_is() -> None:
    """The methods in the last column of the table for users of other tools are Kamailio's."""
    rows = [line.split(" | ")[-1] for line in reference.head(PAGE.read_text()).splitlines() if line.startswith("| ")]
    named = {word for row in rows for word in re.findall(r"\b[a-z]+\.\w+\b", row)}
    assert len(named) > 15
    assert {word for word in named if catalogue.find(word) is None} == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["man", "--warnings=all", "-l"],
        ["mandoc", "-T", "lint", "-W", "warning"],
        ["groff", "-man", "-Tutf8", "-ww", "-z"],
    ],
    ids=lambda words: words[0],
)
def test_manual_is_well_made(words: list[str]) -> None:
    """Nothing that shows manuals finds anything wrong with it."""
    need(words[0], {"man": "man-db"}.get(words[0], words[0]))
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
    done = subprocess.run([*words, str(MANUAL)], env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stderr == ""
    if words[0] == "man":
        for word in ("-t, --to TARGET", "_ [OPTION...] [PATH]", "'uptime>60'", "~/.cache/jsonrpcs/"):
            assert word in done.stdout
    else:
        assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []
