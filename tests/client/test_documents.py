"""JSON that keeps numbers exact, both ways."""

import contextlib
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.client.documents import NotJson, decode, encode

DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20)


@given(nested(PLAIN))
def test_there_and_back(value: Any) -> None:
    """What is written is read again, and is JSON for others."""
    text = encode(value)
    assert decode(text.encode()) == value == json.loads(text)


def exact(text: str) -> Any:
    """What a document says to a reader that takes every fraction as a Decimal."""
    return json.loads(text, parse_float=Decimal)


@given(nested(st.none() | st.booleans() | st.integers() | TEXTS | DECIMALS))
def test_decimals(value: Any) -> None:
    """A Decimal is written as the number that it is, and read so that it can be written again, whatever is around."""
    assert exact(encode(value)) == value
    assert exact(encode(decode(encode(value).encode()))) == value


@given(nested(PLAIN))
def test_both_ways_to_write(value: Any) -> None:
    """What is around a Decimal is written as without one."""
    assert encode([value, Decimal(1)]) == f"[{encode(value)},1]"


@given(nested(PLAIN), st.text(" \t\r\n"), st.text(" \t\r\n"))
def test_blanks_around(value: Any, before: str, after: str) -> None:
    """Blanks around a document do not matter."""
    assert decode(f"{before}{encode(value)}{after}".encode()) == value


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.1", 0.1),
        ("1.500000", 1.5),
        ("1e3", 1000.0),
        ("-0.0", -0.0),
        ("123456789.123456789", Decimal("123456789.123456789")),
        ("1e400", Decimal("1e400")),
        ("1e-400", Decimal("1e-400")),
        ("0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_numbers(text: str, number: object) -> None:
    """A float where it is exact enough to be written the same again, else a Decimal; integers as they are."""
    decoded = decode(text.encode())
    assert (type(decoded), repr(decoded)) == (type(number), repr(number))


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_any_number_is_exact(number: Decimal) -> None:
    """The text of a number is read as exactly that number, or as the float that is written so."""
    decoded: Any = decode(str(number).encode())
    assert Decimal(repr(decoded) if isinstance(decoded, float) else decoded) == number


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b" ", b"NaN", b"[Infinity]", b"-Infinity", b"{", b"[1,]", b"1 2", b"'x'", b"\xff", b'"\x01"', b"nul"),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"1e99999999999999999999"),
    ],
    ids=lambda document: repr(document[:20]),
)
def test_not_json(document: bytes) -> None:
    """What is not JSON is refused, however deep or long."""
    with pytest.raises(NotJson):
        decode(document)


@given(st.binary())
def test_any_bytes(document: bytes) -> None:
    """Any bytes are decoded or refused."""
    with contextlib.suppress(NotJson):
        decode(document)


def cyclic() -> list[Any]:
    whole: list[Any] = []
    whole.append(whole)
    return whole


def deep(inner: Any) -> Any:
    for _ in range(100_000):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    "value",
    [
        *(
            float("nan"),
            [float("inf")],
            Decimal("NaN"),
            [Decimal("-Infinity")],
            "\ud800",
            {"\udfff": 1},
            b"x",
            {1},
            object(),
        ),
        *(cyclic(), deep(1), deep(Decimal(1)), [Decimal(1), "\ud800"], [Decimal(1), b"x"], {(1,): 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_form_in_json(value: Any) -> None:
    """What JSON cannot express is refused."""
    with pytest.raises((ValueError, TypeError)):
        encode(value)
