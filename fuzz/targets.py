"""What is fuzzed: functions that take any bytes, and raise AssertionError where the code's verdict on them is wrong.

They work without a fuzzer: C{tests/test_fuzz.py} feeds them the files of C{tests/corpus}. Any other exception is a bug
of the code as well.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from fuzz import process, rights, streams
from fuzz.common import CUT, Target, check_message, scratch
from jsonrpcs_tx import Dispatcher, Fault, Registry
from jsonrpcs_tx.config.modparams import read_modparams
from jsonrpcs_tx.config.settings import Settings, from_values
from jsonrpcs_tx.config.sources import Given
from jsonrpcs_tx.config.toml import read_toml
from jsonrpcs_tx.errors import ConfigError, SettingError
from jsonrpcs_tx.rpc.dispatcher import Origin, Reply
from jsonrpcs_tx.rpc.envelope import DIALECTS, Decoded, Dialect, Envelope, Malformed, reply_name, store_path
from jsonrpcs_tx.state.destinations import DestinationError, DestinationSets
from jsonrpcs_tx.state.tables import LEAST, MOST, Tables, read_definition
from jsonrpcs_tx.transports.framing import Framer
from jsonrpcs_tx.transports.httpdirect import DirectSite
from jsonrpcs_tx.transports.httpsite import JsonRpcSite
from tests.support.envelope import expected_code, read, rounded
from tests.support.framing import LIMIT, REQUEST, counted, documents_of, feed, verdict
from tests.support.httpmemory import Commands, Connection

SMALL_LIMIT: Final = 64
"""The largest document, in bytes; small, to show what happens to longer ones."""

DEEP: Final = 800
"""Brackets in a document that may be nested too deeply, which depends on how deep the caller's stack is."""

LOOK_BACK: Final = 256
"""Bytes that a framer may keep while it looks for the end of a document that is too long."""


def envelope(document: bytes) -> None:
    """A document is read as the standard library's JSON module reads it, and answered as that demands.

    There are two decoders. A document that both accept means the same to both. What msgspec accepts as a request,
    simplejson must accept as well. Where msgspec refuses, as it does every request that is not plain (an id of null,
    a number beyond a float), simplejson decides.
    """
    for dialect in DIALECTS.values():
        compact, pretty = (dispatcher.dispatch(document, Origin("fuzz")) for dispatcher in _dispatchers(dialect))
        assert type(compact) is Reply, compact
        assert type(pretty) is Reply, pretty
        if len(re.findall(rb"[\[{]", document)) < DEEP:
            _check_decoders(document, dialect)
            _check_reply(document, compact, dialect)
        assert bool(pretty.body) == bool(compact.body)
        assert not pretty.body or _exact(pretty.body) == _exact(compact.body), (pretty.body, compact.body)
        refused = _dispatchers(dialect)[0].refuse(document, Fault(503, "Busy"))
        assert b'"result"' not in refused.body
        assert not refused.body or read(refused.body)
    name = reply_name(Envelope().read(document))
    assert name is None or name.encode() is not None


@cache
def _dispatchers(dialect: Dialect) -> tuple[Dispatcher, Dispatcher]:
    """One that answers compactly, and one that lays out its replies."""
    registry = Registry(Commands())
    compact, pretty = (Dispatcher(registry, Clock(), dialect=dialect, pretty_format=p) for p in (False, True))
    return compact, pretty


def _check_decoders(document: bytes, dialect: Dialect) -> None:
    """The decoded document is the same as with simplejson alone."""
    decoded, examined = Envelope(dialect).read(document), Envelope(dialect)._examine_document(document)
    assert _plain(decoded) == _plain(examined), (decoded, examined)


def _plain(decoded: Decoded) -> Any:
    """The comparable part of a decoded document: a reason only has to exist."""
    if isinstance(decoded, list):
        return [_plain(member) for member in decoded]
    if isinstance(decoded, Malformed):
        return decoded.error, decoded.id, bool(decoded.reason), reply_name(decoded)
    return decoded.method, rounded(decoded.params), decoded.id, reply_name(decoded), store_path(decoded)


def _check_reply(document: bytes, reply: Reply, dialect: Dialect) -> None:
    code = expected_code(document, dialect)
    value = None if code == -32700 else read(document)
    if not reply.body:
        assert dialect.notifications
        assert code is None or (type(value) is list and value)
        return
    answer = read(reply.body)
    if type(value) is list and value and type(answer) is list:
        assert 0 < len(answer) <= len(value)
        assert dialect.notifications or len(answer) == len(value)
    else:
        assert type(answer) is dict, answer
        assert code is None or answer["error"]["code"] == code == reply.code
    for one in answer if type(answer) is list else [answer]:
        assert one["jsonrpc"] == "2.0"
        assert ("result" in one) != ("error" in one)


def _exact(body: bytes) -> Any:
    """A reply's value, its numbers as they are written."""
    return json.loads(body, parse_int=str, parse_float=str)


def framing(data: bytes) -> None:
    """However a stream is cut, it has the same documents; on a single line, they are those found by counting brackets.

    Of two requests on lines of their own, the second comes out at once, whatever came before. Memory is bounded.
    """
    pieces, stream = data.split(CUT), data.replace(CUT, b"")
    whole, parts = Framer(LIMIT), Framer(LIMIT)
    from_whole, from_parts = whole.feed(stream), feed(parts, *pieces)
    assert documents_of(from_parts) == documents_of(from_whole)
    assert b"\n" in stream or documents_of(from_whole) == counted(stream)
    assert bool(whole.unfinished) == bool(parts.unfinished)
    if len(stream) < LIMIT // 2:
        assert Framer(LIMIT).feed(stream + (b"\n" + REQUEST) * 2)[-1] == REQUEST
    assert verdict(from_parts + parts.give_up()) == verdict(from_whole + whole.give_up())
    assert not parts.unfinished
    for cut in (pieces, [stream]):
        _check_small_frames(cut, len(stream))


def _check_small_frames(pieces: list[bytes], size: int) -> None:
    framer = Framer(SMALL_LIMIT)
    handed_out: list[bytes] = []
    for piece in pieces:
        handed_out += framer.feed(piece)
        assert len(framer._buffer) <= max(SMALL_LIMIT, LOOK_BACK)
    handed_out += framer.give_up()
    assert not framer._buffer
    assert all(len(document) <= SMALL_LIMIT for document in documents_of(handed_out))
    assert sum(map(len, handed_out)) <= size
    request = b'{"jsonrpc":"2.0","method":"m","id":1}'
    assert framer.feed(request) == [request]


def modparams(text: bytes) -> None:
    """A kamailio.cfg gives settings, or an error that names the file or the setting."""
    try:
        given = read_modparams(scratch(text)).given
    except ConfigError as error:
        check_message(error)
        return
    values = _values_of(given)
    for name, value in values.items():
        for one in value if type(value) is list else [value]:
            assert type(one) in (str, int), (name, one)
    _check_settings(values)


def toml(text: bytes) -> None:
    """A TOML file gives settings, or an error that names the file or the setting."""
    try:
        given = read_toml(scratch(text))
    except ConfigError as error:
        check_message(error)
    else:
        _check_settings(_values_of(given))


def _values_of(given: dict[str, Given] | None) -> dict[str, Any]:
    """The values in a file; each has a source in it."""
    assert given is not None  # the first error is raised
    for one in given.values():
        assert all(source.line > 0 for source in one.sources)
        assert len(one.sources) == (len(one.value) or 1 if type(one.value) is list else 1)
    return {name: one.value for name, one in given.items()}


def _check_settings(values: Mapping[str, Any]) -> None:
    """Each value alone, so that one that is refused does not hide the others, then all; and the tables they define."""
    for chosen in (*({name: value} for name, value in values.items()), values):
        try:
            settings = from_values(chosen)
        except SettingError as error:
            check_message(error)
            continue
        assert isinstance(settings, Settings)
        tables = Tables(Clock())
        for definition in settings.htable:
            try:
                tables.define(definition)
            except SettingError as error:
                check_message(error)


def destinations(text: bytes) -> None:
    """A list of destinations gives sets that can be picked from, or an error that names the file."""
    sets = DestinationSets()
    path = scratch(text)
    try:
        sets.load(path)
    except DestinationError as error:
        check_message(error, path)
        return
    for id in sets:
        assert len(sets[id]) > 0
        for destination in sets[id]:
            assert destination.host
            assert 0 <= destination.port <= 99999
            assert len(destination.letters) == 2
            assert destination.protocol == destination.protocol.lower()
        if any(destination.live for destination in sets[id]):
            assert sets[id].by_hash("a").live
            assert sets[id].by_weight().live
            assert sets[id].by_relative_weight().live


def tables(text: bytes) -> None:
    """The definition of a table gives a table that works, or an error that says what is allowed."""
    try:
        definition = read_definition(text.decode(errors="surrogateescape"))
    except SettingError as error:
        check_message(error)
        return
    assert 4 <= definition.slots <= 2**31
    assert definition.initval is None or LEAST <= definition.initval <= MOST
    table = Tables(Clock()).define(definition)
    table.set("key", "value")
    assert table.get("key") == "value"
    assert table.get("other") == definition.initval
    assert 0 <= table.slot("key") < definition.slots


def http(data: bytes) -> None:
    """A connection, however cut, gets the same bytes, counts and end on the direct path as from twisted.web's parser.

    Commands that answer later are answered when all has come. Then the client leaves. No failure is logged meanwhile:
    it would be one of the server.
    """
    pieces = data.split(CUT)
    with capturedLogs() as events:
        for dialect in DIALECTS:
            general, fast = (Connection(site, dialect) for site in (JsonRpcSite, DirectSite))
            assert _course(fast, pieces) == _course(general, pieces)
    failures = [event["log_failure"] for event in events if "log_failure" in event]
    assert not failures, failures[0]


def _course(connection: Connection, pieces: list[bytes]) -> list[Any]:
    """The state of a connection after each step."""
    course: list[Any] = [connection.feed(*pieces).fate()]
    later = connection.commands.later
    answered = 0
    while answered < len(later):  # an answer may let the next request in
        if not later[answered].called:
            later[answered].callback("now")
            connection.turn()
        answered += 1
        course.append(connection.fate())
    connection.channel.connectionLost(ConnectionError())
    return [*course, connection.commands.cancelled, connection.fate()]


TARGETS: Final[Mapping[str, Target]] = MappingProxyType(
    {
        target.__name__: target
        for target in (
            *(envelope, framing, modparams, toml, destinations, tables, http),
            *(rights.rules, rights.users, streams.tls, streams.link, process.server),
        )
    }
)
