"""Results of commands, and the data of faults: whether JSON can express them, and how they are written."""

import math
from decimal import Decimal
from typing import Any, Final

import msgspec

from jsonrpcs_tx.rpc.structures import to_text

SAFE: Final = frozenset((str, int, bool, type(None)))
"""The types whose every value JSON can express."""

_BYTES: Final = (bytes, bytearray, memoryview)
_AS_THEY_ARE: Final = (*_BYTES, Decimal)
"""Types that are not written out in a check, so that it sees their values."""

_encode = msgspec.json.Encoder(enc_hook=to_text).encode


def write(value: Any) -> bytes:
    """Write a value that JSON can express, a Decimal in it as text.

    @raise TypeError, ValueError, RecursionError: JSON cannot express it.
    """
    written = _encode(value)
    if type(value) not in SAFE:
        check_result(value)
    return written


def check_result(value: Any, bytes_too: bool = False) -> None:
    """Check that JSON can express a result. msgspec also writes what it cannot: bytes as Base64, NaN as null, two keys
    of different types alike, and C{Raw} verbatim.

    @param value: what a command returned, and msgspec could write, so that it is finite.
    @param bytes_too: it may hold bytes, which are written as Base64.
    @raise TypeError, ValueError, RecursionError: it holds something that JSON cannot express.
    """
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                _check_keys([*value])
            if type(item) not in SAFE:
                check_result(item, bytes_too)
    elif kind is list or kind is tuple:
        for item in value:
            if type(item) not in SAFE:
                check_result(item, bytes_too)
    elif kind is float:
        if not math.isfinite(value):
            raise ValueError(f"a result cannot hold {value}: JSON has no such number")
    elif kind is Decimal:
        if not value.is_finite():
            raise ValueError(f"a result cannot hold the Decimal {value}: JSON has no such number")
    elif kind in _BYTES:
        if not bytes_too:
            raise TypeError(f"a result cannot hold {kind.__name__}, unless its annotation says so: then it is Base64")
    elif kind not in SAFE:
        # A set, an enum, a date, an object with fields: what it is written as. Raw and UNSET (MISSING) are refused.
        check_result(_to_builtins(value), bytes_too)


def check_result_with_bytes(value: Any) -> None:
    """Check a result that may hold bytes; see L{check_result}."""
    check_result(value, bytes_too=True)


def _check_keys(keys: list[Any]) -> None:
    """@raise TypeError, ValueError: the keys of an object, which need not be strings, cannot be told apart in JSON."""
    written = _to_builtins(keys)
    check_result(written)
    if len({*map(str, written)}) < len(keys):
        raise ValueError("a result cannot hold an object with the same key twice")


def _to_builtins(value: Any) -> Any:
    return msgspec.to_builtins(value, builtin_types=_AS_THEY_ARE, enc_hook=to_text)
