"""Readers of datagram sockets, put together as a server does it."""

import socket
from typing import Any

from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.transports.datagramreader import DatagramReader
from jsonrpcs_tx.transports.datagramreplies import DatagramReplies
from jsonrpcs_tx.transports.replysocket import reply_socket
from jsonrpcs_tx.transports.responder import Responder


def make_reader(
    kind: type[DatagramReader], sock: socket.socket, dispatcher: Dispatcher, protocol: str, timeout: float, reactor: Any
) -> Any:
    """A reader of a bound socket. Its C{receiver} is the L{Responder} that answers what it reads.

    @param timeout: seconds to try to send a reply to a client whose queue is full.
    """
    replies = DatagramReplies(protocol, reply_socket(sock, reactor), dispatcher, timeout, reactor)
    make: Any = kind
    return make(sock, Responder(dispatcher, protocol, replies), reactor)
