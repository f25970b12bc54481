"""Results of commands: whether JSON can say them."""

import math
from typing import Any, Final

import msgspec

SAFE: Final = frozenset((str, int, bool, type(None)))
"""The types of which JSON can say every value."""

_BYTES: Final = (bytes, bytearray, memoryview)


def check_result(value: Any) -> None:
    """Check that JSON can say a result. msgspec also writes what it cannot: bytes as Base64, NaN as null, two keys of
    different types alike, and C{Raw} verbatim.

    @param value: what a command returned, and msgspec could write, so that it is finite.
    @raise TypeError, ValueError, RecursionError: it holds something that JSON cannot say.
    """
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                _check_keys([*value])
            if type(item) not in SAFE:
                check_result(item)
    elif kind is list or kind is tuple:
        for item in value:
            if type(item) not in SAFE:
                check_result(item)
    elif kind is float:
        if not math.isfinite(value):
            raise ValueError(f"a result cannot hold {value}: JSON has no such number")
    elif kind in _BYTES:
        raise TypeError(f"a result cannot hold {kind.__name__}; allowed: what JSON can say")
    elif kind not in SAFE:
        # A set, an enum, a date, an object with fields: what it is written as. Raw and UNSET (MISSING) are refused.
        check_result(msgspec.to_builtins(value, builtin_types=_BYTES))


def _check_keys(keys: list[Any]) -> None:
    """@raise TypeError, ValueError: the keys of an object, which need not be strings, cannot be told apart in JSON."""
    written = msgspec.to_builtins(keys, builtin_types=_BYTES)
    check_result(written)
    if len({*map(str, written)}) < len(keys):
        raise ValueError("a result cannot hold an object with the same key twice")
