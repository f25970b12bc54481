"""What the panels show, and to whom. It is read once for all clients, and sent to each where it has changed."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from jsonrpcs_tx.access.auditentries import Entry, Note, as_lines
from jsonrpcs_tx.access.auditlog import AuditLog
from jsonrpcs_tx.console.signing import AUDIT
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.state.destinations import Destination, DestinationSets
from jsonrpcs_tx.state.tables import Tables
from jsonrpcs_tx.state.variables import Group, Variable, Variables

if TYPE_CHECKING:
    from jsonrpcs_tx.gateway.gateway import Gateway  # only few servers are gateways

FORBIDDEN: Final = b'{"forbidden":true}'
"""What a client gets, once, for a panel that it may not see."""

OFF: Final = b'{"off":true}'
"""What a client gets, once, for a panel that the server does not have."""

SHARE: Final = 0.05
"""The share of the time that reading a panel may take. A panel that takes long is read less often."""

MIN_INTERVAL: Final = 0.01
"""Seconds at least between two readings of a panel."""

MAX_ENTRIES: Final = 100
"""Entries of the audit log that are kept for clients that come later."""

Parts: TypeAlias = Mapping[str, bytes]
"""What a panel shows, part by part, as JSON."""

_encode = msgspec.json.Encoder(enc_hook=str).encode
_TYPES: Final = {int: "integer", float: "double", str: "string"}


class Panel:
    """Something that clients watch.

    @param dispatcher: decides who may call what.
    @cvar name: by which clients ask for it.
    @cvar method: the command that returns the same. If it is not loaded, the panel is off.
    """

    name: str
    method: str

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._parts: Parts = {}
        self._due = 0.0
        self._last: tuple[Parts | None, Parts, bytes] = ({}, {}, b"")  # what was written last

    @property
    def is_there(self) -> bool:
        """Whether the server has it."""
        return self.method in self._dispatcher.registry

    def look(self) -> None:
        """Read what it shows, unless it was read too short a time ago for what that cost."""
        begun = perf_counter()
        if begun < self._due or not self.is_there:
            return
        read = self._read()
        # Equal parts stay the same objects, so that comparing them costs nothing.
        parts = {key: part if (old := self._parts.get(key)) != part else old or b"" for key, part in read.items()}
        if parts != self._parts or list(parts) != list(self._parts):
            self._parts = parts
        ended = perf_counter()
        self._due = ended + max(MIN_INTERVAL, (ended - begun) / SHARE)

    def tell(self, origin: Origin, before: Any) -> tuple[bytes | None, Any]:
        """What to send to a caller.

        @param before: the second value that this returned for the caller the last time; None: this is the first time.
        @return: JSON, or None if nothing has changed; and what to remember for the next time.
        """
        if not self.is_there:
            return (None if before is OFF else OFF), OFF
        parts = self._visible(origin)
        if parts is None:
            return (None if before is FORBIDDEN else FORBIDDEN), FORBIDDEN
        former = None if before in (None, OFF, FORBIDDEN) else before
        if former is not None and (former is parts or (former == parts and list(former) == list(parts))):
            return None, former
        # Many callers get the same change of the same parts, so it is written once.
        last_former, last_parts, written = self._last
        if last_former is not former or last_parts is not parts:
            written = self._written(former, parts)
            self._last = former, parts, written
        return written, parts

    def _read(self) -> Parts:
        """What it shows now."""
        raise NotImplementedError

    def _visible(self, origin: Origin) -> Parts | None:
        """The parts that a caller may see; None: nothing."""
        return None if self._forbids(origin) else self._parts

    def _written(self, before: Parts | None, parts: Parts) -> bytes:
        """The change from the parts before (None: nothing was sent yet) as JSON; here all parts, as an array."""
        return b"[%b]" % b",".join(parts.values())

    def _forbids(self, origin: Origin, *params: str) -> bool:
        return self._dispatcher.forbids(origin, self.method, list(params))

    def _forbids_always(self, origin: Origin) -> bool:
        """Whether a caller may not call the method with any parameters."""
        return origin.caller is not None and not self._dispatcher.access.allows_some(origin.caller, self.method)


class LoadPanel(Panel):
    """The load; it changes with each reading.

    @param read: returns it as JSON.
    """

    name = "load"
    method = "stats.fetchn"

    def __init__(self, dispatcher: Dispatcher, read: Callable[[], bytes]) -> None:
        super().__init__(dispatcher)
        self._read_load = read

    def _read(self) -> Parts:
        return {"": self._read_load()}

    def _visible(self, origin: Origin) -> Parts | None:
        return None if self._forbids(origin, "all") else self._parts

    def _written(self, before: Parts | None, parts: Parts) -> bytes:
        return parts.get("", b"{}")


class _Shown(msgspec.Struct, gc=False):
    uri: str
    flags: str
    priority: int
    attrs: str | None
    latency: float | None


class _Set(msgspec.Struct, gc=False):
    destinations: list[_Shown]


class DestinationsPanel(Panel):
    """The destinations by set. A set that has changed is sent with all its destinations."""

    name = "destinations"
    method = "dispatcher.list"

    def __init__(self, dispatcher: Dispatcher, sets: DestinationSets) -> None:
        super().__init__(dispatcher)
        self._sets = sets

    def _read(self) -> Parts:
        return {str(id): _encode(_Set([*map(_shown, found)])) for id, found in self._sets.items()}

    def _written(self, before: Parts | None, parts: Parts) -> bytes:
        former: Parts = before or {}
        changed = {key: part for key, part in parts.items() if former.get(key) != part}
        changed |= {key: b"null" for key in former if key not in parts}
        sets = b",".join(b'"%b":%b' % (key.encode(), part) for key, part in changed.items())
        return b'{"full":%b,"sets":{%b}}' % (b"true" if before is None else b"false", sets)


def _shown(one: Destination) -> _Shown:
    body = None if one.attributes is None else one.attributes.body
    latency = one.latency
    measured = latency.average or latency.most
    return _Shown(one.uri, one.letters, one.priority, body, round(latency.estimate, 3) if measured else None)


class TablesPanel(Panel):
    """The hash tables: how many items they have, and a number that changes with their items."""

    name = "tables"
    method = "htable.dump"

    def __init__(self, dispatcher: Dispatcher, tables: Tables) -> None:
        super().__init__(dispatcher)
        self._tables = tables

    def _read(self) -> Parts:
        return {
            name: _encode(
                {
                    "name": name,
                    "items": table.size,
                    "expires": table.definition.autoexpire,
                    "generation": table.changes,
                }
            )
            for name, table in self._tables.items()
        }

    def _visible(self, origin: Origin) -> Parts | None:
        if self._forbids_always(origin):
            return None
        return _allowed(self._parts, lambda name: not self._forbids(origin, name))


class VariablesPanel(Panel):
    """The variables with their definitions, without the values of group instances."""

    name = "variables"
    method = "cfg.get"

    def __init__(self, dispatcher: Dispatcher, variables: Variables) -> None:
        super().__init__(dispatcher)
        self._variables = variables

    def _read(self) -> Parts:
        return {
            f"{group.name}:{name}": _encode(_described(group, variable))
            for group in self._variables.values()
            for name, variable in group.variables.items()
        }

    def _visible(self, origin: Origin) -> Parts | None:
        if self._forbids_always(origin):
            return None
        if not self._dispatcher.access.asks_params:
            return self._parts
        return _allowed(self._parts, lambda key: not self._forbids(origin, *key.split(":", 1)))


def _described(group: Group, variable: Variable) -> dict[str, Any]:
    """A variable for JSON. Numbers are strings, since JavaScript cannot hold integers of 64 bits."""
    is_text = variable.kind is str
    return {
        "group": group.name,
        "name": variable.name,
        "type": _TYPES[variable.kind],
        "least": None if is_text else str(variable.least),
        "most": None if is_text else str(variable.most),
        "allowed": [*map(str, variable.allowed)] or None,
        "default": str(variable.default),
        "value": str(group[variable.name]),
        "description": variable.help,
    }


class NodesPanel(Panel):
    """The nodes that a caller may call. Callers who may call the command see all nodes, and where they are.

    @param gateway: has the nodes; None: there are no nodes.
    """

    name = "nodes"
    method = "gateway.nodes"

    def __init__(self, dispatcher: Dispatcher, gateway: "Gateway | None") -> None:
        super().__init__(dispatcher)
        self._gateway = gateway
        self._reduced: Parts = {}

    @property
    def is_there(self) -> bool:
        return self._gateway is not None

    def _read(self) -> Parts:
        from jsonrpcs_tx.gateway.nodeview import described  # only few servers are gateways

        assert self._gateway is not None
        found = {node.name: described(node) for node in self._gateway.nodes.values()}
        hidden = ("target", "reason")
        self._reduced = {
            name: _encode({key: value for key, value in one.items() if key not in hidden})
            for name, one in found.items()
        }
        return {name: _encode(one) for name, one in found.items()}

    def _visible(self, origin: Origin) -> Parts | None:
        assert self._gateway is not None
        if not self._forbids(origin):
            return self._parts
        names = {node.name for node in self._gateway.callable_by(origin)}
        return _allowed(self._reduced, names.__contains__) if names else None


class AuditPanel(Panel):
    """The last entries of the audit log, then each new one.

    @param audit: the log; None: there is no log.
    """

    name = "audit"
    method = AUDIT

    def __init__(self, dispatcher: Dispatcher, audit: AuditLog | None) -> None:
        super().__init__(dispatcher)
        self._audit = audit
        self._entries: deque[Entry | Note] = deque(maxlen=MAX_ENTRIES)
        self._count = 0
        if audit is not None:
            audit.followers.append(self._follow)

    def _follow(self, entry: Entry | Note) -> None:
        self._entries.append(entry)
        self._count += 1

    @property
    def is_there(self) -> bool:
        return self._audit is not None

    def look(self) -> None:
        """Nothing to do: the log passes its entries on."""

    def tell(self, origin: Origin, before: Any) -> tuple[bytes | None, Any]:
        if not self.is_there or self._forbids(origin):
            return super().tell(origin, before)
        is_new = type(before) is not int
        new = len(self._entries) if is_new else self._count - before
        if not new and not is_new:
            return None, before
        sent = [*self._entries][len(self._entries) - min(new, len(self._entries)) :]
        lines = as_lines(sent).splitlines()
        return b'{"entries":[%b],"missed":%d}' % (b",".join(lines), new - len(sent)), self._count


def _allowed(parts: Parts, allows: Callable[[str], bool]) -> Parts:
    """The parts that a caller may see."""
    found = {key: part for key, part in parts.items() if allows(key)}
    return parts if len(found) == len(parts) else found


def names(panels: Iterable[Panel]) -> str:
    """The names of panels, for messages."""
    return ", ".join(panel.name for panel in panels)
