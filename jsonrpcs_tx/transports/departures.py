"""Finds out which clients leave while their commands are in progress.

A client that has closed its sending side may still want its reply, and TCP cannot tell it from one that has gone. Only
sending can: if nobody is there, the next thing that is sent comes back as a reset. And while reading is paused, the end
of a connection goes unnoticed. So the connections that wait for a reply are checked once in L{INTERVAL}.
"""

import select
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from jsonrpcs_tx.transports.unread import socket_transport

INTERVAL: Final = 1.0
"""Seconds between two checks."""

_GONE: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Departures:
    """Watches the connections whose commands are in progress.

    @param clock: tells when to check.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: set[Any] = set()
        self._next: IDelayedCall | None = None

    def watch(self, protocol: Any) -> None:
        """Watch a connection for as long as it is C{busy}: C{abort} it when its client has gone, and have it C{ask} for
        a sign of life when the client has closed its sending side, of TLS (C{half_closed}) or of TCP, and at each check
        while reading is paused (C{is_full}).
        """
        self._waiting.add(protocol)
        if self._next is None:
            self._next = self._clock.callLater(INTERVAL, self._look)

    def discard(self, protocol: Any) -> None:
        """Stop watching a connection: it is closed."""
        self._waiting.discard(protocol)

    def close(self) -> None:
        """Stop watching."""
        self._waiting.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _look(self) -> None:
        self._next = None
        self._waiting = {protocol for protocol in self._waiting if protocol.busy}
        poll, protocols = select.poll(), {}
        for protocol in self._waiting:
            transport = socket_transport(protocol.transport)
            if getattr(transport, "connected", False) and hasattr(transport, "fileno"):
                protocols[transport.fileno()] = protocol
                poll.register(transport.fileno(), select.POLLRDHUP)
        ended = dict(poll.poll(0)) if protocols else {}
        for fd, protocol in protocols.items():
            event = ended.get(fd, 0)
            if event & _GONE:
                protocol.abort()
            elif event or protocol.half_closed:
                protocol.ask(event)
            elif protocol.is_full:  # its end, if it has come, is behind what is not read
                protocol.ask(None)
        if self._waiting:
            self._next = self._clock.callLater(INTERVAL, self._look)
