"""The target that is a whole server: hostile bytes on any transport must not keep it from answering."""

import atexit
import contextlib
import os
import socket
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from twisted.internet.task import Clock

from fuzz.common import CUT
from jsonrpcs_tx import Dispatcher, Registry
from jsonrpcs_tx.rpc.dispatcher import Origin
from jsonrpcs_tx.transports.framing import Framer
from jsonrpcs_tx.transports.httpdirect import DirectSite
from tests.support import ECHO, ECHO_REPLY, TRANSPORTS, Server, datagram_client, unverified, write_fifo
from tests.support.httpmemory import Commands, Connection

MOST_GROWTH: Final = 60_000
"""kB that the server may take in total above what it took at its first request."""

MAX_REQUEST: Final = 65_456
"""The largest document over the FIFO, in bytes, as the server is set."""

MAX_PIECES: Final = 20
PATIENCE: Final = 0.2
"""Seconds to wait for the server to take what is sent."""


@cache
def _server() -> tuple[Server, int, subprocess.Popen[bytes]]:
    """The server, which lives as long as this process; the kB that it took at first; and what ends it."""
    directory = Path(tempfile.mkdtemp(prefix="fuzz"))
    running = Server(directory, "--fifo-timeout=200", "--async-timeout=1", "--htable=a=>size=4;")
    # The fuzzer ends this process in a way that only the other end of a pipe can notice.
    last_will = ["sh", "-c", 'cat; kill "$1"; rm -rf "$2"', "sh", str(running.process.pid), str(directory)]
    will = subprocess.Popen(last_will, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    atexit.register(_end, running, will)  # if this process ends in the usual way
    for transport in TRANSPORTS:
        assert running.call(transport, ECHO) == ECHO_REPLY
    return running, _resident(running), will


def _end(running: Server, will: subprocess.Popen[bytes]) -> None:
    running.stop()
    will.communicate()


def _resident(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def server(data: bytes) -> None:
    """Whatever comes over any transport, a good request after it is answered over each transport; memory is bounded.

    The first byte selects the transport; the rest is sent in the pieces into which it is cut.
    """
    running, at_first, _ = _server()
    transport = TRANSPORTS[data[0] % len(TRANSPORTS)] if data else "unix"
    pieces = [piece for piece in data[1:].split(CUT)[:MAX_PIECES] if piece]
    _guide(transport, pieces)
    _send(running, transport, pieces)
    for name in TRANSPORTS:
        assert running.call(name, ECHO) == ECHO_REPLY, name
    assert _resident(running) - at_first < MOST_GROWTH


def _guide(transport: str, pieces: list[bytes]) -> None:
    """Have the same code read the bytes in this process, where the fuzzer sees which parts of it they reach."""
    if transport in ("http", "https"):
        Connection(DirectSite).feed(*pieces).end()
        return
    documents = pieces
    if transport in ("fifo", "tcp"):
        framer = Framer(MAX_REQUEST)
        documents = [document for piece in pieces for document in framer.feed(piece)] + framer.give_up()
    for document in documents:
        _dispatcher().dispatch(document, Origin(transport))


@cache
def _dispatcher() -> Dispatcher:
    return Dispatcher(Registry(Commands()), Clock())


def _send(running: Server, transport: str, pieces: list[bytes]) -> None:
    """Send hostile bytes, and leave."""
    address = running.addresses[transport]
    with contextlib.suppress(OSError):  # the server may close its end at any time
        if transport == "fifo":
            for piece in pieces:
                write_fifo(address, piece[: 16 * os.sysconf("SC_PAGE_SIZE")])
            write_fifo(address, b"\n")  # a good client cannot help a line that another has begun
        elif transport in ("unix", "udp4", "udp6"):
            with datagram_client(address) as client:
                for piece in pieces:
                    client.send(piece)
        else:
            with contextlib.ExitStack() as stack:
                connection = stack.enter_context(socket.create_connection(address, PATIENCE))
                if transport == "https":
                    connection = stack.enter_context(unverified().wrap_socket(connection))
                for piece in pieces:
                    connection.sendall(piece)
