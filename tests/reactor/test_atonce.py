"""Data that is sent without another turn of the reactor."""

import contextlib
import socket
from typing import Any

import pytest
from twisted.internet import reactor as twisted_reactor
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from jsonrpcs_tx.reactor.atonce import SendsAtOnce, send_at_once, sender
from tests.support.reactor import until

pytestmark = pytest.mark.slow

reactor: Any = twisted_reactor


class Ending(Protocol):
    """Notes that it has ended."""

    ended = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = True


class AtOnce(TestCase):
    """One end is Twisted's, the other a socket."""

    def setUp(self) -> None:
        ours, self.other = socket.socketpair()
        self.other.setblocking(False)
        self.protocol = Ending()
        factory = Factory.forProtocol(lambda: self.protocol)
        factory.noisy = False
        reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
        self.transport: Any = self.protocol.transport
        ours.close()
        self.addCleanup(self.other.close)

    async def end(self) -> None:
        """Close the connection."""
        self.transport.abortConnection()
        await until(lambda: self.protocol.ended)

    async def test_now(self) -> None:
        """It is there before the function returns, in the order of the calls."""
        send_at_once(self.transport, b"a")
        send_at_once(self.transport, b"b")
        assert self.other.recv(10) == b"ab"
        await self.end()

    async def test_behind_what_waits(self) -> None:
        """It never overtakes what was written before."""
        self.transport.write(b"a")
        send_at_once(self.transport, b"b")
        received = bytearray()
        await until(lambda: _receive(self.other, received) == 2)
        assert received == b"ab"
        await self.end()

    async def test_more_than_fits(self) -> None:
        """What does not fit into the socket follows when there is room, and so does what is sent behind it."""
        data = bytes(range(256)) * 20_000
        send_at_once(self.transport, data)
        send_at_once(self.transport, b"end")
        received = bytearray()
        await until(lambda: _receive(self.other, received) == len(data) + 3)
        assert received == data + b"end"
        await self.end()

    async def test_broken(self) -> None:
        """A connection that the other end has closed ends as any other, without an error for the sender."""
        self.other.close()
        send_at_once(self.transport, b"a")
        await until(lambda: self.protocol.ended)
        send_at_once(self.transport, b"b")

    async def test_other_transports(self) -> None:
        """A transport without a socket is written to in its own way."""
        transport = StringTransport()
        send_at_once(transport, b"a")
        assert transport.value() == b"a"
        await self.end()


class Socket(SendsAtOnce, StringTransport):
    """A transport that has the method. It is broken, so that whatever is sent by it would be lost."""

    def send_at_once(self, data: bytes) -> None:
        raise AssertionError(f"{data!r} has been sent past what is around the socket")


def test_sender() -> None:
    """A transport is sent by its own method, or by the function; one that is wrapped around another, as TLS is, by none
    of that other one, which would send what is not encrypted.
    """
    transport = StringTransport()
    sender(transport)(b"a")
    assert transport.value() == b"a"
    with pytest.raises(AssertionError):
        sender(Socket())(b"a")
    inner = Socket()
    wrapper: Any = ProtocolWrapper(WrappingFactory(Factory.forProtocol(Protocol)), Protocol())
    wrapper.makeConnection(inner)
    sender(wrapper)(b"a")
    assert inner.value() == b"a"  # written, since nothing encrypts here


def _receive(end: socket.socket, received: bytearray) -> int:
    """Take what has come.

    @return: how many bytes have come in all.
    """
    with contextlib.suppress(BlockingIOError):
        received += end.recv(1 << 20)
    return len(received)
