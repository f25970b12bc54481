"""Listening for connections on any Twisted endpoint: what HTTP, HTTPS and TCP have in common."""

import os
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure

from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.config.problems import FIRST, Problems
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.transports import endpoints, proxyprotocol
from jsonrpcs_tx.transports.accepting import Acceptor, Gate
from jsonrpcs_tx.transports.base import Listener, Transport
from jsonrpcs_tx.transports.connections import Connections
from jsonrpcs_tx.transports.files import FileKeeper
from jsonrpcs_tx.transports.readgroup import ReadGroup, group_reads
from jsonrpcs_tx.transports.unixstreams import UnixPort

_log = make_logger(__name__)


class StreamService(Transport):
    """Listens on an endpoint. A Unix socket is made again if it is removed.

    @param setting: the setting that the endpoint comes from, for messages.
    @param endpoint: a Twisted server endpoint string.
    @param protocol: the listener's name, for the log and C{core.sockets_list}.
    @param factory: makes the protocols. It has their L{Connections} as C{connections}, tells with C{admits} whether it
        accepts one from an address, and has its own C{settings_changed}.
    @param access: its rules say whether other machines may reach the endpoint.
    @param refusal: what is sent to clients that the factory does not admit; empty: nothing.
    @param fast: read all connections in one turn of the reactor, see L{jsonrpcs_tx.transports.readgroup}. The factory
        then has their C{turns}.
    """

    path: str | None = None

    def __init__(
        self,
        setting: str,
        endpoint: str,
        protocol: str,
        factory: Any,
        access: AccessControl,
        reactor: Any,
        refusal: bytes = b"",
        fast: bool = False,
    ) -> None:
        self.protocol = protocol
        self.connections: Connections = factory.connections
        self._access = access
        self.setting = setting
        self._endpoint = endpoint
        self._factory: IProtocolFactory = factory
        self._own_factory = factory
        self._refusal = refusal
        self._reactor = reactor
        self._fast = fast
        self._group: ReadGroup | None = None
        self._port_is_open: Callable[[], bool] = bool
        self._acceptor: Acceptor | None = None
        self._listening: Deferred[IListeningPort | None] | None = None
        self._keeper = FileKeeper(self, reactor)

    def waiting(self) -> tuple[int, int]:
        return self.connections.unread.waiting()

    def check(self, problems: Problems) -> None:
        endpoint = self._endpoint.removeprefix(proxyprotocol.PREFIX)
        try:
            host, self.path = endpoints.opened_by(self.setting, endpoint, self._reactor, problems)
        except Exception:  # each kind of endpoint raises its own errors
            problems.note(self._error(Failure()))
        else:
            with problems.noted():
                self._check_access(host)

    def _check_access(self, host: str | None) -> None:
        """@raise StartError: other machines can reach the address, and no rule says what they may call."""
        if not self._access.covers(self.protocol, host):
            allowed = f"a loopback address, or a rule for {self.protocol}"
            raise StartError(self.setting, self._endpoint, "reaches beyond this machine", allowed)

    def privilegedStartService(self) -> None:
        """Bind the port, while the process may still do so.

        @raise StartError: the port cannot be bound.
        """
        if self._listening is not None:
            return
        self.check(FIRST)
        failures: list[Failure] = []
        try:
            listening = self._listen()
        except Exception:  # each kind of endpoint raises its own errors
            raise self._error(Failure()) from None
        self._listening = listening.addCallback(self._listens).addErrback(failures.append)
        if failures:
            self._listening = None
            raise self._error(failures[0])

    def _listen(self) -> Deferred[IListeningPort]:
        factory: Any = Gate(self._own_factory, self._factory, self._refusal)
        endpoint = self._endpoint.removeprefix(proxyprotocol.PREFIX)
        if endpoint != self._endpoint:
            factory = proxyprotocol.ProxyFactory(factory, self._own_factory, self._reactor)
        listening: Deferred[IListeningPort] = endpoints.make_endpoint(self.setting, endpoint, self._reactor).listen(
            factory
        )
        return listening

    def problem(self) -> str | None:
        # The reactor closes a port whose descriptor fails.
        return super().problem() or (None if self._port_is_open() else f"{self.listener}: the port is closed")

    def settings_changed(self, settings: Settings) -> None:
        """Apply a change of settings to a running server."""
        self._own_factory.settings_changed(settings)
        if self._acceptor is not None:
            self._acceptor.set_backlog()

    def rules_changed(self) -> None:
        for _, connection in self.connections:
            connection.forget_caller()

    def startService(self) -> None:
        super().startService()
        if self.file is not None:
            self._keeper.keep(self.file)

    def stopService(self) -> Deferred[None] | None:
        """@return: a Deferred that fires with None when the port and all connections are closed."""
        super().stopService()
        self._keeper.stop()
        listening, self._listening, self.listener = self._listening, None, None
        if self.file is not None:  # now, since a start that fails never gets to where the port is closed
            self.file.remove()
            self.file = None
        if listening is None:
            return None
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
        closed = listening.addCallback(lambda port: None if port is None else port.stopListening())
        return closed.addCallback(lambda _: self.connections.close(self._reactor)).addCallback(self._closed)

    def _closed(self, _: None) -> None:
        if self._group is not None:
            self._group.close()
            self._group = None

    def _listens(self, port: IListeningPort) -> IListeningPort:
        host = port.getHost()
        self._port_is_open = lambda: bool(getattr(port, "connected", True))
        try:
            self._check_access(getattr(host, "host", None))
        except StartError:
            port.stopListening()
            raise
        if self._fast:
            self._group = group_reads(port, self.protocol, self._own_factory.turns, self._reactor)
        if isinstance(port, tcp.Port):
            self._acceptor = Acceptor(port, self._endpoint, self.connections, self._reactor)
        self.file = port.file if isinstance(port, UnixPort) else None
        if isinstance(host, IPv4Address | IPv6Address):
            self.listener = Listener(self.protocol, host.host, host.port)
        elif isinstance(host, UNIXAddress):
            self.listener = Listener(self.protocol, os.fsdecode(host.name or b""))
        else:
            self.listener = Listener(self.protocol, self._endpoint)
        _log.info("listening on {listener}", listener=self.listener)
        return port

    def _error(self, failure: Failure) -> StartError:
        if isinstance(failure.value, StartError):
            return failure.value
        if isinstance(failure.value, CannotListenError) and isinstance(failure.value.socketError, OSError):
            reason = failure.value.socketError.strerror
            return StartError(self.setting, self._endpoint, reason, "a free address of this machine")
        reason = failure.getErrorMessage()
        return StartError(self.setting, self._endpoint, reason, "an endpoint that can be listened on")
