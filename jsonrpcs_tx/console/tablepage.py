"""The page C{table}: a part of the items of a hash table, or of those that contain a text.

Items are searched in slices, so that a large table does not hold up others.
"""

from collections.abc import Generator
from typing import Any, Final

import attrs
import msgspec
from twisted.internet.defer import CancelledError
from twisted.web import http, server

from jsonrpcs_tx.console.visitors import JSON, Visitor, Visitors
from jsonrpcs_tx.log import make_logger, report
from jsonrpcs_tx.printable import printable
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.rpc.shares import Shares
from jsonrpcs_tx.slices import Slices
from jsonrpcs_tx.state.tables import Item, Table, Tables
from jsonrpcs_tx.transports.httpresource import is_connected
from jsonrpcs_tx.transports.pageresource import respond
from jsonrpcs_tx.transports.refusals import refuse

_log = make_logger(__name__)

METHOD: Final = "htable.dump"
"""The method that rules must allow with the name of the table."""

DEFAULT_LIMIT: Final = 200
"""Items in an answer, unless the request says how many."""

MAX_LIMIT: Final = 1000
"""Items that an answer may have."""

MAX_SIZE: Final = 1_000_000
"""Bytes of keys and values after which an answer has no further items."""

MAX_SEARCH: Final = 200
"""Characters of the text that is searched for."""

TURN: Final = 200
"""Items after which a slice may end."""

TURN_SIZE: Final = 100_000
"""Characters of keys and values after which a slice may end, since a value may be long."""

MAX_IN_PROGRESS: Final = 50
"""Requests that may be in progress: each holds a list of all items, and the part of the answer that it has found."""

MAX_OF_ONE: Final = 12
"""Requests in progress that a user may have, or an address where nobody signs in."""


@attrs.frozen
class Query:
    """What is asked for.

    @ivar name: of the table.
    @ivar after: the place after which to begin, see L{Table.after}.
    @ivar search: the text, in lower case; empty: all items.
    @ivar limit: how many items at most.
    """

    name: str
    after: int = 0
    search: str = ""
    limit: int = DEFAULT_LIMIT


class TablePage:
    """Answers requests for C{table}.

    @param tables: the tables.
    @param dispatcher: decides who may read a table.
    @param visitors: finds out where requests come from.
    @param slices: runs the search in slices.
    """

    def __init__(self, tables: Tables, dispatcher: Dispatcher, visitors: Visitors, slices: Slices) -> None:
        self._tables = tables
        self._dispatcher = dispatcher
        self._visitors = visitors
        self._slices = slices
        self._shares = Shares(MAX_IN_PROGRESS, MAX_OF_ONE)

    def render(self, visitor: Visitor) -> None:
        """Answer a request, once the items are found."""
        request = visitor.request
        try:
            query = read_query(request.args or {})
        except ValueError as error:
            refuse(request, http.BAD_REQUEST, str(error))
            return
        origin = self._visitors.origin(visitor)
        if METHOD not in self._dispatcher.registry or self._dispatcher.forbids(origin, METHOD, [query.name]):
            self._visitors.forbid(visitor, METHOD, f"a rule must allow {METHOD} with this table")
            return
        table = self._tables.get(query.name)
        if table is None:
            refuse(request, http.NOT_FOUND, f"there is no table {printable(query.name[:100])}")
            return
        source = self._visitors.source(visitor)
        if self._shares.full or self._shares.used_up(source):
            request.setHeader(b"Retry-After", b"1")
            told = f"allowed: {MAX_OF_ONE} requests for tables at once by a user or address, {MAX_IN_PROGRESS} in all"
            refuse(request, http.SERVICE_UNAVAILABLE, told)
            return
        self._shares.take(source)
        done = self._slices.run(self._answer(request, table, query))
        if not done.called:
            request.notifyFinish().addErrback(lambda _: done.cancel())
        done.addErrback(lambda failure: _failed(request, failure))
        done.addBoth(lambda _: self._shares.free(source))

    def _answer(self, request: server.Request, table: Table, query: Query) -> Generator[None, None, None]:
        rows: list[dict[str, Any]] = []
        size, place, is_end = 0, query.after, True
        looked, looked_size = 0, 0
        for found, item in table.after(query.after):
            if looked >= TURN or looked_size >= TURN_SIZE:
                looked, looked_size = 0, 0
                yield
            looked += 1
            looked_size += len(item.key) + (len(item.value) if isinstance(item.value, str) else 0)
            if query.search and not _has(item, query.search):
                continue
            if len(rows) >= query.limit or size >= MAX_SIZE:
                is_end = False
                break
            rows.append(_row(table, item))
            size += len(item.key) + len(rows[-1]["value"])
            place = found
        answer = {
            "name": query.name,
            "generation": table.changes,
            "items": table.size,
            "rows": rows,
            "next": None if is_end else place,
        }
        if is_connected(request):
            respond(request, JSON, msgspec.json.encode(answer))


def read_query(args: dict[bytes, list[bytes]]) -> Query:
    """Read the query of a URL.

    @param args: the values of each parameter.
    @raise ValueError: it is not allowed; the message says what is.
    """
    given = {name.decode("latin-1"): values[-1].decode(errors="replace") for name, values in args.items()}
    if "name" not in given:
        raise ValueError("name is missing; allowed: ?name=TABLE, with after, search and limit")
    search = given.get("search", "")
    if len(search) > MAX_SEARCH:
        raise ValueError(f"search: {len(search)} characters; allowed: up to {MAX_SEARCH}")
    return Query(
        given["name"],
        _number("after", given.get("after", "0"), 0, 2**53),
        search.lower(),
        _number("limit", given.get("limit", str(DEFAULT_LIMIT)), 1, MAX_LIMIT),
    )


def _number(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most):
        raise ValueError(f"{name}: {text!r:.60}; allowed: {least} to {most}")
    return int(text)


def _has(item: Item, search: str) -> bool:
    return search in item.key.lower() or search in str(item.value).lower()


def _row(table: Table, item: Item) -> dict[str, Any]:
    """An item for JSON. Its value is a string, since JavaScript cannot hold integers of 64 bits."""
    kind = "str" if isinstance(item.value, str) else "int"
    return {"key": item.key, "value": str(item.value), "type": kind, "expires": table.expires_at(item)}


def _failed(request: server.Request, failure: Any) -> None:
    if failure.check(CancelledError):
        return  # the client has left
    report(_log, "console: a table cannot be read", failure.value)
    if is_connected(request) and not request.finished:
        refuse(request, http.INTERNAL_SERVER_ERROR, "the log says why")
