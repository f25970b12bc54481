"""Two gateways of a fleet before the same server: turns, shared reloads, and what is set again."""

import json
from typing import Any

import pytest
from twisted.internet.defer import gatherResults

from tests.support.fleets import GatewaysCase, fleet_of
from tests.support.reactor import until

pytestmark = pytest.mark.slow


class Gateways(GatewaysCase):
    """A server, and two gateways before it."""

    async def test_turns(self) -> None:
        """A change is sent only when that of the other gateway has been answered."""
        node, (a, b) = await self.gateways()
        node.answers = lambda request: None
        first = a.call("gateway.call", "k", "shop.change", 1)
        await node.received(1)
        second = b.call("gateway.call", "k", "shop.change", 2)
        other = b.call("gateway.call", "k", "bar.change", 3)  # of another module
        await node.received(2)
        assert json.loads(node.requests[1])["method"] == "bar.change"
        node.answer_late(0, b'"result":1')
        assert await first == 1
        await node.received(3)
        node.answer_late(1, b'"result":3')
        node.answer_late(2, b'"result":2')
        assert await gatherResults([second, other]) == [2, 3]

    async def test_reloads(self) -> None:
        """One reload is enough for all gateways that ask before it begins, and not for one that asks later."""
        node, (a, b) = await self.gateways()
        node.answers = lambda request: None
        running = a.call("gateway.call", "k", "shop.reload")
        await node.received(1)
        waiting = [gateway.call("gateway.call", "k", "shop.reload") for gateway in (a, b)]
        await until(lambda: self.redis.command("EXISTS", "{fleet}:lease:k:shop"))
        await self.turns()
        node.answer_late(0, b'"result":"first"')
        assert await running == "first"
        await node.received(2)
        node.answer_late(1, b'"result":"second"')
        assert await gatherResults(waiting) == ["second", "second"]
        assert len(node.requests) == 2

    async def turns(self) -> None:
        """Let the other gateway ask for the lease at least once."""
        before = self._calls()
        await until(lambda: self._calls() > before + 1)

    def _calls(self) -> int:
        stats: Any = self.redis.command("INFO", "commandstats")
        line = next(one for one in stats.decode().splitlines() if one.startswith("cmdstat_evalsha"))
        return int(line.partition("calls=")[2].partition(",")[0])

    async def test_without_redis(self) -> None:
        """Without Redis, each gateway goes on by itself."""
        node, (a, b) = await self.gateways()
        del b
        self.redis.kill()
        await until(lambda: not fleet_of(a).core.together)
        assert await a.call("gateway.call", "k", "shop.change", 1) == [1]
        assert len(node.requests) == 1
