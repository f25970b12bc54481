"""The JSON-RPC 2.0 envelope: documents in, requests out; results in, reply bytes out. Does no I/O.

Two dialects share it. ``kamailio`` answers what Kamailio's jsonrpcs module answers; ``jsonrpc2`` follows the
JSON-RPC 2.0 specification (https://www.jsonrpc.org/specification).
"""

import contextlib
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, final

import attrs
import msgspec
import simplejson
from msgspec import UNSET, UnsetType

from jsonrpcs_tx.rpc.errors import Error, error_of
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.structures import to_text

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Params = TypeVar("Params", default=list[Any] | dict[str, Any])
else:
    from typing import TypeVar

    Params = TypeVar("Params")

MAX_BATCH: Final = 1000
"""The most requests that one batch may hold; a longer one is an Invalid Request."""

MAX_VALUES: Final = 30_000
"""The most values that a long document may hold, in parameters, batches and members together; one with more is an
Invalid Request. Each becomes an object in memory, so this limits the time that reading takes, to 35 ms at worst."""

_LONG: Final = 2 * MAX_VALUES
"""Bytes up to which a document cannot hold more: a value and the comma after it take at least two."""

Id: TypeAlias = int | str | float | Decimal | bool | UnsetType | None
"""An id as it goes back to the client; UNSET if the request had no id."""


@final
class Request(msgspec.Struct, Generic[Params], frozen=True, gc=False):
    """One well-formed request (specification, section 4).

    @ivar params: by place or by name; of one that is passed on the JSON itself, see L{Envelope.read_to_pass_on}.
    @ivar reply_name: Kamailio's member for the FIFO that takes the reply; see L{reply_name}.
    @ivar store_path: Kamailio's member for the file that takes the reply; see L{store_path}.
    """

    jsonrpc: Literal["2.0"]
    method: str
    params: Params | UnsetType = UNSET
    id: int | str | UnsetType = UNSET
    reply_name: Any = UNSET
    store_path: Any = UNSET


@final
class Malformed(msgspec.Struct, frozen=True, gc=False):
    """What stands in for an invalid request: the error to answer, the id, and a reason for the log.

    @ivar is_reply: it is a reply. Two servers that answered each other's replies would go on for ever.
    @ivar reply_name: as that of a request, as far as it can be read; see L{reply_name}.
    """

    error: Error
    id: Id
    reason: str
    is_reply: bool = False
    reply_name: Any = None


Decoded: TypeAlias = Request | Malformed | list[Request | Malformed]
"""What a document is read into: the request, or the list of requests of a batch; L{Malformed} in place of an invalid
one.
"""


class _Result(msgspec.Struct, frozen=True, gc=False, tag_field="jsonrpc", tag="2.0"):
    result: Any
    id: Id = UNSET


class _Error(msgspec.Struct, frozen=True, gc=False, tag_field="jsonrpc", tag="2.0"):
    error: Error
    id: Id = UNSET


_BEFORE_OUTCOME: Final = b'{"jsonrpc":"2.0",'


@attrs.frozen
class Dialect:
    """Where the two ways of speaking JSON-RPC differ.

    @ivar notifications: a request without an id is run and not answered.
    @ivar by_name: the members of a params object are bound by their names; else by their order.
    @ivar surplus: positional parameters beyond the last one of a command are ignored; else they are refused.
    @ivar reason_in_text: the reason why a command refuses the value of a parameter is part of the error's text; else of
        its data, which always holds the reason why parameters do not fit.
    @ivar http_status: the HTTP status and reason phrase are those of a fault; else they are always 200 OK.
    """

    name: str
    parse_error: Error
    invalid_request: Error
    method_not_found: Error
    invalid_params: Error
    internal_error: Error
    notifications: bool
    by_name: bool
    surplus: bool
    reason_in_text: bool
    http_status: bool
    id_types: tuple[type, ...]


KAMAILIO: Final = Dialect(
    name="kamailio",
    parse_error=Error(-32700, "Parse Error"),
    invalid_request=Error(-32600, "Invalid Request"),
    method_not_found=Error(500, "Method Not Found"),
    invalid_params=Error(500, "Invalid Parameters"),
    internal_error=Error(-32603, "Internal Error"),
    notifications=False,
    by_name=False,
    surplus=True,
    reason_in_text=True,
    http_status=True,
    id_types=(str, int, float, Decimal, bool, type(None)),
)

JSONRPC2: Final = Dialect(
    name="jsonrpc2",
    parse_error=Error(-32700, "Parse error"),
    invalid_request=Error(-32600, "Invalid Request"),
    method_not_found=Error(-32601, "Method not found"),
    invalid_params=Error(-32602, "Invalid params"),
    internal_error=Error(-32603, "Internal error"),
    notifications=True,
    by_name=True,
    surplus=False,
    reason_in_text=False,
    http_status=False,
    id_types=(str, int, float, Decimal, type(None)),
)

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType({d.name: d for d in (KAMAILIO, JSONRPC2)})
"""The dialects by their names, those of L{jsonrpcs_tx.config.kinds.DIALECTS}."""

_Read: TypeAlias = Request[list[Any] | dict[str, Any]]
_Unread: TypeAlias = Request[msgspec.Raw]
"""A request whose params are not looked at, except that they are JSON."""

_decode = msgspec.json.Decoder(_Read | list[_Read]).decode
_decode_unread = msgspec.json.Decoder(_Unread | list[_Unread]).decode
_skip = msgspec.json.Decoder(msgspec.Raw).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder(enc_hook=to_text).encode
_encode_exact = msgspec.json.Encoder(decimal_format="number").encode
"""Writes a Decimal as the number that it is; for ids, which are finite."""

_STARTS: Final = frozenset(b"[{")

_REPLY_NAME = re.compile(rb'"reply_name"\s*:\s*("(?:[^"\\]|\\.)*")')


class _ReplyName(msgspec.Struct, gc=False):
    reply_name: str | UnsetType = UNSET


class _Params(msgspec.Struct, gc=False):
    params: msgspec.Raw


_decode_values = msgspec.json.Decoder().decode
_decode_params = msgspec.json.Decoder(_Params).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_reply_name = msgspec.json.Decoder(_ReplyName | list[_ReplyName]).decode


class Envelope:
    """Reads requests from documents and writes replies, compactly, in one dialect.

    @param dialect: L{KAMAILIO} or L{JSONRPC2}.
    """

    def __init__(self, dialect: Dialect = KAMAILIO) -> None:
        self.dialect = dialect

    def read(self, document: bytes) -> Decoded:
        """Read a document. No other module decodes requests.

        @return: the request, or the list of requests of a batch; L{Malformed} in place of an invalid one.
        """
        try:
            if len(document) > _LONG and _holds_too_many(document):
                return self._too_many(document)
            if not document.isascii():
                document.decode()  # msgspec does not look at the bytes of members that it skips
            request: Any = _decode(document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._examine_document(document)
        if type(request) is list and not 0 < len(request) <= MAX_BATCH:
            return self._batch_size(document, len(request))
        return request  # type: ignore[no-any-return] # the decoder's type says it

    def read_to_pass_on(self, document: bytes) -> Decoded:
        """Read a document whose requests go to another server: as L{read} does, but their params stay the JSON that the
        client has sent (C{msgspec.Raw}), so that they get there as they are.
        """
        if len(document) <= _LONG and document.isascii():
            try:
                request: Any = _decode_unread(document)
                if type(request) is not list:
                    params = request.params
                    if params is UNSET or bytes(params)[0] in _STARTS:  # see L{_may_be_params}
                        return request  # type: ignore[no-any-return] # the decoder's type says it
                elif 0 < len(request) <= MAX_BATCH and all(_may_be_params(one.params) for one in request):
                    return request
            except (ValueError, RecursionError):  # it may be a request nevertheless, or have some in it
                pass
        request = self.read(document)
        if type(request) is list:
            return [_with_json_params(one, part) for one, part in zip(request, _split(document), strict=True)]
        return _with_json_params(request, document)

    @staticmethod
    def result(value: object, id: Id) -> bytes:
        """Write the reply of a command that returned C{value}, a Decimal in it as text.

        @raise TypeError, ValueError, RecursionError: the value cannot be written as JSON.
        """
        if type(id) is Decimal:
            return _encode_exact(_Result(msgspec.Raw(_encode(value)), id))
        return _encode(_Result(value, id))

    @staticmethod
    def error(error: Error | Fault, id: Id) -> bytes:
        """Write an error reply."""
        return _encode_exact(_Error(error if isinstance(error, Error) else error_of(error), id))

    @staticmethod
    def id(id: Id) -> bytes:
        """Write an id by itself."""
        return _encode_exact(id)

    @staticmethod
    def passed_on(member: bytes, outcome: bytes, id: Id) -> bytes:
        """Write a reply around the result or the error that another server has given.

        @param member: C{result} or C{error}.
        @param outcome: its JSON, as it came.
        """
        if type(id) is int:  # the ordinary case, without another call
            return b'%b"%b":%b,"id":%d}' % (_BEFORE_OUTCOME, member, outcome, id)
        if id is UNSET:
            return b'%b"%b":%b}' % (_BEFORE_OUTCOME, member, outcome)
        return b'%b"%b":%b,"id":%b}' % (_BEFORE_OUTCOME, member, outcome, _encode_exact(id))

    @staticmethod
    def value(reply: bytes) -> Any:
        """The result of a reply that L{result}, L{error} or L{passed_on} wrote; or the L{Fault} that its error is."""
        found = _values(reply)
        if "error" not in found:
            return found["result"]
        error = found["error"]
        return Fault(error["code"], error["message"], error.get("data"))

    @staticmethod
    def outcome(reply: bytes, id: Id) -> bytes:
        """The outcome alone, as an object, of a reply that L{result} or L{error} wrote.

        @param id: of the request.
        """
        after = b"}" if id is UNSET else b',"id":%b}' % _encode_exact(id)
        return b"{%b}" % reply.removeprefix(_BEFORE_OUTCOME).removesuffix(after)

    @staticmethod
    def batch(replies: list[bytes]) -> bytes:
        """Join replies that L{result} and L{error} wrote to the reply of a batch."""
        return b"[" + b",".join(replies) + b"]"

    def _examine_document(self, document: bytes) -> Decoded:
        """Read a document that is not a plain request: find out what is wrong, or which unusual value it holds."""
        try:
            value = _load(document)
        except (ValueError, RecursionError) as error:
            return self._not_json(document, error)
        if type(value) is not list:
            return self._examine(value)
        if not 0 < len(value) <= MAX_BATCH:
            return self._batch_size(document, len(value))
        return [self._examine(member) for member in value]

    def _not_json(self, document: bytes, error: Exception) -> Malformed:
        reason = f"not JSON: {error or type(error).__name__}"
        return Malformed(self.dialect.parse_error, None, reason, reply_name=_find_reply_name(document))

    def _too_many(self, document: bytes) -> Malformed:
        """The error for a document of too many values, which may not even be JSON. Makes no objects of the values."""
        try:
            document.decode()
            _skip(document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._not_json(document, error)
        reason = f"too many values; allowed: up to {MAX_VALUES}"
        return Malformed(self.dialect.invalid_request, None, reason, reply_name=_find_reply_name(document))

    def _batch_size(self, document: bytes, size: int) -> Malformed:
        reason = f"a batch of {size} requests; allowed: 1 to {MAX_BATCH}"
        return Malformed(self.dialect.invalid_request, None, reason, reply_name=_find_reply_name(document))

    def _examine(self, value: object) -> Request | Malformed:
        """Check that a decoded value is a request (specification, section 4)."""
        if type(value) is not dict:
            reason = f"a request must be an object, not {_json_type(value)}"
            return Malformed(self.dialect.invalid_request, None, reason)
        is_reply = "method" not in value and ("result" in value or "error" in value)
        reply_name = value.get("reply_name", UNSET)
        bad = partial(Malformed, self.dialect.invalid_request, is_reply=is_reply, reply_name=reply_name)
        id = value.get("id", UNSET)
        if id is not UNSET and type(id) not in self.dialect.id_types:
            return bad(id=None, reason=f"member id: {_json_type(id)} is not allowed")
        if type(id) is Decimal and not id.is_finite():
            return bad(id=None, reason="member id: a number of that size is not allowed")
        bad = partial(bad, id=None if id is UNSET else id)
        version, method, params = value.get("jsonrpc"), value.get("method"), value.get("params", UNSET)
        if type(version) is not str or version != "2.0":
            return bad(reason='member jsonrpc: must be "2.0"')
        if type(method) is not str:
            return bad(reason=f"member method: must be a string, not {_json_type(method)}")
        if params is not UNSET and type(params) not in (list, dict):
            return bad(reason=f"member params: must be an array or object, not {_json_type(params)}")
        if params is not UNSET:
            _make_floats(params)
        return Request("2.0", method, params, id, reply_name, value.get("store_path", UNSET))


def params_of(request: Request) -> list[Any] | dict[str, Any]:
    """The params of a request as values, also of one that is passed on; an empty list where there are none."""
    params = request.params
    if isinstance(params, msgspec.Raw):
        return values_of(params)
    return [] if params is UNSET else params


def values_of(params: msgspec.Raw) -> Any:
    """The values of params that are passed on as JSON, or of another part of a document that was read before."""
    return _values(bytes(params))


def _values(params: bytes) -> Any:
    try:
        return _decode_values(params)
    except msgspec.DecodeError:  # a number of unusual size
        values = _load(params)
        _make_floats(values)
        return values


def _may_be_params(json: msgspec.Raw | UnsetType) -> bool:
    """Whether a JSON value is an array or an object, or there is none."""
    return json is UNSET or bytes(json)[0] in _STARTS


def _with_json_params(request: Request | Malformed, document: bytes | msgspec.Raw) -> Request | Malformed:
    """A request with its params as the JSON that they are in its document."""
    if type(request) is not Request or request.params is UNSET:
        return request
    return msgspec.structs.replace(request, params=_decode_params(document).params)


def reply_name(request: Decoded) -> str | None:
    """Where a FIFO client waits for its reply: the member C{reply_name} that Kamailio adds to the request.

    @param request: what was read of the document.
    @return: the name, of a batch the first one; None where there is no name. It is found even in a broken document, so
        that the client learns of the error.
    """
    if type(request) is Request and type(request.reply_name) is str:
        return request.reply_name
    for member in request if type(request) is list else [request]:
        if type(member.reply_name) is str:  # type: ignore[union-attr] # it is not a list
            return member.reply_name  # type: ignore[union-attr]
    return None


def store_path(request: Decoded) -> str | None:
    """The file to which a reply is to be written: the member C{store_path} of a request that is not part of a batch.

    @return: None where there is no such member, or it is not a string.
    """
    return request.store_path if type(request) is Request and type(request.store_path) is str else None


def _find_reply_name(document: bytes) -> str | None:
    """Find the C{reply_name} of a document that is not read as a whole; of a batch the first one."""
    if b'"reply_name"' not in document:
        return None
    try:
        decoded = _decode_reply_name(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        for literal in _REPLY_NAME.findall(document):
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                return _decode_text(literal)
        return None
    names = (member.reply_name for member in (decoded if type(decoded) is list else [decoded]))
    return next((name for name in names if name is not UNSET), None)


def _holds_too_many(document: bytes) -> bool:
    """Whether a document holds more than L{MAX_VALUES} values, whether it is JSON or not. Decodes no value."""
    if _count_separators(document) <= MAX_VALUES:
        return False
    plain = document.replace(rb"\\", b"").replace(rb"\"", b"")
    if plain.count(b'"') > 4 * MAX_VALUES:  # a member with a string takes four
        return True
    return _count_separators(b"".join(plain.split(b'"')[::2])) > MAX_VALUES


def _count_separators(data: bytes) -> int:
    """The number of bytes after which a value can come."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


_NO_START: Final = frozenset(("\ufeff", "\u00ef"))
"""A byte order mark, and what it looks like in another encoding."""


def _load(document: bytes) -> Any:
    """Decode JSON with simplejson, which says where an error is, as strictly as msgspec does.

    @raise ValueError: it is not JSON in UTF-8, or holds a lone surrogate.
    @raise RecursionError: it is nested too deeply.
    """
    text = document.decode()
    if text[:1] in _NO_START:
        raise ValueError("a byte order mark")  # which simplejson takes
    value = simplejson.loads(text, parse_int=_integer, parse_float=_number, allow_nan=False)
    _encode(value)  # refuses a lone surrogate with UnicodeEncodeError, a ValueError
    return value


def _integer(literal: str) -> int | Decimal:
    """An exact integer of any size; Decimal beyond the digits that Python converts (sys.set_int_max_str_digits)."""
    try:
        return int(literal)
    except ValueError:
        return Decimal(literal)


def _number(literal: str) -> float | Decimal:
    """A float where that is the same number; else the exact Decimal, or an infinite one beyond what Decimal holds."""
    value = float(literal)
    try:
        exact = Decimal(literal)
    except ArithmeticError:
        return value if math.isfinite(value) else Decimal(value)
    return value if math.isfinite(value) and Decimal(repr(value)) == exact else exact


def _make_floats(params: list[Any] | dict[str, Any]) -> None:
    """Make params, and what is within them, what msgspec would give: a fraction becomes the nearest float, if there is
    one.
    """
    holders: list[Any] = [params]
    while holders:
        holder = holders.pop()
        for key, value in enumerate(holder) if type(holder) is list else holder.items():
            if type(value) is list or type(value) is dict:
                holders.append(value)
            elif type(value) is Decimal and math.isfinite(float(value)) and value != value.to_integral_value():
                holder[key] = float(value)


def _json_type(value: object) -> str:
    """The JSON name of a decoded value's type, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float | Decimal):
        return "a number"
    return "a string" if isinstance(value, str) else "an array" if isinstance(value, list) else "an object"
