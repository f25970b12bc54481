"""The words of a command line as parameters."""

import re
from decimal import Decimal

import pytest

from jsonrpcs_tx.cli import parameters
from jsonrpcs_tx.cli.exits import UsageError

Signatures = list[list[str]]


def values(method: str, *words: str, signatures: Signatures | None = None) -> list[object]:
    """The parameters; the server tells the signatures, or must not be asked."""

    def ask(asked: str) -> Signatures:
        assert signatures is not None, "the server was asked"
        assert asked == method
        return signatures

    return parameters.values(method, list(words), ask)


def test_catalogue() -> None:
    """Kamailio's own methods get the types of the catalogue, and no server is asked."""
    assert values("htable.sets", "a", "1001", "5") == ["a", "1001", "5"]
    assert values("htable.seti", "a", "1001", "5") == ["a", "1001", 5]
    assert values("core.printi", "1", "-2", "007") == [1, -2, 7]
    assert values("jsonrpc.echo", "1", "2") == ["1", 2]
    assert values("pv.shvSet", "x", "int", "5") == ["x", "int", 5]
    assert values("pv.shvSet", "x", "str", "5") == ["x", "str", "5"]
    assert values("core.uptime", "5", "x") == [5, "x"]  # more than it takes: the server says so


def test_beyond_32_bits() -> None:
    """What Kamailio would take for another number is refused, unless the number has a prefix."""
    for number in ("-2147483648", "2147483647"):
        assert values("htable.seti", "a", "b", number) == ["a", "b", int(number)]
        assert values("pv.shvSet", "x", "int", number) == ["x", "int", int(number)]
    assert values("presence.refreshWatchers", "u", "e", "4294967295")[2] == 4294967295
    with pytest.raises(UsageError, match="allowed: -2147483648 to 4294967295, or i:4294967296 for"):
        values("presence.refreshWatchers", "u", "e", "4294967296")
    for number in ("-2147483649", "2147483648", "9" * 60):
        shown = number if len(number) < 40 else "9" * 40 + "..."
        message = re.escape(
            f": parameter 3: {shown} is not allowed, since Kamailio takes it for another; allowed: "
            f"-2147483648 to 2147483647, or i:{shown} for other servers than Kamailio"
        )
        for method, *words in (("htable.seti", "a", "b"), ("pv.shvSet", "x", "int")):
            with pytest.raises(UsageError, match=f"^{method}{message}$"):
                values(method, *words, number)
            assert values(method, *words, f"i:{number}")[2] == int(number)
            assert values(method, *words, f"json:{number}")[2] == int(number)
    assert values("htable.sets", "a", "b", "9" * 60) == ["a", "b", "9" * 60]


def test_signatures() -> None:
    """Other methods get the types that the server tells; the last one may come again."""
    told = [["any"], ["any", "string"], ["any", "string", "int"]]
    assert values("shop.buy", "5", "6", "7", signatures=told) == ["5", 6, 7]
    told = [["any", "boolean", "nil or struct", "array", "double or int", "double or string"]]
    words = ("true", "null", "[1,{}]", "1.50", "1.50")
    assert values("shop.buy", *words, signatures=told) == [True, None, [1, {}], 1.5, 1.5]


def test_server_is_asked_only_if_it_matters() -> None:
    """Where all words can only be text, the server is not asked."""
    assert values("shop.buy", "x", "0049", "1.2.3.4", "", "5a", "-") == ["x", "0049", "1.2.3.4", "", "5a", "-"]
    for word in ("5", "-1.5", "true", "null", "[", "{}"):
        with pytest.raises(AssertionError, match="the server was asked"):
            values("shop.buy", word)


@pytest.mark.parametrize("told", [[], [["any"]], [["any", "any"]], [["any", "\x1b[2J"]]])
def test_guess(told: Signatures) -> None:
    """Where nobody knows the type, a number is a number, and all else is text."""
    words = ("5", "-5", "1.5", "12345678901234567890", "0049", "+49", "1e5", "true", "null", "[1]", "sip:x")
    expected = [5, -5, 1.5, 12345678901234567890, "0049", "+49", "1e5", "true", "null", "[1]", "sip:x"]
    assert values("shop.buy", *words, signatures=told) == expected


def test_prefixes() -> None:
    """A prefix says the type, whatever the method takes."""
    words = ("s:5", "s:s:x", "s:", "i:0042", "f:1.5", "f:2", 'json:{"a":[null,1.10]}', 'json:"x"', "json:true")
    expected = ["5", "s:x", "", 42, 1.5, 2, {"a": [None, 1.1]}, "x", True]
    assert values("htable.sets", *words) == expected
    assert values("x.y", "f:0.12345678901234567890") == [Decimal("0.12345678901234567890")]


@pytest.mark.parametrize(
    ("method", "word", "allowed"),
    [
        ("core.printi", "x", "a whole number"),
        ("core.printi", "1.5", "a whole number"),
        ("core.printi", "", "a whole number"),
        ("core.printi", "9" * 5000, "a whole number"),
        ("core.printi", "٣", "a whole number"),
        ("core.printi", "true", "a whole number"),
        ("htable.sets", "i:x", "a whole number"),
        ("htable.sets", "f:x", "a number"),
        ("htable.sets", "f:NaN", "a number"),
        ("htable.sets", "json:{", "JSON"),
        ("htable.sets", "json:\udcff", "JSON"),
    ],
)
def test_wrong_type(method: str, word: str, allowed: str) -> None:
    """A word that is not of its type is refused, before anything is sent."""
    with pytest.raises(UsageError, match=f"^{method}: parameter 1: .* is not allowed; allowed: {allowed}"):
        values(method, word)


def test_document() -> None:
    """All parameters may be one document of JSON."""
    assert parameters.document('["a",1.10]') == ["a", 1.1]
    assert parameters.document('{"a":1}') == {"a": 1}
    for text in ("5", "", "[", "null", '["\udcff"]'):
        with pytest.raises(UsageError, match=r"^--params: .*; allowed: "):
            parameters.document(text)
