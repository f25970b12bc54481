"""All nodes of a server, and which of them a name stands for."""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from os.path import abspath
from typing import Any, Final

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed

from jsonrpcs_tx.config.problems import FIRST, Problems
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.errors import NotAllowed, SettingError, StartError
from jsonrpcs_tx.gateway.callees import Many, One
from jsonrpcs_tx.gateway.definitions import Definition, Names, read_definition
from jsonrpcs_tx.gateway.faults import not_found
from jsonrpcs_tx.gateway.listing import Listing, ask_listing
from jsonrpcs_tx.gateway.node import Node
from jsonrpcs_tx.gateway.nodefile import read_node_file
from jsonrpcs_tx.gateway.peers import ALONE, Peers
from jsonrpcs_tx.gateway.queries import read_query
from jsonrpcs_tx.gateway.watch import DOWN
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.reactor.slices import Slices
from jsonrpcs_tx.rpc.call import Call
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.rpc.envelope import Request
from jsonrpcs_tx.rpc.errors import Error, error_of, with_data
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.rpc.replies import Reply

_log = make_logger(__name__)

ALL: Final = "*"
"""The name that means every node."""

NODES: Final = "gateway.nodes"
"""The command that lists the nodes. The error for an unknown name lists them only to those who may call it."""

MAX_PLACES: Final = 1024
"""Number of names with queries that are remembered."""

MAX_CHECKS: Final = 10
"""Checks per second of all nodes found automatically, so that many nodes do not spend their time on each other."""

MAX_LISTED: Final = 100
"""Names that are listed when one is not known, or when nodes have been read again."""


class Gateway(Service):
    """The nodes behind a server. While it runs, it watches them.

    @param settings: C{node}, C{node_file} and C{node_interval} are used.
    @param dispatcher: checks the rules, and answers for each of many nodes.
    @param problems: takes the errors in the nodes of the settings.
    @ivar nodes: the nodes by name, in the order of their definitions.
    @ivar peers: the other gateways before them; see L{join}.
    """

    def __init__(self, settings: Settings, dispatcher: Dispatcher, reactor: Any, problems: Problems = FIRST) -> None:
        self.nodes: dict[str, Node] = {}
        self._settings = settings
        self._dispatcher = dispatcher
        self._reactor = reactor
        self._slices = Slices(reactor)
        self._groups: dict[str, list[Node]] = {}
        self._retiring: set[Node] = set()
        self._is_closed = False
        self._places: dict[tuple[str, str], One | Many] = {}
        self._added: list[Definition] = []
        self._found: list[Definition] = []
        self.peers: Peers = ALONE
        self._written: list[Definition] = self._read(problems)
        self._make_nodes()

    def startService(self) -> None:
        super().startService()
        if self._is_closed:  # it is started again
            self._is_closed, self.nodes = False, {}
            self._make_nodes()
            return
        for node in self.nodes.values():
            node.watch.start()

    def stopService(self) -> Deferred[Any]:
        """Close everything; calls in progress fail."""
        super().stopService()
        return self.close()

    def close(self) -> Deferred[Any]:
        """End the calls in progress, which fail.

        @return: fires when all connections are closed.
        """
        self._is_closed = True
        return DeferredList([node.close() for node in (*self.nodes.values(), *self._retiring)])

    def reload(self) -> str:
        """Read the nodes again, with the files that they name. Unchanged nodes stay; the others finish their calls in
        progress. Nodes that were added while the server runs stay as well.

        @return: the outcome, for the log.
        @raise SettingError, StartError: a node cannot be used; then nothing is changed.
        """
        self._written = self._read(FIRST)
        former = dict(self.nodes)
        self._make_nodes()
        outcome = f"there are {len(self.nodes)}"
        for what, names in (
            ("new", [name for name in self.nodes if name not in former]),
            ("gone", [name for name in former if name not in self.nodes]),
            ("changed", [name for name, node in self.nodes.items() if name in former and former[name] is not node]),
        ):
            if names:
                more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
                outcome += f"; {what}: {', '.join(names[:MAX_LISTED])}{more}"
        return outcome

    def add(self, text: str) -> str:
        """Add a node.

        @param text: see L{read_definition}. It may not name files or give a password.
        @return: its name.
        @raise NotAllowed: it is not a node, or its name is taken.
        """
        definition = read_definition(text, None)
        Names([*self._written, *self._added, *self._found]).take(definition)
        self._added.append(definition)
        self._make_nodes()
        return definition.name

    def find(self, texts: Iterable[str]) -> None:
        """Replace the nodes that were found automatically.

        @param texts: each as L{add} takes it. Those that are not nodes, or whose names are taken, are left out, and
            the log says so.
        """
        found: list[Definition] = []
        names = Names([*self._written, *self._added])
        for text in texts:
            try:
                definition = read_definition(text, None)
                names.take(definition)
            except NotAllowed as error:
                _log.warn("a node that was found is left out: {reason}", reason=error)
            else:
                found.append(definition)
        if found != self._found:
            self._found = found
            self._make_nodes()

    def remove(self, name: str) -> None:
        """Remove a node; calls in progress end first. A node from the settings comes back when they are read again.

        @raise KeyError: there is no node of that name.
        """
        definition = self.nodes[name].definition
        for definitions in (self._written, self._added, self._found):
            if definition in definitions:
                definitions.remove(definition)
        self._make_nodes()

    def join(self, peers: Peers) -> None:
        """Act together with other gateways, for the nodes that were not found automatically."""
        self.peers = peers
        for node in self.nodes.values():
            if node.definition not in self._found:
                node.peers = peers

    def names(self) -> list[str]:
        """The names of all nodes and groups."""
        return [*self.nodes, *self._groups]

    def callee(self, place: str, query: str = "") -> One | Many:
        """The node or nodes that a name stands for.

        @param place: the name of a node or a group, or L{ALL}.
        @param query: the query of a URL, which decides when to reply: C{timeout}, C{quorum} and C{first}.
        @raise KeyError: there is no such node or group.
        @raise Fault: the query is not allowed.
        """
        found = self._places.get((place, query))
        if found is None:
            found = self._find(place, query)
            if len(self._places) >= MAX_PLACES:
                self._places.clear()
            self._places[place, query] = found
        return found

    def at(self, place: str, query: str, origin: Origin) -> One | Many | Error:
        """The node or nodes that the path of a URL stands for, see L{callee}; or the error for the client."""
        found = self._places.get((place, query))
        if found is not None:
            return found
        try:
            return self.callee(place, query)
        except KeyError:
            fault = self._unknown(place, origin)
            return with_data(error_of(fault), fault.data)
        except Fault as fault:
            return error_of(fault)

    def call(self, call: Call, place: str, method: str, params: Sequence[object]) -> Deferred[Reply]:
        """Call a command of one or many nodes, as part of a call to this server.

        @return: fires with the whole reply to the call to this server.
        @raise Fault: there is no such node or group.
        """
        try:
            callee = self.callee(place)
        except KeyError:
            raise self._unknown(place, call.origin.fixed()) from None
        return self._answer(call, callee, method, params)

    def call_here_and_there(
        self, call: Call, but: str, method: str, params: Sequence[object]
    ) -> tuple[Deferred[Reply], Deferred[Reply] | None]:
        """Call a command of this server and of the nodes that were found automatically, as part of a call to this
        server.

        @param but: the name under which this server itself was found.
        @return: fires with the whole reply of this server; and with that of the nodes together, as of L{call}. None:
            there are no nodes.
        """
        nodes = [self.nodes[definition.name] for definition in self._found if definition.name != but]
        members = [self._one(node, None, is_one_of_many=True) for node in nodes]
        many = Many(members, self._dispatcher, self._slices) if members else None
        own = self._answer(call, None, method, params)
        return own, None if many is None else self._answer(call, many, method, params)

    def _answer(self, call: Call, callee: One | Many | None, method: str, params: Sequence[object]) -> Deferred[Reply]:
        """@param callee: who runs the command; None: this server."""
        given: Any = msgspec.UNSET
        if params:  # nodes get them as they are written
            given = list(params) if callee is None else msgspec.Raw(msgspec.json.encode(params))
        request = Request("2.0", method, given, call.request.id)
        part = msgspec.structs.replace(call.origin.fixed(), deadline=call.deadline)
        reply = self._dispatcher.answer(request, part if callee is None else callee.origin(part))
        return succeed(reply) if type(reply) is Reply else reply

    def listing(self, place: str, origin: Origin) -> Deferred[Listing] | Error:
        """Ask a node which methods it has.

        @param place: its name.
        @param origin: who wants to know.
        @return: fires with the methods, or fails with L{Fault} if the node does not tell; the error for the client if
            there is no such node.
        """
        callee = self.at(place, "", origin)
        if isinstance(callee, Many):
            return Error(400, f"{place[:100]} means several nodes; allowed: the name of one")
        return callee if isinstance(callee, Error) else ask_listing(callee.node)

    def origin(self, name: str, origin: Origin) -> Origin:
        """The origin of calls on one node.

        @param origin: of those on this server.
        @raise KeyError: there is no node of that name.
        """
        return self._one(self.nodes[name], None, is_one_of_many=False).origin(origin)

    def allowed(self, origin: Origin, method: str) -> tuple[str, ...]:
        """The names of the nodes on which a caller may call a method."""
        forbids = self._dispatcher.forbids
        return tuple(name for name in self.nodes if not forbids(self.origin(name, origin), method, msgspec.UNSET))

    def callable_by(self, origin: Origin) -> list[Node]:
        """The nodes on which a caller may call anything.

        @param origin: of calls on this server.
        """
        caller, access = origin.caller, self._dispatcher.access
        return [node for node in self.nodes.values() if caller is None or access.admits(caller, node.names)]

    def problems(self) -> Iterable[str]:
        """The nodes that are down, and why."""
        return [f"{node.name}: {node.watch.reason}" for node in self.nodes.values() if node.watch.state == DOWN]

    def count(self, state: str) -> int:
        """How many nodes are in a state."""
        return sum(node.watch.state == state for node in self.nodes.values())

    def _read(self, problems: Problems) -> list[Definition]:
        """The nodes from the setting C{node} and from C{node_file}.

        @raise SettingError, StartError: see L{reload}.
        """
        settings = self._settings
        found: list[Definition] = []
        names = Names(self._added)

        def absolute(path: str) -> str:
            return abspath(settings.path(path))

        for text in settings.node:
            try:
                definition = read_definition(text, absolute)
                names.take(definition)
                found.append(definition)
            except NotAllowed as error:
                problems.note(SettingError("node", text, f"{error.allowed} ({error.reason})"))
        if settings.node_file:
            path = absolute(str(settings.node_file))
            with problems.noted():
                for definition, line in read_node_file(path, absolute, problems):
                    try:
                        names.take(definition)
                        found.append(definition)
                    except NotAllowed as error:
                        problems.note(StartError("node_file", path, error.reason, error.allowed, line))
        return found

    def _make_nodes(self) -> None:
        """Make the nodes that are defined in the settings or were added. Unchanged nodes stay."""
        former, self.nodes = self.nodes, {}
        for definition in (*self._written, *self._added):
            self._make_node(definition, former, self.peers, lambda: 0.0)
        for definition in self._found:
            self._make_node(definition, former, ALONE, self._spare)
        self._groups = {}
        for node in self.nodes.values():
            for group in node.definition.groups:
                self._groups.setdefault(group, []).append(node)
        self._places.clear()
        for node in former.values():
            self._retiring.add(node)
            node.retire().addCallback(self._retired, node)

    def _make_node(
        self, definition: Definition, former: dict[str, Node], peers: Peers, spare: Callable[[], float]
    ) -> None:
        """Make a node, or take it from the former ones if it is unchanged."""
        node = former.get(definition.name)
        if node is not None and node.definition == definition:
            del former[definition.name]
        else:
            node = Node(definition, self._reactor, self._settings.node_interval, peers, spare)
            if self.running:
                node.watch.start()
        self.nodes[definition.name] = node

    def _spare(self) -> float:
        """Seconds by which the interval between two checks of a node that was found is longer than the setting: it is
        announced as long as it lives, and a call of it that fails has it checked at once.
        """
        return max(0.0, len(self._found) / MAX_CHECKS - self._settings.node_interval)

    def _retired(self, _: object, node: Node) -> None:
        self._retiring.discard(node)

    def _unknown(self, place: str, origin: Origin) -> Fault:
        """The fault for a name that is not known. It lists those that are for callers who may call L{NODES}."""
        if self._dispatcher.forbids(origin, NODES, []):
            return not_found(place)
        return not_found(place, {"nodes": [*self.nodes][:MAX_LISTED], "groups": [*self._groups][:MAX_LISTED]})

    def _find(self, place: str, query: str) -> One | Many:
        asked = read_query(query)
        node = self.nodes.get(place)
        if node is not None:
            if asked.quorum not in (None, 1):
                raise Fault(400, "quorum: a single node is asked; allowed: 1")
            return self._one(node, asked.timeout, is_one_of_many=False)
        nodes = list(self.nodes.values()) if place == ALL else self._groups[place]
        if not nodes:
            raise KeyError(place)
        if asked.quorum is not None and asked.quorum > len(nodes):
            raise Fault(400, f"quorum: {len(nodes)} nodes are asked; allowed: 1 to {len(nodes)}")
        members = [self._one(node, asked.timeout, is_one_of_many=True) for node in nodes]
        return Many(members, self._dispatcher, self._slices, asked.quorum)

    def _one(self, node: Node, timeout: float | None, is_one_of_many: bool) -> One:
        limits = [limit for limit in (node.definition.timeout, timeout) if limit is not None]
        compact = bool(self._settings.pretty_format)
        return One(node, self._reactor, compact, min(limits, default=inf), is_one_of_many)
