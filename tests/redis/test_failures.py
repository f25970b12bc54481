"""A real Redis that goes away, hangs, loses its data, is full or slow."""

import contextlib
import socket

import pytest
from twisted.internet.defer import Deferred

from jsonrpcs_tx.redis.errors import RedisAway, RedisError, RedisFailure, RedisTimeout
from tests.support.cutproxy import CutProxy
from tests.support.reactor import until
from tests.support.redisclients import Client, RedisCase, reactor

pytestmark = pytest.mark.slow


class Failures(RedisCase):
    """What the client notices, and what it says."""

    async def test_kill(self) -> None:
        """A Redis that is killed is away at once. What was sent may have been run, and is not sent again."""
        server = self.server(appendonly="yes")
        client = await self.connect(server.tcp_url)
        await client.do("SET", "n", 0)
        server.freeze()
        waiting = client.call("INCR", "n", deadline=reactor.seconds() + 60)
        blocked = client.blocking("BLPOP", "list", 0, deadline=reactor.seconds() + 60)
        server.kill()
        for one in (waiting, blocked):
            with pytest.raises(RedisAway) as caught:
                await one
            assert caught.value.sent
        assert not client.up
        assert len(client.went) == 1
        server.start()
        await client.is_up()
        assert (client.reason, client.went[1:]) == ("", [])
        assert await client.do("GET", "n") == b"0"

    async def test_restart_with_its_data(self) -> None:
        """With an append-only file what was acknowledged is there after a restart, which the C{run_id} shows."""
        server = self.server(appendonly="yes", appendfsync="always")
        client = await self.connect(server.url)
        assert client.info["aof_enabled"] == "1"
        assert await client.do("XADD", "s", "1-1", "f", "v") == b"1-1"
        server.restart()
        await until(lambda: len(client.came) == 2)
        assert client.came[0] != client.came[1] == client.run_id
        assert await client.do("XLEN", "s") == 1

    async def test_restart_without_its_data(self) -> None:
        """Without one, the data is gone, and the C{run_id} is different."""
        server = self.server()
        client = await self.connect(server.url)
        await client.do("SET", "k", "v")
        server.restart()
        await until(lambda: len(client.came) == 2)
        assert len(set(client.came)) == 2
        assert await client.do("GET", "k") is None

    async def test_same_redis(self) -> None:
        """After a connection that breaks while Redis goes on, the C{run_id} is the same."""
        server = self.server()
        client = await self.connect(server.url)
        server.command("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: len(client.came) == 2)
        assert len(set(client.came)) == 1
        assert client.went == ["it has closed the connection"]

    async def test_one_of_the_connections(self) -> None:
        """If one of the two connections breaks, both are made again: calls never go on without reads that block."""
        server = self.server()
        client = await self.connect(server.url)
        blocked = client.blocking("BLPOP", "list", 0, deadline=reactor.seconds() + 60)
        while b"blocked_clients:1" not in await client.do("INFO", "clients"):
            pass
        listed = str(server.command("CLIENT", "LIST"))
        (blocking,) = (line for line in listed.split("\\n") if "cmd=blpop" in line)
        number = blocking.partition("id=")[2].partition(" ")[0]
        server.command("CLIENT", "KILL", "ID", number)
        with pytest.raises(RedisAway):
            await blocked
        await until(lambda: len(client.came) == 2)
        assert await client.do("PING") == b"PONG"

    async def test_frozen(self) -> None:
        """A Redis that hangs is away when a call is late, while its sockets still take connections; and it is there
        again as soon as it goes on.
        """
        server = self.server()
        for location in (server.url, server.tcp_url):
            client = await self.connect(location)
            server.freeze()
            error = await client.failure("PING", seconds=1.5)
            assert isinstance(error, RedisTimeout)
            assert not client.up
            assert client.went == ["it has not answered in time"]
            error = await client.failure("PING")
            assert isinstance(error, RedisAway)
            server.thaw()
            await client.is_up()
            assert len(set(client.came)) == 1

    async def test_frozen_and_idle(self) -> None:
        """This is noticed even if nobody calls."""
        server = self.server()
        client = await self.connect(server.url)
        server.freeze()
        await until(lambda: not client.up)
        assert client.went == ["it has been silent for 6 seconds or more"]
        server.thaw()
        await client.is_up()

    async def test_short_hang(self) -> None:
        """While Redis is slow for a moment, calls with less time are late, and Redis stays in use."""
        server = self.server()
        client = await self.connect(server.url)
        server.freeze()
        assert isinstance(await client.failure("INCR", "n", seconds=0.2), RedisTimeout)
        assert client.up
        server.thaw()
        assert await client.do("GET", "n") == b"1"
        assert client.went == []

    async def test_slow_command(self) -> None:
        """A command that holds up Redis makes others late; those with time get their replies."""
        client = await self.connect(self.server().url)
        sleeping = client.call("DEBUG", "SLEEP", "1.5", deadline=reactor.seconds() + 60)
        late = client.failure("INCR", "n", seconds=0.3)
        assert isinstance(await late, RedisTimeout)
        assert await client.do("INCR", "n") == 2
        assert await sleeping == b"OK"
        assert client.went == []

    async def test_full(self) -> None:
        """A Redis without memory refuses writes with OOM, answers reads, and stays in use."""
        server = self.server(maxmemory="3mb", maxmemory_policy="noeviction")
        client = await self.connect(server.url)
        assert client.info["maxmemory_policy"] == "noeviction"
        add = client.script("add", "return redis.call('XADD', KEYS[1], '*', 'f', ARGV[1])")
        for size in (100_000, 1000, 1):
            error = await self.fill(client, size)
            assert isinstance(error, RedisError)
            assert error.code == "OOM"
        with pytest.raises(RedisError, match="OOM"):
            await add(["s"], "v", deadline=reactor.seconds() + 60)
        assert await client.do("GET", "100000-0") == b"x" * 100_000
        assert client.went == []

    async def fill(self, client: Client, size: int) -> RedisFailure:
        """Write until that fails."""
        for number in range(100_000):
            try:
                await client.do("SET", f"{size}-{number}", b"x" * size)
            except RedisFailure as error:
                return error
        raise AssertionError("it is never full")

    async def test_full_of_clients(self) -> None:
        """A Redis that takes no more clients is away, for the reason that it gives."""
        server = self.server(maxclients="3")
        with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
            for taken in (one, other):
                taken.connect(server.path)
            client = self.start(server.url)
            await until(lambda: "max number of clients" in client.reason)
            assert not client.up
        await client.is_up()

    async def test_not_there(self) -> None:
        """A Redis that comes later is found; until then the reason is the system's."""
        server = self.server()
        server.kill()
        client = self.start(server.tcp_url)
        await until(lambda: "refused" in client.reason)
        assert client.reason == f"127.0.0.1:{server.port}: Connection refused"
        error = await client.failure("PING")
        assert str(error) == f"Redis is away: 127.0.0.1:{server.port}: Connection refused"
        assert client.went == []
        server.start()
        await client.is_up()

    async def test_replica(self) -> None:
        """A replica is not used, since it refuses changes; a master that becomes one is given up."""
        master, other = self.server("master"), self.server("other")
        client = await self.connect(other.tcp_url)
        other.command("REPLICAOF", "127.0.0.1", master.port)
        assert (await client.failure("SET", "k", "v")).sent is False
        assert client.went == ["it has become a replica"]
        await until(lambda: "replica of" in client.reason)
        assert f"it is a replica of 127.0.0.1:{master.port}, not a master" in client.reason
        other.command("REPLICAOF", "NO", "ONE")
        await client.is_up()

    async def test_stop(self) -> None:
        """A client that is stopped fails its calls, and does not connect again until it is started."""
        server = self.server()
        client = await self.connect(server.url)
        waiting = client.blocking("BLPOP", "list", 0, deadline=reactor.seconds() + 60)
        await client.stop()
        with pytest.raises(RedisAway, match="it has been stopped"):
            await waiting
        assert (client.up, client.reason, client.went) == (False, "it has been stopped", [])
        assert isinstance(await client.failure("PING"), RedisAway)
        assert server.command("INFO", "clients").split(b"\r\n")[1] == b"connected_clients:1"  # type: ignore[union-attr]
        await client.stop()
        client.start()
        client.start()
        await client.is_up()

    async def test_stop_while_connecting(self) -> None:
        """A client may be stopped at any point of connecting."""
        server = self.server()
        client = self.start(server.url)
        for turns in range(1000):
            await until_turns(turns)
            was_up = client.up
            await client.stop()
            assert client.reason == "it has been stopped"
            if was_up:
                break
            client.start()
        assert client.came
        assert client.went == []

    async def test_stop_when_told(self) -> None:
        """The callbacks of a client may stop it, and they may fail."""
        server = self.server()
        client = await self.connect(server.url)
        stopped: list[Deferred[None]] = []

        def stop(_: str) -> None:
            stopped.append(client.stop())
            raise ZeroDivisionError

        client._when_away = stop
        server.command("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: stopped)
        await stopped[0]
        assert client._running is None
        client._when_up = stop
        client.start()
        await until(lambda: len(stopped) == 2)
        await stopped[1]
        assert not client.up
        assert client.reason == "it has been stopped"
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 2

    async def test_start_again_when_told(self) -> None:
        """A client that is stopped and started again by its callback is up again."""
        server = self.server()
        client = self.start(server.url)

        def again(_: str) -> None:
            client._when_up = client.came.append
            self.addCleanup(lambda stopped: stopped, client.stop())
            client.start()

        client._when_up = again
        await until(lambda: client.came)
        assert client.up
        server.restart()
        await until(lambda: len(client.came) == 2)

    async def test_no_connection_in_time(self) -> None:
        """A Redis whose address takes no connections is away when the time for connecting is over."""
        with socket.socket(socket.AF_UNIX) as full, contextlib.ExitStack() as clients:
            path = str(self.directory / "full")
            full.bind(path)
            full.listen(0)
            clients.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
            client = self.start(f"redis+unix:{path}")
            await until(lambda: client.reason != "it is being connected")
            assert path in client.reason
            await client.stop()
            with socket.socket() as unreachable:
                unreachable.bind(("127.0.0.1", 0))
                unreachable.listen(0)
                address = unreachable.getsockname()
                for _ in range(3):
                    one = clients.enter_context(socket.socket())
                    one.setblocking(False)
                    one.connect_ex(address)
                client = self.start(f"redis://127.0.0.1:{address[1]}")
                await until(lambda: client.reason != "it is being connected")
                assert client.reason == f"127.0.0.1:{address[1]}: no connection in time"


async def until_turns(turns: int) -> None:
    """Let the reactor run for so many turns."""
    for _ in range(turns):
        waiting: Deferred[None] = Deferred()
        reactor.callLater(0, waiting.callback, None)
        await waiting


class Network(RedisCase):
    """A network between the client and Redis that fails."""

    async def through_proxy(self) -> tuple[CutProxy, Client]:
        """A client that is up, by way of a proxy."""
        proxy = CutProxy(self.server().port)
        self.addCleanup(proxy.stop)
        return proxy, await self.connect(f"redis://127.0.0.1:{proxy.port}")

    async def test_cut(self) -> None:
        """A connection that is reset is away at once, and made again when that is possible."""
        proxy, client = await self.through_proxy()
        proxy.cut()
        await until(lambda: not client.up)
        assert client.went == ["the connection has broken"]
        accepted = proxy.accepted
        await until(lambda: proxy.accepted > accepted + 1)
        assert not client.up
        proxy.mend()
        await client.is_up()
        assert len(set(client.came)) == 1

    async def test_stalled(self) -> None:
        """A network that silently loses everything is noticed at a call's deadline."""
        proxy, client = await self.through_proxy()
        proxy.stall()
        assert isinstance(await client.failure("PING", seconds=1.1), RedisTimeout)
        assert not client.up
        proxy.mend()
        await client.is_up()
        assert await client.do("PING") == b"PONG"

    async def test_slow(self) -> None:
        """A slow network is not a failure."""
        proxy, client = await self.through_proxy()
        proxy.delay(0.3)
        began = reactor.seconds()
        assert await client.do("PING") == b"PONG"
        assert reactor.seconds() - began >= 0.6
        assert client.went == []
