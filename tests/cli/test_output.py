"""How results are printed."""

import json
from decimal import Decimal
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.cli import formats, yaml
from jsonrpcs_tx.cli.exits import UsageError
from jsonrpcs_tx.cli.jsonlines import json_line
from jsonrpcs_tx.cli.people import People
from jsonrpcs_tx.client.documents import decode

TEXTS = st.text(st.characters())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)

HOSTILE = "\x1b[2J\x9b\u202e\ud800\x07\r\n\U000e0001"


def people(result: object) -> str:
    return People(colours=False).text(result)


def test_plain_results() -> None:
    """What is plain is printed as it is, text with all its lines."""
    assert people("a\nb") == "a\nb\n"
    assert people("") == "\n"
    assert people(True) == "true\n"
    assert people(None) == "null\n"
    assert people(Decimal("1.50")) == "1.50\n"
    assert people({}) == "{}\n"
    assert people([]) == "[]\n"


def test_tree() -> None:
    """Members are lines, and what they hold is indented."""
    result = {"now": "Sat", "up": {"seconds": 5, "parts": []}, "list": [1, "a", [2, 3], {"b": {"c": 1}}]}
    assert people(result) == (
        "now: Sat\nup:\n  seconds: 5\n  parts: []\nlist:\n  1\n  a\n  - 2\n    3\n  - b:\n      c: 1\n"
    )


def test_table() -> None:
    """A list of equal records is a table, with numbers to the right."""
    records = [{"name": "1001", "value": 5, "type": "int"}, {"name": "7", "type": "str", "value": 12345}]
    assert people(records) == "name  value  type\n1001      5  int\n7     12345  str\n"
    assert people({"slot": records}) == "slot:\n  name  value  type\n  1001      5  int\n  7     12345  str\n"


def test_wrapped_records() -> None:
    """Records may be the only members of objects, as Kamailio has them, if all have the same name."""
    assert people([{"DEST": {"URI": "sip:a", "P": 1}}, {"DEST": {"URI": "sip:b", "P": 22}}]) == (
        "DEST:\n  URI     P\n  sip:a   1\n  sip:b  22\n"
    )
    assert people([{"A": {"x": 1}}, {"B": {"x": 2}}]) == "- A:\n    x: 1\n- B:\n    x: 2\n"
    assert people([{"A": {"x": 1}}, {"x": 2}]) == "- A:\n    x: 1\n- x: 2\n"


def test_unequal_records() -> None:
    """Records that differ, or hold more than plain values, are no table."""
    assert people([{"a": 1}, {"b": 2}]) == "- a: 1\n- b: 2\n"
    assert people([{"a": [1]}, {"a": [2]}]) == "- a:\n    1\n- a:\n    2\n"
    assert people([{"a": 1}, 5]) == "- a: 1\n5\n"


def test_colours() -> None:
    """Colours change nothing but the colour."""
    painted = People(colours=True).text({"a": [{"b": 1}, {"b": 2}]})
    assert painted == "\x1b[36ma\x1b[0m:\n  \x1b[1mb\x1b[0m\n  1\n  2\n"


def test_format() -> None:
    """Each %v stands for the next plain value, again until none is left."""
    result = {"a": 1, "b": [True, None, "x y"], "c": {"d": Decimal("1.50")}}
    assert formats.formatter(r"%v\n")(result) == "1\ntrue\nnull\nx y\n1.50\n"
    assert formats.formatter(r"%v=%v;")(result) == "1=true;null=x y;1.50=;"
    assert formats.formatter(r"%%v %v 100% \t\\n\q|")([1]) == "%v 1 100% \t\\n\\q|"
    assert formats.formatter("%v")([]) == ""
    with pytest.raises(UsageError, match="there is no %v in 'x'"):
        formats.formatter("x")


def test_hostile_text() -> None:
    """Nothing that a server sends gets to a terminal but printable characters, wherever it is."""
    result = {HOSTILE: HOSTILE, "list": [HOSTILE], "table": [{HOSTILE: HOSTILE}, {HOSTILE: "x"}]}
    for text in (people(result), people(HOSTILE), yaml.text(result), formats.formatter("%v ")(result)):
        assert [line for line in text.split("\n") if not line.isprintable()] == []
    line = json_line(result)
    assert line[:-1].isprintable()
    assert json.loads(line) == result


@given(VALUES)
def test_json_is_exact(value: Any) -> None:
    """JSON says exactly what the server has said, on one line."""
    line = json_line(value)
    assert line.count("\n") == 1
    assert decode(line.encode()) == value


@given(VALUES)
def test_yaml_is_exact(value: Any) -> None:
    """A reader of YAML gets what the server has said."""
    assert pyyaml.safe_load(yaml.text(value)) == value


@pytest.mark.parametrize(
    "word", ["yes", "No", "null", "~", "1", "1.5", "1e5", "0x1f", "1_000", "2026-11-28", "a: b", "- a"]
)
def test_yaml_keeps_text(word: str) -> None:
    """Text that YAML would take for something else is quoted."""
    assert pyyaml.safe_load(yaml.text({word: [word]})) == {word: [word]}


def test_yaml_is_plain() -> None:
    """What needs no quotes has none, and lists and objects are lines."""
    assert yaml.text({"a": [1, {"b": "x y", "c": []}], "d": "sip:a"}) == (
        'a:\n  - 1\n  - b: x y\n    c: []\nd: "sip:a"\n'
    )


def test_deep_results() -> None:
    """What is nested as deeply as replies may be is printed, or refused as an error of its own."""
    deep: object = "x"
    for _ in range(150):
        deep = [{"a": deep}]
    for write in (people, yaml.text, json_line, formats.formatter("%v")):
        assert "x" in write(deep)


def test_hostile_width() -> None:
    """One long cell does not widen the rows of all others, and what is nested deep is not indented for ever: a reply of
    megabytes must not become gigabytes.
    """
    rows = [{"a": "x" * 50_000, "b": 1}, *({"a": "", "b": 1} for _ in range(5000))]
    deep: Any = [1] * 5000
    for _ in range(150):
        deep = [deep]
    for write in (People(colours=False).text, yaml.text):
        for result in (rows, deep):
            assert len(write(result)) < 2_000_000
    assert "x" * 50_000 + "  1" in People(colours=False).text(rows)


def test_deep_yaml_is_exact() -> None:
    """What is nested too deep for lines is YAML all the same."""
    value: Any = {"a": ["b c", 1.5, None, True, "\u202e", {}, []], "d": "no"}
    for _ in range(25):
        value = {"key": [value, "yes"]}
    assert pyyaml.safe_load(yaml.text(value)) == value
