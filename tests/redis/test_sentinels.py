"""Real Sentinels that watch a master and its replica."""

import pytest

from jsonrpcs_tx.redis.errors import RedisError
from tests.support.logs import logged
from tests.support.ports import free_port
from tests.support.reactor import until
from tests.support.redisclients import RedisCase
from tests.support.redisserver import RedisServer, Sentinel

pytestmark = pytest.mark.slow


class Sentinels(RedisCase):
    """A master, a replica, and three Sentinels, two of which must agree."""

    timeout = 240.0

    async def begin(self) -> None:
        """Start all of them, and wait until a failover is possible."""
        self.master = self.server("a")
        self.replica = self.server("b", replicaof=f"127.0.0.1 {self.master.port}")
        self.sentinels = [self.sentinel(str(number), 2) for number in range(3)]
        await until(lambda: b"state=online" in self.told(self.master, "INFO", "replication"))
        await until(lambda: all(self.ready(one) for one in self.sentinels))
        where = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        self.location = f"redis+sentinel://{where}/mymaster"

    def sentinel(self, name: str, quorum: int, **options: str) -> Sentinel:
        """Start a Sentinel."""
        started = Sentinel(self.directory / name, self.master, quorum, **options)
        self.addCleanup(started.kill)
        return started

    @staticmethod
    def told(server: RedisServer, *words: str) -> bytes:
        """What a server answers, as bytes."""
        reply = server.command(*words)
        assert isinstance(reply, bytes)
        return reply

    def ready(self, sentinel: Sentinel) -> bool:
        """Whether a Sentinel knows the others and the replica."""
        return b"slaves=1,sentinels=3" in self.told(sentinel, "INFO", "sentinel")

    def is_replica(self, server: RedisServer) -> bool:
        """Whether a server is a replica. Becoming one, it cuts its clients off."""
        try:
            return b"role:slave" in self.told(server, "INFO", "replication")
        except ConnectionError:
            return False

    async def test_failover(self) -> None:
        """When the master is killed, its replica is used as soon as it is the master, and its run_id is another. The
        old master, which comes back as a replica, is not used.
        """
        await self.begin()
        client = await self.connect(self.location)
        await client.do("SET", "k", "v")
        assert await client.do("WAIT", 1, 0) == 1
        self.master.kill()
        await until(lambda: len(client.came) == 2)
        assert client.came[0] != client.came[1]
        assert client.info["tcp_port"] == str(self.replica.port)
        assert await client.do("GET", "k") == b"v"
        assert await client.do("SET", "k", "w") == b"OK"
        self.master.start()
        await until(lambda: self.is_replica(self.master))
        assert await client.do("GET", "k") == b"w"
        assert len(client.came) == 2

    async def test_failover_by_hand(self) -> None:
        """A failover without a failure is followed as well, though the old master goes on answering."""
        await self.begin()
        client = await self.connect(self.location)
        self.sentinels[0].command("SENTINEL", "FAILOVER", "mymaster")
        await until(lambda: len(client.came) >= 2 and client.info["tcp_port"] == str(self.replica.port))
        assert await client.do("SET", "k", "v") == b"OK"

    async def test_sentinels_that_are_away(self) -> None:
        """One Sentinel that answers is enough, and none is needed while the master is there."""
        await self.begin()
        self.sentinels[0].freeze()
        self.sentinels[1].kill()
        client = await self.connect(self.location)
        self.sentinels[2].kill()
        with logged() as lines:
            await until(lambda: any("stays in use" in line for line in lines))
        assert await client.do("PING") == b"PONG"
        assert client.went == []

    async def test_none_knows_it(self) -> None:
        """If no Sentinel knows the master, the reasons of all are given."""
        self.master = self.server("a")
        one = self.sentinel("s", 1)
        port = free_port()
        client = self.start(f"redis+sentinel://127.0.0.1:{port},127.0.0.1:{one.port}/other")
        await until(lambda: "Sentinel" in client.reason)
        assert client.reason == (
            f"Sentinel 127.0.0.1:{port}: Connection refused; "
            f"Sentinel 127.0.0.1:{one.port}: it does not know a master other"
        )

    async def test_no_sentinel(self) -> None:
        """A server that is not a Sentinel is recognized, and a Sentinel is not used as Redis."""
        self.master = self.server("a")
        client = self.start(f"redis+sentinel://127.0.0.1:{self.master.port}/mymaster")
        await until(lambda: "Sentinel" in client.reason)
        assert "ERR unknown command 'SENTINEL'" in client.reason
        client = self.start(f"redis://127.0.0.1:{self.sentinel('s', 1).port}")
        await until(lambda: "Sentinel" in client.reason)
        assert client.reason == "it is a Sentinel; allowed: redis+sentinel://, or the master itself"

    async def test_stop_while_asking(self) -> None:
        """A client that is stopped while it asks a Sentinel asks no other."""
        frozen, other = self.server("frozen"), self.server("other")
        client = self.start(f"redis+sentinel://127.0.0.1:{frozen.port},127.0.0.1:{other.port}/mymaster")
        frozen.freeze()
        await client.stop()
        client.start()
        await until(lambda: client._reactor.getReaders())
        await client.stop()
        assert client.reason == "it has been stopped"
        assert b"total_connections_received:1\r\n" in self.told(other, "INFO", "stats")

    async def test_passwords(self) -> None:
        """Sentinels and Redis have passwords of their own."""
        self.master = self.server("a", requirepass="p")
        one = self.sentinel("s", 1, requirepass="q")
        (self.directory / "secret").write_text("q")
        at = f"127.0.0.1:{one.port}/mymaster"
        client = await self.connect(f"redis+sentinel://:p@{at}?sentinel_password_file={self.directory}/secret")
        assert await client.do("PING") == b"PONG"
        client = self.start(f"redis+sentinel://:p@{at}")
        await until(lambda: "NOAUTH" in client.reason)
        error = await client.failure("PING")
        assert not isinstance(error, RedisError)
