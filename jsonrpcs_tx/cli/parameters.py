"""Converts the words of a command line to parameters of the types that the method takes."""

import re

from jsonrpcs_tx.catalogue import find
from jsonrpcs_tx.cli.exits import UsageError
from jsonrpcs_tx.client.documents import NotJson, decode

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Set
    from typing import TypeAlias

    from jsonrpcs_tx.client.core import Params

    Ask: TypeAlias = Callable[[str], list[list[str]]]
    """Asks the server for the signatures of a method; empty if it does not know them."""
    Types: TypeAlias = Set[str]
    """The types that a parameter may have, as in C{system.methodSignature}."""

_ALLOWED = {
    "int": "a whole number",
    "double": "a number",
    "boolean": "true or false",
    "nil": "null",
    "array": "a JSON array",
    "struct": "a JSON object",
    "string": "text",
}
"""The types in signatures, and what they mean."""

_CATALOGUE = {
    "int": {"int", "int32"},
    "uint": {"int", "uint32"},
    "float": {"double"},
    "str": {"string"},
    "any": {"string"},  # a server that expects a number reads it as one
    "int/str": {"double", "string", "int32"},
}
"""The types of the catalogue as types of signatures, with those of L{_RANGES}."""

_RANGES = {"int32": range(-(2**31), 2**31), "uint32": range(-(2**31), 2**32)}
"""The whole numbers that Kamailio can read for its commands. It reads all others as some number of 32 bits."""

_PREFIXES = {"s": {"string"}, "i": {"int"}, "f": {"double"}, "json": set(_ALLOWED) - {"string"}}
_UNKNOWN = {"double", "string"}
"""The types of a parameter about which nothing is known: a number if the word looks like one, otherwise text."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
"""A word that looks like a number. 0049 does not: it is the start of a telephone number."""

_NO_TEXT = re.compile(rf"{_NUMBER.pattern}|true|false|null|[\[{{].*", re.DOTALL)
"""A word that might be something other than text."""

_LEADING_ZEROS = re.compile(r"(?<=^)0+(?=[0-9])|(?<=^-)0+(?=[0-9])")
"""JSON does not allow them."""

_LONGEST = 40
"""Characters of a word in a message."""


def values(method: str, words: "Sequence[str]", ask: "Ask") -> list[object]:
    """Convert words to parameters.

    @param ask: called if the catalogue does not have the method, and a word may be something other than text.
    @raise UsageError: a word does not have the type that its prefix or the method needs.
    """
    types_at = _types(method, words, ask) if words else _unknown
    return [_value(f"{method}: parameter {place + 1}", word, types_at(place)) for place, word in enumerate(words)]


def document(text: str) -> "Params":
    """Read the parameters from one JSON document.

    @raise UsageError: it is not JSON, or neither an array nor an object.
    """
    try:
        value = decode(text.encode(errors="surrogateescape"))
    except NotJson as error:
        raise UsageError(f"--params: {error}; allowed: a JSON array or object") from None
    if not isinstance(value, list | dict):
        raise UsageError("--params: it is neither an array nor an object; allowed: one of these in JSON")
    return value


def _types(method: str, words: "Sequence[str]", ask: "Ask") -> "Callable[[int], Types]":
    """A function that returns the types of a method's parameter by its position."""
    entry = find(method)
    if entry is None:
        may_matter = any(_NO_TEXT.fullmatch(word) for word in words)
        longest = max(ask(method), key=len, default=[])[1:] if may_matter else []
        if not longest:
            return _unknown
        types = [set(words.split(" or ")) & _ALLOWED.keys() or _UNKNOWN for words in longest]
        return lambda place: types[min(place, len(types) - 1)]  # the last one may be repeated

    def of_entry(place: int) -> "Types":
        parameter = entry.parameter(place)
        if parameter is None:
            return _UNKNOWN
        if parameter.type == "int/str" and "str" in words[:place]:
            return {"string"}
        return _CATALOGUE[parameter.type]

    return of_entry


def _unknown(place: int) -> "Types":
    return _UNKNOWN


def _value(place: str, word: str, types: "Types") -> object:
    """Convert a word.

    @param place: the name of the parameter in messages.
    @raise UsageError: the word does not have one of the types.
    """
    prefix, colon, rest = word.partition(":")
    if colon and prefix in _PREFIXES:
        word, types = rest, _PREFIXES[prefix]
        if prefix == "s":
            return word
    if "string" in types:
        is_number = not types.isdisjoint(("double", "int")) and _NUMBER.fullmatch(word)
        return _fitting(place, decode(word.encode()), types) if is_number else word
    try:
        value = decode(_LEADING_ZEROS.sub("", word).encode(errors="surrogateescape"))
    except NotJson:
        pass
    else:
        if prefix == "json" or not types.isdisjoint(_types_of(value)):
            return _fitting(place, value, types)
    allowed = (
        "JSON"
        if prefix == "json" and colon
        else " or ".join(meaning for kind, meaning in _ALLOWED.items() if kind in types)
    )
    shown = _shown(word)
    raise UsageError(f"{place}: {shown!r} is not allowed; allowed: {allowed}, or s:{shown} for text")


def _fitting(place: str, value: object, types: "Types") -> object:
    """A value that Kamailio can read.

    @raise UsageError: it is a whole number that Kamailio would take for another one.
    """
    for kind, numbers in _RANGES.items():
        if kind in types and type(value) is int and value not in numbers:
            shown = _shown(str(value))
            allowed = f"{numbers.start} to {numbers.stop - 1}, or i:{shown} for other servers than Kamailio"
            raise UsageError(
                f"{place}: {shown} is not allowed, since Kamailio takes it for another; allowed: {allowed}"
            )
    return value


def _shown(word: str) -> str:
    """A word for a message."""
    return word if len(word) <= _LONGEST else f"{word[:_LONGEST]}..."


def _types_of(value: object) -> "Types":
    """The types that a value fits."""
    for kind, types in _OF_JSON:
        if isinstance(value, kind):
            return types
    return {"double"}  # a float, or a Decimal


_OF_JSON: "tuple[tuple[type, Types], ...]" = (
    (str, {"string"}),
    (bool, {"boolean"}),  # before int, of which it is a subclass
    (int, {"int", "double"}),
    (list, {"array"}),
    (dict, {"struct"}),
    (type(None), {"nil"}),
)
