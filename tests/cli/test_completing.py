"""Which words may come next, without a server."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx import catalogue
from jsonrpcs_tx.cli.completing import Words, complete
from jsonrpcs_tx.cli.descriptions import IN_SHELL, SUBCOMMANDS
from jsonrpcs_tx.cli.lists import Lists
from jsonrpcs_tx.cli.parser import Arguments
from jsonrpcs_tx.cli.sources import SOURCES, listing
from jsonrpcs_tx.cli.splitting import Unfinished


def completed(*words: str, in_shell: bool = False) -> Words:
    """What completes words for which there is no server."""
    return complete(list(words), lambda arguments: Lists(lambda: None), in_shell)


def texts(*words: str, in_shell: bool = False) -> list[str]:
    return [word.text for word in completed(*words, in_shell=in_shell).words]


def test_first_word() -> None:
    """The first word is a sub-command or a method; the shell has some of its own."""
    every = texts("")
    assert every[: len(SUBCOMMANDS)] == [one.name for one in SUBCOMMANDS]
    assert every[len(SUBCOMMANDS) :] == list(catalogue.methods())
    assert texts("_") == []
    assert texts("_", in_shell=True) == ["_"]
    assert texts("--json", "core.upt") == ["core.uptime"]
    assert texts("help", "targ") == ["targets"]
    assert texts("watch", "targ") == []


def test_options() -> None:
    """Options are those of the sub-command, and their values what they take."""
    assert texts("--ra") == ["--raw"]
    assert texts("check", "--ra") == []
    assert texts("check", "--exp") == ["--expect"]
    assert texts("core.uptime", "--", "--ra") == []
    assert texts("--to", "ht") == texts("-t", "ht") == texts("-jt", "ht") == ["http://", "https://"]
    assert texts("--to=ht") == ["--to=http://", "--to=https://"]
    assert texts("--timeout", "") == texts("--no-such", "") == texts("--timeout", "x", "") == []
    assert (completed("--tls-ca", "x").paths, completed("--tls-ca=x").path) == ("file", "x")
    assert completed("--reply-dir", "").paths == "directory"


def test_parameters() -> None:
    """Parameters are completed where the catalogue knows their values."""
    assert texts("dispatcher.set_state", "") == ["a", "i", "t", "d", "ap", "ip", "tp", "dp"]
    assert texts("watch", "mod.stats", "core", "a") == ["all"]
    assert texts("system.methodHelp", "core.upt") == ["core.uptime"]
    assert texts("no.such", "") == texts("core.uptime", "") == texts("core.uptime", "x", "") == []
    assert texts("targets", "") == texts("methods", "x", "") == []


@pytest.mark.parametrize("subcommand", [*SUBCOMMANDS, *IN_SHELL], ids=lambda one: one.name)
def test_every_subcommand(subcommand: object) -> None:
    """Nothing that a sub-command takes is in the way of completion."""
    for option in subcommand.options:  # type: ignore[attr-defined]
        assert f"--{option.name}" in texts(subcommand.name, f"--{option.name}", in_shell=True)  # type: ignore[attr-defined]


@given(st.lists(st.text(max_size=12), min_size=1, max_size=6))
def test_anything(words: list[str]) -> None:
    """Whatever stands in a line, completion fails in no other way than with nothing."""
    found = completed(*words)
    assert all(word.text.startswith(words[-1]) for word in found.words)


def test_sources() -> None:
    """Every source of the catalogue can be listed, with a command that only reads."""
    entries = [catalogue.find(method) for method in catalogue.methods()]
    named = {parameter.source for entry in entries if entry for parameter in entry.parameters} - {""}
    assert named == set(SOURCES)
    for source in SOURCES.values():
        entry = catalogue.find(source.method)
        assert entry is not None
        assert entry.effect == catalogue.READ


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_results_of_any_shape(result: object) -> None:
    """Whatever a server answers, what is read of it is a list of texts."""
    for name, source in SOURCES.items():
        found = listing(name, {source.within: "1"})
        assert found is not None
        assert all(isinstance(value, str) for value in found[2](result))


def test_results() -> None:
    """What is read of the results that Kamailio gives."""
    targets = [{"DEST": {"URI": "sip:a"}}, {"DEST": {"URI": "sip:b"}}]
    sets = {
        "NRSETS": 2,
        "RECORDS": [{"SET": {"ID": 1, "TARGETS": targets}}, {"SET": {"ID": 2, "TARGETS": targets[:1]}}],
    }
    variables = ["core: debug", "tm: fr_timer", "core: memdbg", "nothing"]
    for name, before, result, expected in (
        ("set", {}, sets, ["1", "2"]),
        ("destination", {}, sets, ["sip:a", "sip:b"]),
        ("destination", {"set": "2"}, sets, ["sip:a"]),
        ("cfg-group", {}, variables, ["core", "tm"]),
        ("cfg-variable", {"cfg-group": "tm"}, variables, ["fr_timer"]),
        ("table", {}, [{"name": "a", "size": 1}, {"name": "b"}], ["a", "b"]),
        ("statistic", {}, {"core.x": "0"}, ["all", "core.x"]),
        ("shv", {}, {"items": [{"shv": {"name": "x", "value": 5}}]}, ["x"]),
    ):
        found = listing(name, before)
        assert found is not None
        assert found[2](result) == expected
    assert listing("cnt-variable", {}) is None
    assert listing("nothing", {}) is None


@given(st.text(max_size=30), st.integers(0, 40))
def test_splitting(line: str, at: int) -> None:
    """A line is split as a shell does, wherever the cursor is."""
    whole = Unfinished(line)
    assert line.endswith(whole.last)
    if any(character.isspace() and character not in " \t\n" for character in line):
        return
    if not whole.quote and not line.endswith("\\") and "\r" not in line and line.strip(" \t\n"):
        expected = shlex.split(line)
        assert whole.words == expected if whole.last else whole.words == [*expected, ""]
    Unfinished(line[:at])


def test_open_quotes() -> None:
    """A quote may be open in the word that is being written."""
    for line, words, last, quote in (
        ("", [""], "", ""),
        ("a ", ["a", ""], "", ""),
        ("a 'b c", ["a", "b c"], "'b c", "'"),
        ('a "b\\"', ["a", 'b"'], '"b\\"', '"'),
        ("a\\ b", ["a b"], "a\\ b", ""),
        ("a\\", ["a"], "a\\", ""),
        ("'' x", ["", "x"], "x", ""),
    ):
        split = Unfinished(line)
        assert (split.words, split.last, split.quote) == (words, last, quote)


def test_arguments_are_those_before() -> None:
    """The server that is asked is the one that the words before name."""
    seen: list[Arguments] = []

    def lists(arguments: Arguments) -> Lists:
        seen.append(arguments)
        return Lists(lambda: None)

    complete(["--to", "a", "--to", "udp:h:1", "htable.dump", ""], lists)
    assert [one.to for one in seen] == [["a", "udp:h:1"]]
