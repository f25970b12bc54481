"""Data that is sent without waiting for the reactor's next turn."""

from typing import Any

from twisted.internet import tcp


def send_at_once(transport: Any, data: bytes) -> None:
    """Send what the socket takes right now, without another turn of the reactor; the transport sends the rest.

    @param transport: of Twisted. One of another kind than TCP and Unix sockets sends all of it, in its own time.
    """
    if (
        isinstance(transport, tcp.Connection)
        and transport.connected
        and not transport.dataBuffer
        and not getattr(transport, "_tempDataBuffer", True)  # private to Twisted
    ):
        try:
            sent = transport.socket.send(data)
        except OSError:
            sent = 0  # the transport meets the same error, and handles it
        if sent == len(data):
            return
        data = data[sent:]
    transport.write(data)
