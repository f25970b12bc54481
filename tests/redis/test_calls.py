"""Calls of a real Redis."""

import pytest
from twisted.internet.defer import gatherResults

from jsonrpcs_tx.redis.errors import RedisAway, RedisError
from tests.support.reactor import until
from tests.support.redisclients import RedisCase, reactor

pytestmark = pytest.mark.slow


class Calls(RedisCase):
    """Calls over a Unix socket and over TCP."""

    async def test_replies(self) -> None:
        """Each type of reply is returned as its type in Python."""
        server = self.server()
        for location in (server.url, server.tcp_url):
            client = await self.connect(location)
            assert await client.do("SET", "k", b"\r\n\x00\xff") == b"OK"
            assert await client.do(b"GET", "k") == b"\r\n\x00\xff"
            assert await client.do("GET", "none") is None
            assert await client.do("DEL", "k") == 1
            *others, error = await client.do("EVAL", "return {1,'a',{},false,{err='ERR x'}}", 0)
            assert others == [1, b"a", [], None]
            assert isinstance(error, RedisError)
            assert await client.do("LRANGE", "none", 0, -1) == []

    async def test_errors(self) -> None:
        """An error reply fails the call, with its code and its text, and no other call."""
        client = await self.connect(self.server().url)
        await client.do("SET", "text", "x")
        error = await client.failure("INCR", "text")
        assert isinstance(error, RedisError)
        assert (error.code, error.text) == ("ERR", "value is not an integer or out of range")
        assert str(await client.failure("LPUSH", "text", "x")).startswith("Redis: WRONGTYPE Operation")
        assert client.up
        assert client.went == []

    async def test_order(self) -> None:
        """Calls run in the order in which they are made, without waiting for each other."""
        client = await self.connect(self.server().url)
        deadline = reactor.seconds() + 60
        replies = await gatherResults([client.call("RPUSH", "list", n, deadline=deadline) for n in range(1000)])
        assert replies == list(range(1, 1001))
        assert await client.do("LRANGE", "list", 0, -1) == [b"%d" % n for n in range(1000)]

    async def test_words(self) -> None:
        """Words are bytes, text and integers; bytes in text that are not UTF-8 arrive unchanged."""
        client = await self.connect(self.server().url)
        await client.do("RPUSH", "l", "é", "\udcff", -12, b"")
        assert await client.do("LRANGE", "l", 0, -1) == ["é".encode(), b"\xff", b"-12", b""]
        for wrong in (1.5, True, None):
            with pytest.raises(TypeError, match="allowed: bytes, str, int"):
                client.call("SET", "k", wrong, deadline=reactor.seconds() + 1)  # type: ignore[arg-type]

    async def test_blocking(self) -> None:
        """A read that blocks holds up no call, and gets what a call writes."""
        client = await self.connect(self.server().url)
        read = client.blocking("XREAD", "BLOCK", 60000, "STREAMS", "s", "$", deadline=reactor.seconds() + 60)
        while b"blocked_clients:1" not in await client.do("INFO", "clients"):
            pass
        entry = await client.do("XADD", "s", "*", "f", "v")
        assert await read == [[b"s", [[entry, [b"f", b"v"]]]]]

    async def test_script(self) -> None:
        """A script runs whether Redis knows it or not; its errors are those of a call."""
        server = self.server()
        client = await self.connect(server.url)
        add = client.script("add", "return redis.call('INCRBY', KEYS[1], ARGV[1])")
        deadline = reactor.seconds() + 60
        assert await add(["n"], 2, deadline=deadline) == 2
        assert await add(["n"], 3, deadline=deadline) == 5
        server.command("SCRIPT", "FLUSH")
        assert await gatherResults([add(["n"], 1, deadline=deadline) for _ in range(3)]) == [6, 7, 8]
        with pytest.raises(RedisError, match="not an integer"):
            await add(["n"], "x", deadline=deadline)

    async def test_away(self) -> None:
        """Without a connection, calls fail at once, and say why."""
        server = self.server()
        client = await self.connect(server.url)
        server.kill()
        await until(lambda: not client.up)
        error = await client.failure("PING")
        assert isinstance(error, RedisAway)
        assert not error.sent
        assert client.went == ["it has closed the connection"]
        server.start()
        await until(lambda: client.up)
        assert len(set(client.came)) == 2
        assert await client.do("PING") == b"PONG"
