"""Servers that are not Redis, or are broken, or hostile."""

import itertools
import resource
import time
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol

from jsonrpcs_tx.redis.errors import RedisAway
from tests.support.reactor import until
from tests.support.redisclients import Client, RedisCase, reactor

pytestmark = pytest.mark.slow

INFO = b"redis_mode:standalone\r\nloading:0\r\nrole:master\r\nrun_id:%b\r\n"


def bulk(text: bytes) -> bytes:
    """A bulk string."""
    return b"$%d\r\n%b\r\n" % (len(text), text)


class Hostile(RedisCase):
    """The test is the server."""

    def serve(self, answer: Callable[[bytes], bytes], greeting: bytes = b"") -> str:
        """Listen.

        @param answer: makes the answer to what has come.
        @param greeting: what clients get before they ask.
        @return: the location.
        """

        class Server(Protocol):
            transport: Any

            def connectionMade(self) -> None:
                self.transport.write(greeting)

            def dataReceived(self, data: bytes) -> None:
                self.transport.write(answer(data))

        factory = Factory.forProtocol(Server)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"redis://127.0.0.1:{port.getHost().port}"

    def like_redis(self, answer: Callable[[bytes], bytes], *run_ids: bytes) -> str:
        """Listen, and greet as Redis does.

        @param answer: makes the answer to what is not part of the greeting.
        @param run_ids: that it tells in turn.
        """
        turn = itertools.cycle(run_ids or (b"r",))

        def respond(data: bytes) -> bytes:
            if b"INFO" in data:
                return bulk(INFO % next(turn))
            return b"+PONG\r\n" if b"PING" in data else answer(data)

        return self.serve(respond)

    async def reason(self, location: str) -> str:
        """Why a client does not use a server."""
        client = self.start(location)
        await until(lambda: client.reason != "it is being connected")
        assert not client.up
        return client.reason

    async def test_greetings(self) -> None:
        """Whatever answers in place of Redis, the client says what is wrong with it."""
        for answer, reason in (
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak Redis's protocol: a reply begins with b'H'"),
            (b"\x15\x03\x01\x00\x02\x02\x16\r\n", "not speak Redis's protocol"),
            (b":1\r\n", "its reply to INFO is not text"),
            (b"*0\r\n", "its reply to INFO is not text"),
            (bulk(b""), "it is loading its data"),
            (bulk(b"\xff\xfe:\r\n:::\r\nloading:0"), "it is a replica of None:None, not a master"),
            (bulk(INFO % b""), "its reply to INFO has no run_id"),
            (bulk(INFO.replace(b"standalone", b"sentinel")), "it is a Sentinel; allowed: redis+sentinel://"),
            (bulk(INFO.replace(b"loading:0", b"loading:1")), "it is loading its data"),
            (b"-ERR \x1b[2J\n\xff\r\n", "ERR \\x1b[2J\\n\ufffd"),
            (b"-DENIED Redis is running in protected mode\r\n", "DENIED Redis is running in protected mode"),
        ):
            assert reason in await self.reason(self.serve(lambda data, answer=answer: answer))  # type: ignore[misc]

    async def test_unasked(self) -> None:
        """A server that speaks first is given up."""
        location = self.serve(lambda data: b"", b"220 mail.example.org ESMTP\r\n")
        assert "not speak Redis's protocol: a reply begins with b'2'" in await self.reason(location)
        location = self.serve(lambda data: b"", b"-ERR max number of clients reached\r\n")
        assert "max number of clients reached" in await self.reason(location)

    async def test_silent(self) -> None:
        """A server that takes connections and says nothing costs no more than the time to connect."""
        began = time.monotonic()
        assert "in time" in await self.reason(self.serve(lambda data: b""))
        assert time.monotonic() - began < 30

    async def test_replies(self) -> None:
        """Replies that would take much memory or time are refused at once; the calls fail, and the reactor goes on."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for answer in (
            b"*2147483647\r\n" * 3,
            b"*1\r\n" * 100_000,
            b"$9999999999\r\n",
            b"$" + b"9" * 5000 + b"\r\n",
            b"*1000000\r\n$-1\r\n*1000000\r\n",
            b"+" + b"x" * 1_000_000,
            bytes(range(256)) * 100,
            b"+OK\r\n" * 10_000,
        ):
            client = await self.connect(self.like_redis(lambda data, answer=answer: answer))  # type: ignore[misc]
            cpu = time.process_time()
            call = client.call("GET", "k", deadline=reactor.seconds() + 60)
            await until(lambda client=client: not client.up)  # type: ignore[misc]
            assert time.process_time() - cpu < 5
            if answer.startswith(b"+OK"):
                assert await call == b"OK"
            else:
                with pytest.raises(RedisAway):
                    await call
            await client.stop()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB

    async def test_different_ones(self) -> None:
        """Two servers behind one address, as a load balancer has them, are not taken for one Redis."""
        location = self.like_redis(lambda data: b"", b"a", b"b")
        assert await self.reason(location) == "different servers answer at its address"

    async def test_comes_and_goes(self) -> None:
        """A server that greets and then breaks each connection is not connected to without a pause."""
        location = self.like_redis(lambda data: b"?")
        client: Client = await self.connect(location)
        began = time.monotonic()
        for number in range(1, 5):
            await client.failure("GET", "k")
            assert len(client.went) == number
            await client.is_up()
        assert time.monotonic() - began > 0.05 + 0.1 + 0.2 + 0.4
        assert client._delay > 1

    async def test_password_in_errors(self) -> None:
        """A server that repeats a password in its error, as old ones do, does not get it into the log."""
        location = self.serve(lambda data: b"-ERR unknown command 'AUTH', with args beginning with: 'secret'\r\n")
        assert await self.reason(location.replace("//", "//u:secret@")) == "AUTH: ERR"
