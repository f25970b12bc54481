"""Which connections a port accepts, and when: none from strangers, and no more than there is room for."""

import re
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol

from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.transports.connections import Connections

_log = make_logger(__name__)

MAX_ACCEPTED: Final = 20
"""Connections that are accepted before others get their turn: some milliseconds."""

RETRY: Final = 0.25
"""Seconds after which a full server looks again for waiting clients and idle connections."""

ROOMY: Final = 0.8
"""At most this fraction of the connections may be open when the log says that a full server has room again."""

_OWN_BACKLOG = re.compile(r"(?<!\\):backlog=")


class Gate(Factory):
    """Stands before a factory, and lets in the clients that may call.

    @param factory: makes the protocols; it has C{admits}, which tells whether an address may call, C{connections}, and
        C{turned_away}, which notes that a connection is refused.
    @param behind: the same factory, or what wraps it.
    @param refusal: what a stranger is sent before the connection is closed; empty: nothing is sent.
    """

    noisy = False

    def __init__(self, factory: Any, behind: Any, refusal: bytes) -> None:
        self._site = factory
        self._behind = behind
        self._refusal = refusal

    def doStart(self) -> None:
        self._behind.doStart()

    def doStop(self) -> None:
        self._behind.doStop()

    def logPrefix(self) -> str:
        return type(self._site).__name__

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """@return: None if the connection is to be closed at once."""
        connections: Connections = self._site.connections
        if not self._site.admits(addr):
            connections.rejected += 1
            self._site.turned_away(addr, "outside http_allow")
            return _Refusal(self._refusal) if self._refusal else None
        if connections.opened > connections.limit:  # the port is one that cannot be paused
            connections.rejected += 1
            return None
        return self._behind.buildProtocol(addr)


class _Refusal(Protocol):
    """Sends a refusal, and closes the connection."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._text)
        self.transport.loseConnection()


class Acceptor:
    """Accepts connections at a port while there is room; others wait in the backlog. When a client waits, the
    connection that has been idle longest is closed to make room.

    @param endpoint: the endpoint string of the port, which may set a backlog of its own.
    """

    def __init__(self, port: tcp.Port, endpoint: str, connections: Connections, clock: IReactorTime) -> None:
        self._port = port
        self._connections = connections
        self._clock = clock
        self._retry: IDelayedCall | None = None
        self._endpoint = endpoint
        self._closed = self._crowded = False
        self._accept = port.doRead
        self._sets_backlog = port.backlog == tcp.Port.backlog and not _OWN_BACKLOG.search(endpoint)
        port.doRead = self._read  # type: ignore[method-assign] # the reactor calls it
        connections.changed = self._changed
        self.set_backlog()

    def close(self) -> None:
        """Accept no more connections."""
        self._closed = True
        self._cancel_retry()
        self._connections.changed = None

    def _read(self) -> None:
        """Accept as many waiting connections as there is room for."""
        port, connections = self._port, self._connections
        room = connections.limit - connections.opened
        if room > 0:
            # Twisted takes more at once as long as they come, without a limit, and then one, without looking for more.
            port.numberAccepts = min(room, MAX_ACCEPTED, port.numberAccepts)
            self._accept()
            return
        if not self._crowded:
            self._crowded = True
            _log.warn(
                "{endpoint}: all {limit} connections (max_connections) are open; for each client that waits, the one "
                "that has been idle longest is closed",
                endpoint=self._endpoint,
                limit=connections.limit,
            )
        idle = connections.idle() if room == 0 else None
        if idle is None:
            self._pause()
            return
        before = connections.accepted
        port.numberAccepts = 1
        self._accept()
        if connections.accepted > before:  # it was not a stranger
            connections.cut(idle)

    def _pause(self) -> None:
        self._port.stopReading()
        self._retry = self._clock.callLater(RETRY, self._resume)

    def _resume(self) -> None:
        self._cancel_retry()
        if not self._closed:
            self._port.startReading()

    def _changed(self) -> None:
        """A connection was closed, or the limit has changed."""
        opened, limit = self._connections.opened, self._connections.limit
        if self._retry is not None and opened < limit:
            self._resume()
        if self._crowded and opened <= ROOMY * limit:
            self._crowded = False
            _log.info("{endpoint}: there is room for connections again", endpoint=self._endpoint)

    def _cancel_retry(self) -> None:
        retry, self._retry = self._retry, None
        if retry is not None and retry.active():
            retry.cancel()

    def set_backlog(self) -> None:
        """Let as many connections wait as may be open, and at least as many as Twisted does."""
        if self._sets_backlog:
            self._port.socket.listen(max(self._connections.limit, tcp.Port.backlog))
