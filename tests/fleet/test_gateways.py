"""Two gateways of a fleet before the same server: turns, shared reloads, and what is set again."""

import json
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from twisted.internet.defer import Deferred, gatherResults

from jsonrpcs_tx.fleet.entries import Seals
from jsonrpcs_tx.fleet.leases import Leases
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
        node, (a, b, c) = await self.gateways("a", "b", "c")
        node.answers = lambda request: None
        asking = []

        def acquire(leases: Leases, *args: Any, **keywords: Any) -> Deferred[tuple[int, Any]]:
            asking.append(leases)
            return original(leases, *args, **keywords)

        original = Leases.acquire
        with patch.object(Leases, "acquire", acquire):
            running = a.call("gateway.call", "k", "shop.reload")
            await node.received(1)
            waiting = [gateway.call("gateway.call", "k", "shop.reload") for gateway in (b, c)]
            await until(lambda: len(set(asking)) == 3)
        node.answer_late(0, b'"result":"first"')
        assert await running == "first"
        await node.received(2)
        node.answer_late(1, b'"result":"second"')
        assert await gatherResults(waiting) == ["second", "second"]
        assert len(node.requests) == 2

    async def test_forged_answers(self) -> None:
        """What somebody without the secret leaves as the answer to a reload is not taken for one, nor is one to another
        reload, or an earlier one.
        """
        node, (a, b) = await self.gateways()
        node.answers = lambda request: b'"result":"true"'
        assert await a.call("gateway.call", "k", "shop.reload") == "true"
        await until(self.runs)
        (run,) = self.runs()
        signed: Any = self.redis.command("HGET", run, "answer")
        seals = Seals(b"another secret than theirs", "fleet")
        forged = seals.wrap("answer", msgspec.msgpack.encode([run, 2**40, b'"a lie"']))
        other = run.replace("shop.reload", "bar.reload")
        for number, answer in enumerate((b"x", b"", b'"a lie"', forged, signed), 2):
            for at in (run, other):
                self.redis.command("HSET", at, "begun", 2**40, "answer", answer)
            assert await b.call("gateway.call", "k", "shop.reload") == "true"
            assert await b.call("gateway.call", "k", "bar.reload") == "true"
            assert len(node.requests) == 1 + 2 * (number - 1)
        self.redis.command("HSET", run, "begun", "x")
        assert await b.call("gateway.call", "k", "shop.reload") == "true"

    def runs(self) -> list[str]:
        """The keys of what is kept for others."""
        keys: Any = self.redis.command("KEYS", "{fleet}:run:*")
        return [key.decode() for key in keys]

    async def test_without_redis(self) -> None:
        """Without Redis, each gateway goes on by itself."""
        node, (a, b) = await self.gateways()
        del b
        self.redis.kill()
        await until(lambda: not fleet_of(a).core.together)
        assert await a.call("gateway.call", "k", "shop.change", 1) == [1]
        assert len(node.requests) == 1
