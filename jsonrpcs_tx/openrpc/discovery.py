"""Which methods a document describes for a caller, and when it is written: at once, or in slices if there are many."""

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred

from jsonrpcs_tx._version import __version__
from jsonrpcs_tx.access.control import NO_NODES
from jsonrpcs_tx.openrpc.document import write
from jsonrpcs_tx.openrpc.methods import Method, of_command, of_kamailio
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.rpc.registry import Command
from jsonrpcs_tx.slices import Slices

if TYPE_CHECKING:
    from jsonrpcs_tx.gateway.listing import Listing  # only few servers are gateways

METHOD: Final = "rpc.discover"
"""The method that returns the document, by its name in OpenRPC."""

TITLE: Final = "jsonrpcs_tx"

AT_ONCE: Final = 1000
"""Most commands for which a document is written at once. With more, it is written in slices."""

MAX_KEPT: Final = 16
"""Documents that are kept for those who ask for the same one."""

MAX_KEPT_SIZE: Final = 1_000_000
"""Bytes of the largest document that is kept."""


class Discovery:
    """Describes for each caller what that caller may call.

    The description of a command is written once. A command that has changed is another object.

    @param dispatcher: has the commands, and decides who may call them.
    @param slices: in which long documents are written.
    @ivar listing: asks a node for its methods, see L{jsonrpcs_tx.gateway.gateway.Gateway.listing}; None: there are no
        nodes.
    """

    def __init__(self, dispatcher: Dispatcher, slices: Slices) -> None:
        self.listing: Callable[[str, Origin], Deferred[Listing] | Error] | None = None
        self._dispatcher = dispatcher
        self._table = dispatcher.registry.table
        self._names: list[str] | None = None
        self._written: WeakKeyDictionary[Command, Method] = WeakKeyDictionary()
        self._kept: dict[tuple[str, tuple[Command, ...]], bytes] = {}
        self._slices = slices
        dispatcher.registry.observers.append(self._changed)

    def document(self, origin: Origin, node: str = "", url: str = "") -> bytes | Deferred[bytes]:
        """The document for a caller.

        @param origin: who asks.
        @param node: the name of the node whose commands it describes; empty: this server.
        @param url: where these can be called over HTTP; empty: unknown.
        @return: JSON; a Deferred of it for a node, and where there are more than L{AT_ONCE} commands. It fails with
            L{Fault} if the node does not answer.
        @raise Fault: there is no such node.
        """
        if node:
            asked = Error(404, f"Node Not Found: {node[:100]}") if self.listing is None else self.listing(node, origin)
            if isinstance(asked, Error):
                raise Fault(asked.code, asked.text)
            return asked.addCallback(self._of_node, origin, url)
        if self._names is None:
            self._names = sorted(self._table)
        return self._run(self._of_server(self._names, origin, url), len(self._names))

    def _of_node(self, listing: "Listing", origin: Origin, url: str) -> bytes | Deferred[bytes]:
        allowed = [*self._allowed(listing.methods, origin, listing.names)]
        if listing.methods and not allowed:
            raise Fault(403, f"a rule must allow something on node {listing.name}")
        writing = write(listing.name, listing.version, url, (of_kamailio(name) for name in allowed))
        return self._run(writing, len(listing.methods))

    def _of_server(self, names: list[str], origin: Origin, url: str) -> Generator[None, None, bytes]:
        commands: list[Command] = []
        for name in self._allowed(names, origin):
            command = self._table.get(name)  # it may have been removed in the meantime
            if command is not None:
                commands.append(command)
            yield
        key = url, tuple(commands)
        kept = self._kept.get(key)
        if kept is None:
            kept = yield from write(TITLE, __version__, url, map(self._method, commands))
            if len(kept) <= MAX_KEPT_SIZE:
                while len(self._kept) >= MAX_KEPT:
                    del self._kept[next(iter(self._kept))]
                self._kept[key] = kept
        return kept

    def _allowed(self, names: Iterable[str], origin: Origin, nodes: frozenset[str] = NO_NODES) -> Iterator[str]:
        """The methods that a caller may call, on this server or on a node."""
        caller, access = origin.caller, self._dispatcher.access
        return (name for name in names if caller is None or access.allows_some(caller, name, nodes))

    def _method(self, command: Command) -> Method:
        method = self._written.get(command)
        if method is None:
            dialect = self._dispatcher.dialect
            method = self._written[command] = of_command(command, dialect.by_name, dialect.invalid_params)
        return method

    def _run(self, writing: Generator[None, None, bytes], commands: int) -> bytes | Deferred[bytes]:
        return _exhaust(writing) if commands <= AT_ONCE else self._slices.run(writing)

    def _changed(self) -> None:
        """The commands have changed."""
        self._names = None
        self._kept.clear()


def _exhaust(writing: Generator[None, None, bytes]) -> bytes:
    """Run a generator to its end."""
    while True:
        try:
            next(writing)
        except StopIteration as end:
            found: bytes = end.value
            return found
