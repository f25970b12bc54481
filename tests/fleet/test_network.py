"""A fleet whose network fails: a cut between one node and Redis, and a failover."""

import pytest

from tests.support.cutproxy import CutProxy
from tests.support.fleets import FleetCase, fleet_of
from tests.support.reactor import until
from tests.support.redisserver import Sentinel

pytestmark = pytest.mark.slow


class Network(FleetCase):
    """The way to Redis."""

    timeout = 240.0

    async def test_cut(self) -> None:
        """A node that is cut off from Redis refuses changes, and catches up when it is mended; the others go on."""
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

    async def test_failover(self) -> None:
        """When a replica takes over, the nodes follow it, and what was acknowledged is there."""
        master = self.server("master")
        self.server("replica", replicaof=f"127.0.0.1 {master.port}")
        sentinel = Sentinel(self.directory / "sentinel", master, 1)
        self.addCleanup(sentinel.kill)

        def told(words: tuple[str, ...], server: object = master) -> bytes:
            reply = server.command(*words)  # type: ignore[attr-defined]
            assert isinstance(reply, bytes)
            return reply

        await until(lambda: b"state=online" in told(("INFO", "replication")))
        await until(lambda: b"slaves=1" in told(("INFO", "sentinel"), sentinel))
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster"
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
