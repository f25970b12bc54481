"""Two gateways of a fleet before the same server: turns, shared reloads, and what is set again."""

import json
from typing import Any

import pytest
from twisted.internet.defer import gatherResults

from jsonrpcs_tx import JsonRpcService
from tests.support.fleets import FleetCase, fleet_of
from tests.support.nodes import Node
from tests.support.reactor import until

pytestmark = pytest.mark.slow


class Gateways(FleetCase):
    """A server, and two gateways before it."""

    async def gateways(self, **settings: Any) -> tuple[Node, JsonRpcService, JsonRpcService]:
        """The server, and two gateways that are together and see it."""
        node = Node()
        self.addCleanup(node.stop)
        self.redis = self.server()
        a, b = await self.nodes(
            self.redis.url,
            "a",
            "b",
            node=[f"k={node.target}"],
            node_interval=0.05,
            fleet_wanted=["dispatcher", "htable:ban", "cfg:core"],
            **settings,
        )
        for gateway in (a, b):
            await until(lambda gateway=gateway: self.shown(gateway)["state"] == "up")  # type: ignore[misc]
        await until(lambda: self.redis.command("HLEN", "{fleet}:stood"))
        return node, a, b

    def shown(self, gateway: JsonRpcService) -> dict[str, Any]:
        """What a gateway tells of the server."""
        (shown,) = [one for one in gateway.registry["gateway.nodes"].function() if one["name"] == "k"]
        return shown  # type: ignore[no-any-return]

    async def test_turns(self) -> None:
        """A change is sent only when that of the other gateway has been answered."""
        node, a, b = await self.gateways()
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
        """One reload does for all gateways that ask before it begins, and not for one that asks later."""
        node, a, b = await self.gateways()
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

    async def test_set_again(self) -> None:
        """What was set through any gateway is set again once when the server comes back after a restart."""
        node, a, b = await self.gateways()
        await a.call("gateway.call", "k", "htable.sets", "ban", "192.0.2.1", "1")
        await b.call("gateway.call", "k", "dispatcher.set_state", "ip", 1, "sip:192.0.2.9")
        await b.call("gateway.call", "k", "htable.sets", "other", "x", "1")  # is not named
        await b.call("gateway.call", "k", "htable.sets", "ban", "192.0.2.2", "1")
        await a.call("gateway.call", "k", "htable.delete", "ban", "192.0.2.2")
        await self.together(a, b)
        assert self.shown(b)["wanted"] == 2
        before = len(node.requests)
        node.uptime = 0
        await until(lambda: self.shown(a)["set_again"] or self.shown(b)["set_again"])
        sent = [json.loads(one) for one in node.requests[before:]]
        assert [(one["method"], one["params"]) for one in sent] == [
            ("htable.sets", ["ban", "192.0.2.1", "1"]),
            ("dispatcher.set_state", ["ip", 1, "sip:192.0.2.9"]),
        ]
        assert sorted((self.shown(one)["set"], self.shown(one)["not_set"]) for one in (a, b)) == [(0, 0), (2, 0)]

    async def test_without_redis(self) -> None:
        """Without Redis, each gateway goes on by itself."""
        node, a, b = await self.gateways()
        del b
        self.redis.kill()
        await until(lambda: not fleet_of(a).core.together)
        assert await a.call("gateway.call", "k", "shop.change", 1) == [1]
        assert len(node.requests) == 1
