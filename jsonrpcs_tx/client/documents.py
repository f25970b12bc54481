"""Encodes and decodes JSON without losing digits of numbers. Does no I/O."""

import json

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from decimal import Decimal

_SHORT = 16
"""Characters of the longest number without an exponent that a float keeps well enough to be written the same again."""


class NotJson(ValueError):
    """A document is not JSON; the message says why."""


def encode(value: object) -> str:
    """A value as JSON, without blanks. A C{Decimal} is written as a number, with all its digits.

    @raise ValueError: JSON cannot express it: NaN, an infinity, a lone surrogate, a structure that holds itself or is
        too deep.
    @raise TypeError: JSON has no such type.
    """
    text = write(value)
    if not text.isascii():
        text.encode()  # a lone surrogate
    return text


def write(value: object) -> str:
    """The same, but lone surrogates, which replies may have, are allowed. The caller has to escape them."""
    try:
        return "".join(_chunks(value, 0))
    except _HasDecimal:
        return _with_decimals(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def decode(document: bytes) -> object:
    """Decode a document. An integer may have any size; a number with a point or an exponent is a float if that is exact
    enough to be written the same again, otherwise a C{Decimal}.

    @raise NotJson: it is not JSON, or has an integer of thousands of digits; NaN and infinities are not JSON.
    """
    try:
        text = document.decode()
        value, end = _scan(text, 0)
        if end != len(text):
            raise StopIteration(end)
    except StopIteration:
        return _decode_spaced(text)
    except RecursionError:
        raise NotJson("it is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are as well
        raise NotJson(str(error)) from None
    return value


def _decode_spaced(text: str) -> object:
    """Decode a document with blanks around it."""
    try:
        return _decoder.decode(text)
    except RecursionError:
        raise NotJson("it is nested too deeply") from None
    except ValueError as error:
        raise NotJson(str(error)) from None


def number(text: str) -> "float | Decimal":
    """The value of a number with a point or an exponent: a float if that is exact enough, otherwise a C{Decimal}.

    @raise NotJson: its exponent is out of range.
    """
    inexact = float(text)
    if len(text) <= _SHORT and "e" not in text and "E" not in text:
        return inexact
    from decimal import Decimal, DecimalException  # few replies need it, and it takes 1 ms

    try:
        exact = Decimal(text)
    except DecimalException:
        raise NotJson(f"the number {text[:40]} is out of range") from None
    return inexact if Decimal(repr(inexact)) == exact else exact


def _no_constant(text: str) -> object:
    raise NotJson(f"{text} is not JSON")


class _HasDecimal(Exception):
    """The fast encoder has met a Decimal."""


def _other(value: object) -> object:
    if type(value).__name__ == "Decimal":
        raise _HasDecimal
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _with_decimals(value: object) -> str:
    """Encode a value that contains a Decimal, with the result that the fast encoder would give."""
    from decimal import Decimal

    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} cannot be written as JSON")
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_key(key)}:{_with_decimals(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_with_decimals, value)) + "]"
    return write(value)


def _key(key: object) -> str:
    """A member's name as the fast encoder writes it."""
    return write({key: 0})[1:-2].removesuffix(":")


def _encoder() -> "Callable[[object, int], Iterable[str]]":
    """The fast encoder. The standard library makes a new one for each call, which takes as long as the encoding."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # not CPython
        encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_other)
        return lambda value, _: encoder.iterencode(value)
    return make(None, _other, json.encoder.encode_basestring, None, ":", ",", False, False, False)  # type: ignore[no-any-return] # noqa: FBT003 # C takes no names


_chunks = _encoder()
_decoder = json.JSONDecoder(parse_float=number, parse_constant=_no_constant)
_scan = _decoder.scan_once  # type: ignore[attr-defined] # typeshed does not know it
