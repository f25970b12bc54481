"""The layout for people is Kamailio's, to the byte."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.rpc.pretty import MAX_LENGTH, MAX_TOKENS, Layout
from tests.support import DATA

layout = Layout(elements_on_lines=False).document
newer = Layout(elements_on_lines=True).document

CAPTURES = [
    capture
    for capture in map(json.loads, (DATA / "pretty-captures.jsonl").read_text().splitlines())
    if capture["reply"]  # a killed server gave none
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)


def compact(value: Any) -> bytes:
    return msgspec.json.encode(value)


def exact(text: str) -> Any:
    """A reply with its numbers as they are written, as the server has them from its commands."""
    return json.loads(text, parse_float=lambda literal: msgspec.Raw(literal.encode()))


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: f"{capture['method']} {capture['params']}"[:60])
def test_captures(capture: dict[str, Any]) -> None:
    """A recorded reply, written compactly and laid out, is the recorded text again."""
    assert layout(compact(exact(capture["reply"]))).decode() == capture["reply"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "{\n}"),
        ({"a": {}}, '{\n\t"a":\t{\n\t}\n}'),
        ({"a": []}, '{\n\t"a":\t[]\n}'),
        ({"a": [1, "b"]}, '{\n\t"a":\t[1, "b"]\n}'),
        ([], "[]"),
        ([[], [[]]], "[[], [[]]]"),
        ({"a": [{}, []]}, '{\n\t"a":\t[{\n\t\t}, []]\n}'),
        ({"a": {"b": {}, "c": []}}, '{\n\t"a":\t{\n\t\t"b":\t{\n\t\t},\n\t\t"c":\t[]\n\t}\n}'),
        ({"a": [[{"b": 1}]], "c": None}, '{\n\t"a":\t[[{\n\t\t\t\t"b":\t1\n\t\t\t}]],\n\t"c":\tnull\n}'),
        ({"{": "a\nb\\"}, '{\n\t"{":\t"a\\nb\\\\"\n}'),
        ({"a": "{}[],:"}, '{\n\t"a":\t"{}[],:"\n}'),
        ({"a": '\\" ,'}, '{\n\t"a":\t"\\\\\\" ,"\n}'),
        ({"ä": "€"}, '{\n\t"ä":\t"€"\n}'),
    ],
)
def test_layout(value: Any, text: str) -> None:
    """Empty and nested values, and strings that look like structure, are laid out as Kamailio does."""
    assert layout(compact(value)).decode() == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "[\n]"),
        ({"a": []}, '{\n\t"a":\t[\n\t]\n}'),
        ({"a": [1, "b"]}, '{\n\t"a":\t[\n\t\t1,\n\t\t"b"\n\t]\n}'),
        ([{}, [[]]], "[\n\t{\n\t},\n\t[\n\t\t[\n\t\t]\n\t]\n]"),
        ([{"a": [{"b": None}]}], '[\n\t{\n\t\t"a":\t[\n\t\t\t{\n\t\t\t\t"b":\tnull\n\t\t\t}\n\t\t]\n\t}\n]'),
        ({"a": "{}[],:"}, '{\n\t"a":\t"{}[],:"\n}'),
    ],
)
def test_newer_layout(value: Any, text: str) -> None:
    """Since version 6 each element of an array is on a line of its own."""
    assert newer(compact(value)).decode() == text


@pytest.mark.parametrize("elements_on_lines", [False, True])
def test_array_of_parts(elements_on_lines: bool) -> None:
    """An array of elements that were laid out one by one looks as if it had been laid out at once."""
    layout = Layout(elements_on_lines)
    elements: list[Any] = [{"a": [1, {}]}, 2, [[], [3]]]
    parts = [layout.element(compact(element)) for element in elements]
    assert layout.array(parts) == layout.document(compact(elements))


def test_too_long() -> None:
    """A document that would take long to lay out stays compact."""
    longest = compact(["x" * (MAX_LENGTH - 6), 1])
    assert len(longest) == MAX_LENGTH
    assert layout(longest) == longest.replace(b",", b", ")
    assert layout(longest.replace(b"1]", b"11]")) == longest.replace(b"1]", b"11]")


@pytest.mark.parametrize("element", [b"1", b"[]", b'{"a":1}', b'""'])
@pytest.mark.parametrize("layout", [layout, newer])
def test_too_many_values(element: bytes, layout: Callable[[bytes], bytes]) -> None:
    """A document of very many short values stays compact: it would take several times as long as one of long ones. The
    characters between values do not count where they are part of a text.
    """
    size = MAX_LENGTH // (len(element) + 1)
    many = b"[%b]" % b",".join([element] * (size - 1))
    assert len(many) < MAX_LENGTH
    assert layout(many) == many
    fewer = b"[%b]" % b",".join([element] * (MAX_TOKENS // 6 - 2))
    assert layout(fewer) != fewer
    text = b'{"a":"%b"}' % b",".join([b"1"] * 170_000)
    assert layout(text) == b"{\n\t" + text[1:-1].replace(b":", b":\t") + b"\n}"


@pytest.mark.parametrize(
    "bomb",
    [b"[" * 900 + b",".join([b"1"] * 20_000) + b"]" * 900, b"[%b]" % b",".join([b"[" * 900 + b"]" * 900] * 150)],
    ids=["flat", "nested"],
)
def test_bomb(bomb: bytes) -> None:
    """A small document that would become a huge one stays compact."""
    assert len(bomb) < MAX_LENGTH
    assert newer(bomb) == bomb


@pytest.mark.slow
@given(JSON)
def test_value_is_kept(value: Any) -> None:
    """Whatever is laid out says the same as before."""
    assert json.loads(layout(compact(value))) == json.loads(compact(value))
    assert json.loads(newer(compact(value))) == json.loads(compact(value))
