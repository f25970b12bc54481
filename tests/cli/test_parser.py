"""The words of a command line, and the descriptions by which they are read."""

from importlib import import_module

import pytest

from jsonrpcs_tx.cli import usage
from jsonrpcs_tx.cli.descriptions import CALL, GENERAL, OUTPUT, SUBCOMMANDS, WHERE, find
from jsonrpcs_tx.cli.exits import UsageError
from jsonrpcs_tx.cli.parser import Arguments, known_options, parse


def test_method() -> None:
    """A word that is no sub-command is a method, and what follows are its parameters."""
    arguments = parse(["--to", "udp:127.0.0.1:8090", "htable.sets", "a", "k", "-5", "--json", "-.5", "-"])
    assert arguments.subcommand is CALL
    assert arguments.words == ["htable.sets", "a", "k", "-5", "-.5", "-"]
    assert (arguments.to, arguments.json) == (["udp:127.0.0.1:8090"], True)


def test_subcommand() -> None:
    """A sub-command is called by its name; C{call} calls a method of that name."""
    assert parse(["methods"]).subcommand is find("methods")
    assert (parse(["call", "methods"]).subcommand, parse(["call", "methods"]).words) == (CALL, ["methods"])


def test_end_of_options() -> None:
    """What stands behind two dashes is not an option."""
    assert parse(["core.echo", "--", "--json", "-x", "--"]).words == ["core.echo", "--json", "-x", "--"]


@pytest.mark.parametrize(
    "words", [["-n", "2.5"], ["-n2.5"], ["--interval", "2.5"], ["--interval=2.5"], ["-jn2.5"], ["-jn", "2.5"]]
)
def test_value_of_an_option(words: list[str]) -> None:
    """The value of an option stands behind it, with or without something between."""
    assert parse(["watch", "core.uptime", *words]).interval == 2.5


def test_options_that_come_again() -> None:
    """Some options may come several times; of the others the last one counts."""
    arguments = parse(["a.b", "-t", "udp:h:1", "--to=udp:h:2", "--timeout", "1", "--timeout", "2"])
    assert (arguments.to, arguments.timeout) == (["udp:h:1", "udp:h:2"], 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.b", "--jsno"], "--jsno: no such option; did you mean --json, or s:--jsno for text?"),
        (["a.b", "-Q"], "-Q: no such option; see jsonrpcs --help, or write s:-Q for text"),
        (["a.b", "--to"], "--to: TARGET is missing; see jsonrpcs --help"),
        (["a.b", "-f"], "-f: FORMAT is missing; see jsonrpcs --help"),
        (["a.b", "--json=yes"], "--json: it does not take a value; see jsonrpcs --help"),
        (["a.b", "--timeout", "0"], "--timeout: '0' is not allowed; allowed: seconds above 0, at most 86400"),
        (["a.b", "--timeout", "nan"], "--timeout: 'nan' is not allowed; allowed: seconds above 0, at most 86400"),
        (["a.b", "--timeout=5s"], "--timeout: '5s' is not allowed; allowed: seconds above 0, at most 86400"),
        (["watch", "a.b", "-c", "0"], "-c: '0' is not allowed; allowed: a whole number, at least 1"),
        (["watch", "a.b", "-c", "9" * 5000], f"-c: '{'9' * 5000}' is not allowed; allowed: a whole number, at least 1"),
        (["check", "a.b", "--json"], "--json: check does not take this option; see jsonrpcs check --help"),
        (["a.b", "-n", "2"], "--interval: call does not take this option; see jsonrpcs call --help"),
        (["call"], "call: METHOD is missing; usage: jsonrpcs call [OPTION...] METHOD [PARAMETER...]"),
        (["targets", "x"], "targets: unexpected word 'x'; usage: jsonrpcs targets [OPTION...]"),
        (["methods", "x", "y"], "methods: unexpected word 'y'; usage: jsonrpcs methods [OPTION...] [PATTERN]"),
    ],
)
def test_wrong_usage(words: list[str], message: str) -> None:
    """What cannot be followed is refused in words that say what can."""
    with pytest.raises(UsageError) as error:
        parse(words)
    assert str(error.value) == message


def test_options_are_attributes() -> None:
    """Each option has its attribute with a default, and no attribute lacks an option."""
    attributes = {option.attribute for option in known_options().values()}
    assert attributes | {"subcommand", "words"} == set(vars(Arguments()))


def test_options_are_unambiguous() -> None:
    """A name or a letter is the same option everywhere, since options may stand before the sub-command."""
    options = [*GENERAL, *(option for subcommand in SUBCOMMANDS for option in subcommand.options)]
    for name in ("name", "short"):
        found = {getattr(option, name): option for option in options}
        assert [
            option for option in options if getattr(option, name) and found[getattr(option, name)] is not option
        ] == []


@pytest.mark.parametrize("subcommand", SUBCOMMANDS, ids=lambda one: one.name)
def test_subcommand_is_there(subcommand: object) -> None:
    """Each sub-command has a module with C{run}, a name that no method has, and a help that names all of it."""
    module = import_module(f"jsonrpcs_tx.cli.{subcommand.module}")  # type: ignore[attr-defined]
    assert callable(module.run)
    assert "." not in subcommand.name  # type: ignore[attr-defined]
    text = usage.text(None if subcommand is CALL else subcommand)  # type: ignore[arg-type]
    for option in subcommand.options:  # type: ignore[attr-defined]
        assert option.usage in text
    for argument in subcommand.arguments:  # type: ignore[attr-defined]
        assert argument.name in text


def test_help_of_the_program() -> None:
    """The help lists all sub-commands, options and exit codes, in lines that fit."""
    text = usage.text(None)
    for word in (*(one.name for one in SUBCOMMANDS), *(one.usage for one in (*GENERAL, *WHERE, *OUTPUT)), "forbidden"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100
