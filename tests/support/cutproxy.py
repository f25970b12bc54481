"""A TCP proxy in the test's reactor, which cuts, stalls or delays what goes through it."""

from typing import Any

from twisted.internet import reactor as twisted_reactor
from twisted.internet.protocol import connectionDone
from twisted.protocols.portforward import ProxyClient, ProxyClientFactory, ProxyFactory, ProxyServer
from twisted.python.failure import Failure

reactor: Any = twisted_reactor


class CutProxy:
    """Passes everything on between its clients and a server, until the test says otherwise.

    @param port: TCP, on the loopback address: that of the server.
    @ivar port: where it listens itself.
    @ivar accepted: how many connections it has taken.
    """

    def __init__(self, port: int) -> None:
        self.accepted = 0
        self._ends: set[Any] = set()
        self._lossy: set[Any] = set()
        self._stalled = self._refuses = False
        self._delay = 0.0
        factory: Any = ProxyFactory("127.0.0.1", port)
        factory.noisy = False
        factory.protocol = _ClientEnd
        factory.proxy = self
        self._listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port: int = self._listening.getHost().port

    def stop(self) -> Any:
        """Listen no more, and end all connections."""
        self.cut()
        return self._listening.stopListening()

    def cut(self) -> None:
        """Reset all connections at once, and each new one as soon as it is made."""
        self._refuses = True
        self._reset(self._ends)

    def stall(self) -> None:
        """Lose all bytes from now on, silently, as a network without a route. New connections are made, but nothing
        passes over them.
        """
        self._stalled = True

    def delay(self, seconds: float) -> None:
        """Delay everything, in each direction."""
        self._delay = seconds

    def mend(self) -> None:
        """Pass on new bytes again, at once. Connections that have lost some are reset."""
        self._stalled = self._refuses = False
        self._delay = 0.0
        self._reset(self._lossy)

    def pass_on(self, end: Any, data: bytes) -> None:
        """Bytes have come from one end."""
        if self._stalled:
            self._lossy.add(end)
        elif self._delay:
            reactor.callLater(self._delay, end.peer.transport.write, data)
        else:
            end.peer.transport.write(data)

    def add(self, end: Any) -> None:
        """An end is there."""
        self._ends.add(end)
        if self._refuses:
            end.transport.abortConnection()

    def remove(self, end: Any) -> None:
        """An end has gone."""
        self._ends.discard(end)
        self._lossy.discard(end)

    @staticmethod
    def _reset(ends: set[Any]) -> None:
        for end in [*ends]:
            end.transport.abortConnection()


class _ServerEnd(ProxyClient):
    """The connection to the server."""

    peer: Any

    def connectionMade(self) -> None:
        super().connectionMade()
        self.peer.factory.proxy.add(self)

    def dataReceived(self, data: bytes) -> None:
        self.peer.factory.proxy.pass_on(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.peer.factory.proxy.remove(self)
        super().connectionLost(reason)


class _ServerEnds(ProxyClientFactory):
    noisy = False
    protocol = _ServerEnd


class _ClientEnd(ProxyServer):
    """The connection of a client."""

    factory: Any
    clientProtocolFactory = _ServerEnds

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.proxy.accepted += 1
        self.factory.proxy.add(self)

    def dataReceived(self, data: bytes) -> None:
        self.factory.proxy.pass_on(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.proxy.remove(self)
        super().connectionLost(reason)
