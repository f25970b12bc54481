"""What is asked of results: paths, conditions, changes."""

from decimal import Decimal

import pytest

from jsonrpcs_tx.cli.changes import Changes
from jsonrpcs_tx.cli.conditions import Condition
from jsonrpcs_tx.cli.exits import UsageError
from jsonrpcs_tx.cli.paths import plain_values, values_at

RESULT = {"a": {"b": [1, {"c": "x"}], "b.c": 2}, "core.requests": 5, "n": None, "list": [], "*": 7}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", [RESULT]),
        ("a.b.0", [1]),
        ("a.b.1.c", ["x"]),
        ("a.b.c", [2]),
        ("core.requests", [5]),
        ("n", [None]),
        ("list", [[]]),
        ("a.b.*", [1, {"c": "x"}]),
        ("a.*", [[1, {"c": "x"}], 2]),
        ("a.b.*.c", ["x"]),
        ("*", [7]),
        ("list.*", []),
        ("a.b.2", []),
        ("a.b.-1", []),
        ("a.b.\u0660", [1]),
        ("a.b." + "9" * 5000, []),
        ("a.x", []),
        ("n.x", []),
        (".a", []),
    ],
)
def test_paths(path: str, found: list[object]) -> None:
    """A path leads to values, also where names have dots."""
    assert values_at(RESULT, path) == found


def test_plain_values() -> None:
    """Each plain value has a path, and so has what is empty."""
    assert dict(plain_values(RESULT)) == {
        "a.b.0": 1,
        "a.b.1.c": "x",
        "a.b.c": 2,
        "core.requests": 5,
        "n": None,
        "list": [],
        "*": 7,
    }
    assert dict(plain_values(5)) == {"": 5}


@pytest.mark.parametrize(
    "text",
    [
        "a=5",
        "a == 5",
        "a=5.0",
        "a<6",
        "a<=5",
        "a>4.9",
        "a>=5",
        "a!=6",
        "a!=x",
        "t=x y",
        "t~x",
        "t!=x",
        "l.*>0",
        "~x",
        "n=null",
        "b=true",
    ],
)
def test_condition_holds(text: str) -> None:
    """Numbers are compared as numbers, all else as text."""
    assert Condition(text).failure({"a": 5, "t": "x y", "l": [1, 2], "n": None, "b": True}) is None


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("a=6", "a is 5, not =6"),
        ("a < 5", "a is 5, not <5"),
        ("a!=5.00", "a is 5, not !=5.00"),
        ("t>1", "t is x, not >1"),
        ("x=1", "x is missing"),
        ("l.*<2", "l.* is 2, not <2"),
        ("=x", 'the result is {"a":5,"t":"x","l":[1,2]}, not =x'),
        ("t=\x1b", "t is x, not =\\x1b"),
    ],
)
def test_condition_fails(text: str, failure: str) -> None:
    """What is not so is told in words."""
    assert Condition(text).failure({"a": 5, "t": "x", "l": [1, 2]}) == failure


@pytest.mark.parametrize("text", ["", "a", "a<x", "a>", "a<=nan"])
def test_no_condition(text: str) -> None:
    """A text that is not a condition is refused."""
    with pytest.raises(UsageError, match=r"; allowed: "):
        Condition(text)


def test_measured() -> None:
    """A number that a condition is about can be measured; text, and what is several, cannot."""
    result = {"a": 5, "d": Decimal("1.50"), "t": "5", "b": True, "l": [1, 2]}
    measured = [Condition(f"{path}!=x").measured(result) for path in ("a", "d", "t", "b", "l", "l.*", "l.0", "x", "")]
    assert measured == [("a", 5), ("d", Decimal("1.50")), None, None, None, None, ("l.0", 1), None, None]


def test_changes() -> None:
    """Of numbers the difference and the rate are told, of others what they were, and what has come and gone."""
    changes = Changes()
    assert list(changes.of({"n": 1, "t": "a", "gone": 1, "same": [1]}, 100.0)) == [
        ("n", "1", ""),
        ("t", "a", ""),
        ("gone", "1", ""),
        ("same.0", "1", ""),
    ]
    assert list(changes.of({"n": 11, "t": "b", "same": [1], "new": "\x1b"}, 104.0)) == [
        ("n", "11", "+10  +2.5/s"),
        ("t", "b", "was a"),
        ("same.0", "1", ""),
        ("new", "\\x1b", "new"),
        ("gone", "1", "gone"),
    ]
    assert next(changes.of({"n": 123467}, 104.5)) == ("n", "123467", "+123456  +247000/s")
    big = 10**400
    assert next(changes.of({"n": big}, 105.5)) == ("n", str(big), f"+{big - 123467}  +1.00E+400/s")
    assert next(changes.of({"n": True}, 106.0)) == ("n", "true", f"was {big}")
