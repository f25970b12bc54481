"""Data that is sent without waiting for the reactor's next turn."""

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet import tcp


class SendsAtOnce:
    """Adds L{send_at_once} to a transport of TCP or a Unix socket as a method, which takes less time."""

    def send_at_once(self: Any, data: bytes) -> None:
        """Send what the socket takes right now, without another turn of the reactor; the transport sends the rest."""
        if (
            self.connected and not self.dataBuffer and not getattr(self, "_tempDataBuffer", True)  # private to Twisted
        ):
            try:
                sent = self.socket.send(data)
            except OSError:
                sent = 0  # the transport meets the same error, and handles it
            if sent == len(data):
                return
            data = data[sent:]
        self.write(data)


def send_at_once(transport: Any, data: bytes) -> None:
    """The same as a function.

    @param transport: of Twisted. One of another kind than TCP and Unix sockets sends all of it, in its own time.
    """
    if isinstance(transport, tcp.Connection):
        SendsAtOnce.send_at_once(transport, data)
    else:
        transport.write(data)


def sender(transport: Any) -> Callable[[bytes], None]:
    """What sends data over a transport at once: a method that it has for this, or L{send_at_once}.

    The method is looked for in its class. A transport that is wrapped around another, as TLS is, shows attributes of
    that one as its own: what it has to encrypt would be sent as it is.
    """
    if hasattr(type(transport), "send_at_once"):
        send: Callable[[bytes], None] = transport.send_at_once
        return send
    return partial(send_at_once, transport)
