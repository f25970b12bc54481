"""A fleet whose network fails: a cut between one node and Redis, and a failover."""

from unittest import mock

import pytest

from jsonrpcs_tx.fleet import fleet as fleet_module
from tests.support.cutproxy import CutProxy
from tests.support.fleets import FleetCase, fleet_of
from tests.support.logs import logged
from tests.support.reactor import until
from tests.support.redisserver import RedisServer, Sentinel
from tests.support.tls import make_identity

pytestmark = pytest.mark.slow


class Network(FleetCase):
    """The way to Redis."""

    timeout = 240.0

    async def test_cut(self) -> None:
        """A node that is cut off from Redis refuses changes, and catches up when it is connected; the others go on."""
        server = self.server()
        proxy = CutProxy(server.port)
        self.addCleanup(proxy.stop)
        (a,) = await self.nodes(server.url, "a")
        (b,) = await self.nodes(f"redis://127.0.0.1:{proxy.port}", "b")
        for disturb in (proxy.cut, proxy.stall):
            disturb()
            await a.call("htable.sets", "ban", disturb.__name__, "v")
            fault = await self.fault(b, "htable.sets", "ban", "k", "v")
            assert fault.code in (503, 504)
            assert await b.call("htable.sets", "own", "k", "v") == "Ok. Key set to new value."
            await until(lambda: not fleet_of(b).core.together)
            proxy.mend()
            await self.together(a, b)
            assert b.tables["ban"].get(disturb.__name__) == "v"
        self.assert_equal_contents(a, b)

    async def pair(self) -> tuple[RedisServer, RedisServer, str]:
        """A master, a replica that has all of it, and where a Sentinel that watches them is."""
        master = self.server("master")
        replica = self.server("replica", replicaof=f"127.0.0.1 {master.port}")
        sentinel = Sentinel(self.directory / "sentinel", master, 1)
        self.addCleanup(sentinel.kill)

        def told(server: RedisServer, section: str) -> bytes:
            reply = server.command("INFO", section)
            assert isinstance(reply, bytes)
            return reply

        await until(lambda: b"state=online" in told(master, "replication"))
        await until(lambda: b"slaves=1" in told(sentinel, "sentinel"))
        return master, replica, f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster"

    async def test_failover(self) -> None:
        """When a replica takes over, the nodes follow it, and what was acknowledged is there."""
        master, _, url = await self.pair()
        a, b = await self.nodes(url, "a", "b")
        await a.call("htable.sets", "ban", "before", "v")
        await self.together(a, b)
        master.kill()
        await until(lambda: not (fleet_of(a).core.together or fleet_of(b).core.together))
        await self.together(a, b)
        await a.call("htable.sets", "ban", "after", "v")
        await self.together(a, b)
        assert b.tables["ban"].get("before") == "v"
        assert b.tables["ban"].get("after") == "v"
        c = self.node(url, "c")
        await self.together(a, b, c)
        assert c.tables["ban"].get("after") == "v"
        self.assert_equal_contents(a, b, c)

    async def test_failover_that_loses(self) -> None:
        """When a replica takes over that does not have what was acknowledged, the nodes notice and report it; one of
        them writes it again.
        """
        master, replica, url = await self.pair()
        a, b = await self.nodes(url, "a", "b")
        await a.call("htable.sets", "ban", "before", "v")
        await self.together(a, b)
        replica.freeze()
        assert master.command("CLIENT", "KILL", "TYPE", "replica") == 1  # else it would read what is on its way to it
        assert await a.call("htable.sets", "ban", "lost", "v") == "Ok. Key set to new value."
        await self.together(a, b)
        with logged() as lines:
            master.kill()
            replica.thaw()
            await until(lambda: fleet_of(a).core.losses and fleet_of(b).core.losses)
            await self.together(a, b)
        assert any("fleet: Redis has lost entries: this node has read up to" in line for line in lines)
        for node in (a, b):
            status = await node.call("fleet.status")
            assert (status["losses"], status["epoch"], status["redis"]) == (1, 2, "up")
        c = self.node(url, "c")
        await self.together(a, b, c)
        assert [node.tables["ban"].get("lost") for node in (a, b, c)] == ["v"] * 3
        self.assert_equal_contents(a, b, c)


class Secure(FleetCase):
    """Redis requires TLS and a password, and gives the fleet no more rights than it needs."""

    async def test_tls_and_acl(self) -> None:
        """A user whose ACL has only the keys of the fleet is enough, over TLS, for all that nodes do."""
        ca = make_identity("ca", is_ca=True)
        own = make_identity("localhost", ca)
        for name, data in (("ca", ca.pem), ("own", own.pem + own.key_pem()), ("password", b"geheim\n")):
            (self.directory / name).write_bytes(data)
            (self.directory / name).chmod(0o600)
        file = str(self.directory / "own")
        users = "fleet on >geheim ~{fleet}:* +@all -@dangerous +info\nuser default off"
        server = self.server(
            user=users,
            tls_cert_file=file,
            tls_key_file=file,
            tls_ca_cert_file=str(self.directory / "ca"),
            tls_auth_clients="no",
        )
        at = f"localhost:{server.port}?ca={self.directory}/ca"
        with mock.patch.object(fleet_module, "INTERVAL", 0.1), mock.patch.object(fleet_module, "SNAPSHOT_EVERY", 10):
            a, b = await self.nodes(f"rediss://fleet@{at}&password_file={self.directory}/password", "a", "b")
            for number in range(20):
                await a.call("htable.sets", "ban", f"k{number}", "v")
            await self.together(a, b)
            await until(lambda: len(fleet_of(a).cards) == 2 and fleet_of(a)._snapshot_at)
        self.assert_equal_contents(a, b)
        assert b.tables["ban"].size == 20
        status = await a.call("fleet.status")
        assert status["together"]
        assert "geheim" not in str(status)
        for login, reason in (("fleet:wrong@", "the user or the password is wrong"), ("", "NOAUTH")):
            await self.stays_apart(f"rediss://{login}{at}", reason)

    async def stays_apart(self, url: str, reason: str) -> None:
        """Start a node that cannot use Redis, and wait until it says why."""
        apart = fleet_of(self.node(url, "c"))
        await until(lambda: reason in apart.redis.reason)
        assert not apart.core.together
