"""Describes a command as a Method Object of OpenRPC: one of the server's own, or one of a node by the catalogue."""

import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
import msgspec

from jsonrpcs_tx.catalogue import CHANGE, DANGER, READ, Entry, find
from jsonrpcs_tx.openrpc.schemas import ARRAY, OPEN, any_of, of_annotation, of_parameter
from jsonrpcs_tx.rpc.binding import MISSING
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.registry import Command

EFFECTS: Final[Mapping[str, str]] = {READ: "reads", CHANGE: "changes", DANGER: "dangerous"}
"""The words for what a command does, by its effect in the catalogue; C{unknown} for commands that are not in it."""

_TYPES: Final[Mapping[str, dict[str, Any]]] = {
    "int": {"type": "integer"},
    "uint": {"type": "integer", "minimum": 0},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "any": any_of([{"type": "string"}, {"type": "number"}]),
    "int/str": any_of([{"type": "integer"}, {"type": "string"}]),
}
"""The types of the catalogue."""

_TOO_FAST: Final = Error(500, "Command Executed Too Fast")
_LOCKED: Final = Error(500, "Command Locked")
_LATE: Final = (
    Error(500, "Asynchronous: It Needs HTTP Or HTTPS"),
    Error(503, "Too Many Asynchronous Commands"),
    Error(504, "Timed Out"),
)


@attrs.frozen(eq=False)
class Method:
    """The description of a method, as JSON.

    @ivar json: its Method Object.
    @ivar named: the JSON of the schemas that it refers to, by their names.
    """

    json: bytes
    named: Mapping[str, bytes]


def of_command(command: Command, by_name: bool, invalid: Error) -> Method:
    """Describe one of the server's own commands.

    @param command: the command.
    @param by_name: whether the dialect takes parameters by their names.
    @param invalid: the dialect's error for parameters that do not fit.
    """
    entry = find(command.name)
    given = inspect.signature(command.function).parameters
    parameters, named = [], {}
    rest = command.binding.rest
    for place, parameter in enumerate((*command.binding.parameters, *([] if rest is None else [rest]))):
        schema = of_parameter(parameter)
        named.update(schema.named)
        variadic = parameter is rest
        described = _parameter(parameter.name, schema.body, parameter.required and not variadic, variadic)
        known = None if entry is None else entry.parameter(place)
        if known is not None and known.source:
            described["x-source"] = known.source
        if command.concealment.hides(parameter.name):
            described["x-secret"] = True
        default = command.shown_default(parameter)
        if not (variadic or default is MISSING):
            described["schema"] = {**schema.body, "default": default}
        by_name &= not variadic and given[parameter.name].kind is not inspect.Parameter.POSITIONAL_ONLY
        parameters.append(described)
    result = of_annotation(command.result)
    named.update(result.named)
    summary, description = command.help, _description(command.function)
    method = {
        "name": command.name,
        **({"summary": summary} if summary else {}),
        **({"description": description} if description else {}),
        **_tags(command.family),
        **({"deprecated": True} if command.options.deprecated else {}),
        "paramStructure": "either" if by_name else "by-position",
        "params": parameters,
        "result": {"name": "result", "schema": result.body},
        "errors": _errors(_own_errors(command, invalid)),
        "x-effect": EFFECTS[command.effect],
        "x-asynchronous": command.asynchronous,
        "x-module": command.family,
    }
    return Method(_written(method), named)


def of_kamailio(name: str) -> Method:
    """Describe a command of a node: by the catalogue, or, if that does not have it, as one that takes and returns
    anything.
    """
    entry = find(name)
    family = name.partition(".")[0] if "." in name else ""
    if entry is None:
        parameters = [_parameter("params", {}, required=False, variadic=True)]
        result, effect, module, summary = OPEN, "unknown", family, ""
    else:
        parameters = [*_catalogued(entry)]
        result = ARRAY if entry.array else OPEN
        effect, module, summary = EFFECTS[entry.effect], ", ".join(entry.modules), entry.help
    method = {
        "name": name,
        **({"summary": summary} if summary else {}),
        **_tags(family),
        "paramStructure": "by-position",
        "params": parameters,
        "result": {"name": "result", "schema": result.body},
        "x-effect": effect,
        "x-asynchronous": False,
        "x-module": module,
    }
    return Method(_written(method), {})


def _catalogued(entry: Entry) -> Iterable[dict[str, Any]]:
    for parameter in entry.parameters:
        schema = dict(_TYPES[parameter.type])
        if parameter.values:
            schema["examples"] = [_value(text, parameter.type) for text in parameter.values]
        described = _parameter(parameter.name, schema, not parameter.optional, parameter.repeated)
        if parameter.source:
            described["x-source"] = parameter.source
        yield described


def _value(text: str, kind: str) -> object:
    """A value of the catalogue as a client gives it."""
    if kind not in ("str", "any"):
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
    return text


def _written(method: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(method)
    except (UnicodeEncodeError, OverflowError):  # text that UTF-8 cannot encode, or a number of more than 64 bits
        return json.dumps(method, ensure_ascii=False).encode(errors="replace")


def _parameter(name: str, schema: dict[str, Any], required: bool, variadic: bool) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name, "required": required, "schema": schema}
    if variadic:
        described["x-variadic"] = True
    return described


def _tags(family: str) -> dict[str, Any]:
    return {"tags": [{"name": family}]} if family else {}


def _description(function: Any) -> str:
    """The paragraphs of a docstring after the first one, up to the first field such as C{@param} or C{:param}."""
    paragraphs = []
    for paragraph in (inspect.getdoc(function) or "").split("\n\n")[1:]:
        if paragraph.lstrip().startswith(("@", ":")):
            break
        paragraphs.append(paragraph)
    return "\n\n".join(paragraphs).strip()


def _own_errors(command: Command, invalid: Error) -> Iterable[Error]:
    options = command.options
    if command.binding.parameters or command.binding.rest is not None:
        yield invalid
    if options.usage is not None:
        yield options.usage
    yield from options.faults
    if options.interval or options.exec_delta:
        yield _TOO_FAST
    if options.lock is not None:
        yield _LOCKED
    if command.asynchronous:
        yield from _LATE


def _errors(errors: Iterable[Error]) -> list[dict[str, Any]]:
    """Error Objects, one for each code: their codes must be unique."""
    texts: dict[int, list[str]] = {}
    for error in errors:
        texts.setdefault(error.code, []).append(error.text)
    return [{"code": code, "message": "; or ".join(dict.fromkeys(texts[code]))} for code in sorted(texts)]
