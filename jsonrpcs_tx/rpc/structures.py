"""Values that are more than a string or a number: what an annotation says of them. msgspec converts and checks them."""

import ipaddress
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import inspect

from jsonrpcs_tx.rpc.faults import InvalidParams

MAX_DEPTH: Final = 100
"""Levels of nested arrays and objects in one parameter whose annotation sets no limit of its own."""

MAX_HASHED: Final = 1000
"""Values in one parameter that makes sets, or dictionaries without strings as keys. Such values can be chosen so that
their hashes collide; then the time that a set takes grows with the square of their number.
"""

MAX_ANNOTATIONS: Final = 256
"""Size of a cache from annotations to whether they hold bytes: commands have many that are alike."""

MAX_REASON: Final = 200
"""Characters of the reason for which a value is refused; a program's own check may say anything."""

_PLACE: Final = re.compile(r"(.*?)(?: - at (?:`(key)` in )?`\$\[0\](.*)`)?", re.DOTALL)

TEXTS: Final[dict[type, Callable[[str], object]]] = {
    **{kind: kind for kind in (pathlib.Path, pathlib.PurePath, pathlib.PurePosixPath, pathlib.PosixPath)},
    **{kind: kind for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address)},
    **{kind: kind for kind in (ipaddress.IPv4Network, ipaddress.IPv6Network)},
}
"""Types that msgspec leaves to us, which are strings in JSON: how each is made from one."""

ALLOWED: Final = (
    "str, Text, int, float, bool, None, and what msgspec converts: list[int], dict[str, float], Literal, Enum, "
    "TypedDict, dataclasses, attrs, msgspec.Struct, datetime, Decimal, UUID, bytes, Path, IP addresses; unions of these"
)
"""The annotations that parameters may have, for messages."""

_SAFE_TO_HASH: Final = (
    inspect.NoneType,
    inspect.BoolType,
    inspect.StrType,
    inspect.BytesType,
    inspect.EnumType,
    inspect.LiteralType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
    inspect.TimeDeltaType,
)
_BYTES: Final = (inspect.BytesType, inspect.ByteArrayType, inspect.MemoryViewType)
_ARRAYS: Final = (
    inspect.ListType,
    inspect.SetType,
    inspect.FrozenSetType,
    inspect.VarTupleType,
    inspect.TupleType,
    inspect.NamedTupleType,
)
_STRUCTS: Final = (inspect.DictType, inspect.TypedDictType, inspect.DataclassType, inspect.StructType)
_JSON_TYPES: Final[dict[type, str]] = {
    **dict.fromkeys(_ARRAYS, "array"),
    **dict.fromkeys(_STRUCTS, "struct"),
    inspect.NoneType: "nil",
    inspect.BoolType: "boolean",
    inspect.IntType: "int",
    inspect.FloatType: "double",
    inspect.AnyType: "any",
}
"""What they are in JSON, in XML-RPC's terms; all other types are strings."""

_BOUNDS: Final = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"), ("multiple_of", "a multiple of"))


class Structure:
    """What values an annotation takes, and how they are converted; worked out once, when a command is added.

    @param annotation: of a parameter.
    @ivar annotation: the same.
    @ivar json_types: the JSON types that it takes, in XML-RPC's terms; empty: any.
    @ivar allowed: what it takes in words, for messages.
    """

    def __init__(self, annotation: Any) -> None:
        """@raise TypeError: neither msgspec nor this module knows how to convert values to it."""
        info = _known(annotation)
        survey = _Survey(info)
        if survey.unknown is not None:
            raise TypeError(f"{survey.unknown!r} is not known")
        self.json_types: frozenset[str] = frozenset(_json_types(info))
        self.allowed: str = _describe(info)
        self.annotation = annotation
        self._unbounded = survey.unbounded
        self._hashes = survey.hashes
        # Of a structure msgspec keeps how it is read; of another annotation it would find that out at each call.
        self._holder = msgspec.defstruct("Holder", [("value", annotation)], array_like=True, gc=False)

    def convert(self, value: object) -> object:
        """The value that the annotation describes.

        @param value: as it came in JSON.
        @raise ValueError: it does not fit; the message says where and why.
        """
        if self._unbounded or self._hashes:
            self._check_size(value)
        try:
            return msgspec.convert([value], self._holder, dec_hook=_from_text, str_keys=True).value  # type: ignore[attr-defined] # its one field
        except msgspec.ValidationError as error:
            raise ValueError(_reason(error)) from None

    def _check_size(self, value: object) -> None:
        """@raise ValueError: it is nested too deeply, or holds more values than may be hashed."""
        level = [value]
        count = depth = 0
        while level := [part for item in level for part in _items(item)]:
            depth += 1
            count += len(level)
            if depth > MAX_DEPTH and self._unbounded:
                raise ValueError(f": nested too deeply; allowed: up to {MAX_DEPTH} levels")
            if count > MAX_HASHED and self._hashes:
                raise ValueError(f": too many values; allowed: up to {MAX_HASHED:,}")


def to_text(value: Any) -> str:
    """The text for a value that msgspec leaves to us.

    @raise TypeError: it is of no such type, and JSON cannot express it.
    """
    if isinstance(value, pathlib.PurePath) or type(value) in TEXTS:
        return str(value)
    raise TypeError(f"a value of type {type(value).__module__}.{type(value).__qualname__}: JSON cannot express it")


def as_json(params: Sequence[Any] | Mapping[str, Any]) -> Any:
    """Parameters that a program gives as Python values, converted to what JSON has; a Decimal stays as it is.

    @return: a list or a dict.
    @raise InvalidParams: JSON cannot express one.
    """
    try:
        if isinstance(params, Mapping):
            return {name: _to_builtins(value) for name, value in params.items()}
        return [_to_builtins(value) for value in params]
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidParams(str(error)) from None


def _to_builtins(value: Any) -> Any:
    return msgspec.to_builtins(value, builtin_types=(Decimal,), str_keys=True, enc_hook=to_text)


_BYTELESS: Final = (str, int, float, bool, type(None))


def holds_bytes(annotation: Any) -> bool:
    """Whether an annotation says that there are, or may be, bytes in a value."""
    if annotation is None or annotation in _BYTELESS:  # without a survey, which takes its time
        return False
    try:
        return _holds_bytes(annotation)
    except TypeError:  # it has no hash
        return _survey_bytes(annotation)


def _survey_bytes(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):  # msgspec takes no union of bytes and str, but we may return one
        return any(map(holds_bytes, get_args(annotation)))
    try:
        return _Survey(inspect.type_info(annotation)).bytes
    except Exception:  # what msgspec cannot read, it may well be able to write
        return False


_holds_bytes = lru_cache(MAX_ANNOTATIONS)(_survey_bytes)


def _known(annotation: Any) -> inspect.Type:
    """@raise TypeError: msgspec knows nothing of it."""
    try:
        return inspect.type_info(annotation)
    except NameError:
        raise
    except Exception as error:
        raise TypeError(str(error)) from None


def _from_text(kind: Any, value: object) -> object:
    if kind is object:
        return value
    if not isinstance(value, str):
        raise TypeError("Expected `str`")
    return TEXTS[kind](value)


def _items(value: object) -> Any:
    if type(value) is list:
        return value
    return value.values() if type(value) is dict else ()


def _reason(error: msgspec.ValidationError) -> str:
    """What msgspec says of a value, with its place first: C{[0].x: expected int, got str}."""
    match = _PLACE.fullmatch(str(error))
    if match is None:
        return f": {error}"[:MAX_REASON]
    text, key, place = match[1].replace("`", ""), match[2], match[3] or ""
    return f"{place}{' (a key)' if key else ''}: {text[:1].lower()}{text[1:]}"[:MAX_REASON]


class _Survey:
    """The properties of a type and of the types that it is made of.

    @ivar unknown: a type that nothing here converts.
    @ivar unbounded: it sets no limit on how deeply its values may be nested.
    @ivar hashes: its values are hashed, and can be chosen so that their hashes collide.
    @ivar bytes: it holds bytes.
    """

    def __init__(self, info: inspect.Type) -> None:
        self.unknown: type | None = None
        self.unbounded = self.hashes = self.bytes = False
        self._outer: list[int] = []
        self._seen: dict[int, Any] = {}
        self._visit(info)

    def _visit(self, info: Any) -> None:
        if id(info) in self._outer:
            self.unbounded = True
        elif id(info) not in self._seen:
            self._seen[id(info)] = info
            self._outer.append(id(info))
            self._look_at(info)
            for part in _parts(info):
                self._visit(part)
            self._outer.pop()

    def _look_at(self, info: Any) -> None:
        if isinstance(info, inspect.CustomType) and info.cls is not object:
            if info.cls not in TEXTS:
                self.unknown = info.cls
        elif isinstance(info, inspect.AnyType | inspect.CustomType):
            self.unbounded = True
        elif isinstance(info, inspect.RawType | inspect.ExtType):
            self.unknown = type(info)
        elif isinstance(info, _BYTES):
            self.bytes = True
        elif isinstance(info, inspect.SetType | inspect.FrozenSetType):
            self.hashes |= not _is_safe_to_hash(info.item_type)
        elif isinstance(info, inspect.DictType):
            self.hashes |= not _is_safe_to_hash(info.key_type)


def _is_safe_to_hash(info: Any) -> bool:
    if isinstance(info, inspect.UnionType | inspect.Metadata):
        return all(map(_is_safe_to_hash, _parts(info)))
    if isinstance(info, inspect.CustomType):
        return info.cls is not object
    return isinstance(info, _SAFE_TO_HASH)


def _parts(info: Any) -> Iterator[Any]:
    """The types that a type is made of."""
    for name in ("item_type", "key_type", "value_type", "type"):
        if hasattr(info, name):
            yield getattr(info, name)
    yield from getattr(info, "item_types", ())
    yield from getattr(info, "types", ())
    yield from (field.type for field in getattr(info, "fields", ()))


def _json_types(info: Any) -> Iterator[str]:
    if isinstance(info, inspect.Metadata | inspect.UnionType):
        for part in _parts(info):
            yield from _json_types(part)
    elif isinstance(info, inspect.EnumType | inspect.LiteralType):
        for value in _values(info):
            yield "nil" if value is None else "int" if isinstance(value, int) else "string"
    elif getattr(info, "array_like", False):
        yield "array"
    elif isinstance(info, inspect.CustomType) and info.cls is object:
        yield "any"
    else:
        yield _JSON_TYPES.get(type(info), "string")


def _values(info: Any) -> list[Any]:
    if isinstance(info, inspect.LiteralType):
        return list(info.values)
    return [member.value for member in info.cls]


def _describe(info: Any, inner: bool = False) -> str:
    """What a type takes, in words; of what is within an array's or object's parts, only the kind."""
    if isinstance(info, inspect.UnionType | inspect.Metadata):
        return " or ".join(_describe(part, inner) for part in _parts(info))
    if isinstance(info, inspect.EnumType | inspect.LiteralType):
        return " or ".join(repr(value) for value in _values(info))
    (name,) = {*_json_types(info)}
    if inner or name not in ("array", "struct"):
        bounds = [f"{sign} {getattr(info, bound)}" for bound, sign in _BOUNDS if getattr(info, bound, None) is not None]
        return " ".join([name, *_FORMATS.get(type(info), ()), ", ".join(bounds)]).strip()
    if hasattr(info, "fields"):
        fields = (field.encode_name if field.required else f"[{field.encode_name}]" for field in info.fields)
        return f"{name} with {', '.join(fields)}"
    parts = [*map(_describe_inner, _parts(info))]
    return f"{name} of {', '.join(parts[-1:] if name == 'struct' else parts)}" if parts else name


def _describe_inner(info: Any) -> str:
    return _describe(info, inner=True)


_FORMATS: Final[dict[type, tuple[str, ...]]] = {
    **dict.fromkeys(_BYTES, ("(Base64)",)),
    inspect.DateTimeType: ("(date and time as in RFC 3339)",),
    inspect.DateType: ("(date as in RFC 3339)",),
    inspect.TimeType: ("(time as in RFC 3339)",),
    inspect.TimeDeltaType: ("(duration as in ISO 8601)",),
    inspect.UUIDType: ("(UUID)",),
    inspect.DecimalType: ("(decimal number)",),
}
