"""Annotations as JSON Schema (draft 7, which OpenRPC requires)."""

import ipaddress
from collections.abc import Iterator
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import attrs
import msgspec

from jsonrpcs_tx.rpc.binding import Parameter
from jsonrpcs_tx.rpc.structures import TEXTS, to_text

PREFIX: Final = "#/components/schemas/"
"""The beginning of references to named schemas, before the name."""

_NAMES: Final = {bool: "boolean", float: "number", int: "integer", str: "string", type(None): "null"}

_FORMATS: Final = {ipaddress.IPv4Address: "ipv4", ipaddress.IPv6Address: "ipv6"}

_encode = msgspec.json.Encoder(enc_hook=to_text).encode


@attrs.frozen
class Schema:
    """The schema of a value.

    @ivar body: the schema; it may refer to named ones.
    @ivar named: the JSON of each that it refers to, directly or not, by its name.
    """

    body: dict[str, Any]
    named: dict[str, bytes] = attrs.field(factory=dict)


OPEN: Final = Schema({})
"""The schema of any value."""

ARRAY: Final = Schema({"type": "array", "items": {}})
"""The schema of any array. Programs that read schemas expect C{items} even if these may be anything."""


def of_parameter(parameter: Parameter) -> Schema:
    """The schema of what a parameter takes; for a parameter that takes all further values, of each of them.

    A parameter also takes True and False as numbers, and whole numbers such as 3.0 as integers. The schema leaves that
    out: it says what clients should send.
    """
    if parameter.structure is None:
        kinds = set(parameter.types) | ({float} if parameter.number_too else set())
        if float in kinds:
            kinds.discard(int)  # which is a number as well
        return Schema(any_of([{"type": name} for kind, name in _NAMES.items() if kind in kinds]))
    schema = of_annotation(parameter.structure.annotation)
    if parameter.number_too:
        return attrs.evolve(schema, body=any_of([*schema.body.get("anyOf", [schema.body]), {"type": "number"}]))
    return schema


def of_annotation(annotation: Any) -> Schema:
    """The schema of the values that an annotation describes. For an annotation that msgspec does not know, any value
    fits.
    """
    try:
        (body,), named = msgspec.json.schema_components(
            (annotation,), schema_hook=_of_other, ref_template=f"{PREFIX}{{name}}"
        )
        return Schema(_as_draft_7(body), {name: _encode(_as_draft_7(part)) for name, part in named.items()})
    except Exception:  # whatever the code of a class raises when it is inspected
        if get_origin(annotation) in (Union, UnionType):  # msgspec may write it, but not read it
            parts = [of_annotation(part) for part in get_args(annotation)]
            named = {name: schema for part in parts for name, schema in part.named.items()}
            return Schema(any_of([part.body for part in parts]), named)
        return OPEN


def any_of(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The schema of values that fit one of several schemas; if one of these is open, every value does."""
    if {} in parts or not parts:
        return {}
    return parts[0] if len(parts) == 1 else {"anyOf": parts}


def _of_other(kind: type) -> dict[str, Any]:
    """The schema of a type that msgspec leaves to us."""
    if kind in _FORMATS:
        return {"type": "string", "format": _FORMATS[kind]}
    return {"type": "string"} if kind in TEXTS else {}


def _as_draft_7(schema: Any) -> Any:
    """A schema by msgspec, with tuples as draft 7 has them."""
    if isinstance(schema, list):
        return [_as_draft_7(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {**(ARRAY.body if schema.get("type") == "array" else {}), **dict(_members(schema))}


def _members(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in schema.items():
        if name in ("default", "enum", "examples", "const"):  # values, not schemas
            yield name, value
        elif name == "properties":  # their names may be anything
            yield name, {key: _as_draft_7(part) for key, part in value.items()}
        elif name == "prefixItems":
            yield "items", _as_draft_7(value)
            yield "additionalItems", schema.get("items", False)
        elif name != "items" or "prefixItems" not in schema:
            yield name, _as_draft_7(value)
