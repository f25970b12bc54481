"""Listening for connections, on any Twisted endpoint: what HTTP, HTTPS and TCP have in common."""

import os
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final, Protocol

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure

from jsonrpcs_tx.access import Access
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.settings import Settings
from jsonrpcs_tx.transports import Listener
from jsonrpcs_tx.transports.fastreads import ReadGroup, group_reads

_log = make_logger(__name__)

CLOSE_TIME: Final = 3.0
"""Seconds in which requests in hand may still be answered when the server stops."""


class Connection(Protocol):
    """What L{Connections} asks of the protocol of a connection.

    @ivar busy: a request is being answered.
    """

    transport: Any

    @property
    def busy(self) -> bool: ...

    def close(self) -> None:
        """Close the connection, after the reply to the request that is being answered."""


class Connections:
    """The open connections of a factory, each with a number.

    @param limit: how many may be open; a further one takes the place of the one that was idle for the longest time.
    @ivar limit: may be set at any time.
    @ivar accepted: how many there were, which is the number of the last one.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._open: OrderedDict[Connection, int] = OrderedDict()  # the one that was used last comes last
        self._gone: Deferred[None] | None = None
        self.accepted = 0

    def add(self, protocol: Connection) -> None:
        """Note a new connection, and cut off another, or if all are busy this one, if they are too many."""
        self.accepted += 1
        self._open[protocol] = self.accepted
        if len(self._open) > self.limit:
            idle = next(protocol for protocol in self._open if not protocol.busy)
            del self._open[idle]
            idle.transport.abortConnection()  # to close it would take a client that reads
            peer = idle.transport.getPeer()
            _log.warn("{limit} connections are open (max_connections), {peer} is cut off", limit=self.limit, peer=peer)

    def used(self, protocol: Connection) -> None:
        """Note that a connection is in use."""
        if protocol in self._open:
            self._open.move_to_end(protocol)

    def discard(self, protocol: Connection) -> None:
        self._open.pop(protocol, None)
        if not self._open and self._gone is not None:
            gone, self._gone = self._gone, None
            gone.callback(None)

    def close(self, reactor: Any) -> Deferred[None]:
        """Close all connections, once the requests in hand are answered; after L{CLOSE_TIME} whatever is left.

        @return: a Deferred that fires with None when the last one is gone.
        """
        if not self._open:
            return succeed(None)
        gone: Deferred[None] = Deferred()
        self._gone = gone

        def abort() -> None:
            for protocol in list(self._open):
                protocol.transport.abortConnection()

        late = reactor.callLater(CLOSE_TIME, abort)
        for protocol in list(self._open):
            protocol.close()

        def done(_: None) -> None:
            if late.active():
                late.cancel()

        return gone.addCallback(done)

    @property
    def opened(self) -> int:
        """How many are open."""
        return len(self._open)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Each number with its protocol."""
        return ((number, protocol) for protocol, number in self._open.items())


class StreamService(Service):
    """Listens on an endpoint.

    @param setting: that the endpoint comes from, for messages.
    @param endpoint: a Twisted server endpoint string.
    @param protocol: the listener's, for the log and C{core.sockets_list}.
    @param factory: makes the protocols; it has their L{Connections} as C{connections}, and a C{settings_changed} of
        its own.
    @param access: whose rules say whether others than this machine may reach it.
    @param fast: read all connections in one turn of the reactor, see L{jsonrpcs_tx.transports.fastreads}.
    @ivar listener: the address that is listened on; None while it is not.
    """

    listener: Listener | None = None

    def __init__(
        self,
        setting: str,
        endpoint: str,
        protocol: str,
        factory: Any,
        access: Access,
        reactor: Any,
        fast: bool = False,
    ) -> None:
        self.protocol = protocol
        self.connections: Connections = factory.connections
        self._access = access
        self._setting = setting
        self._endpoint = endpoint
        self._factory: IProtocolFactory = factory
        self._own_factory = factory
        self._reactor = reactor
        self._fast = fast
        self._group: ReadGroup | None = None
        self._listening: Deferred[IListeningPort | None] | None = None

    def privilegedStartService(self) -> None:
        """Bind the port, while the process may still do so.

        @raise StartError: it cannot be bound.
        """
        if self._listening is not None:
            return
        failures: list[Failure] = []
        try:
            listening = serverFromString(self._reactor, self._endpoint).listen(self._factory)
        except Exception:  # each kind of endpoint has errors of its own for what it cannot read
            raise self._error(Failure()) from None
        self._listening = listening.addCallback(self._listens).addErrback(failures.append)
        if failures:
            self._listening = None
            raise self._error(failures[0])

    def settings_changed(self, settings: Settings) -> None:
        """Take on what a change of settings means for a running server."""
        self._own_factory.settings_changed(settings)

    def startService(self) -> None:
        self.privilegedStartService()
        super().startService()

    def stopService(self) -> Deferred[None] | None:
        """@return: a Deferred that fires with None when the port and all connections are closed."""
        super().stopService()
        listening, self._listening, self.listener = self._listening, None, None
        if listening is None:
            return None
        closed = listening.addCallback(lambda port: None if port is None else port.stopListening())
        return closed.addCallback(lambda _: self.connections.close(self._reactor)).addCallback(self._closed)

    def _closed(self, _: None) -> None:
        if self._group is not None:
            self._group.close()
            self._group = None

    def _listens(self, port: IListeningPort) -> IListeningPort:
        host = port.getHost()
        if not self._access.covers(self.protocol, getattr(host, "host", None)):
            port.stopListening()
            raise ValueError(f"reaches beyond this machine; allowed: a loopback address, or a rule for {self.protocol}")
        if self._fast:
            self._group = group_reads(port, self.protocol, self._reactor)
        if isinstance(host, IPv4Address | IPv6Address):
            self.listener = Listener(self.protocol, host.host, host.port)
        elif isinstance(host, UNIXAddress):
            self.listener = Listener(self.protocol, os.fsdecode(host.name or b""))
        else:
            self.listener = Listener(self.protocol, self._endpoint)
        _log.info("listening on {listener}", listener=self.listener)
        return port

    def _error(self, failure: Failure) -> StartError:
        reason = f"{failure.getErrorMessage()}; allowed: an endpoint that can be listened on"
        return StartError(f"{self._setting}: {self._endpoint}: {reason}")
