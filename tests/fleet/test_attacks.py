"""Attackers who can write to Redis, or answer in its place, but do not have the secret."""

import itertools
import re
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from twisted.internet.defer import fail, succeed
from twisted.internet.protocol import Factory, Protocol

from jsonrpcs_tx import Fault, JsonRpcService
from jsonrpcs_tx.fleet import fleet as fleet_module
from jsonrpcs_tx.fleet.entries import Change, Entry, Id, Seals, encode
from jsonrpcs_tx.redis import client as client_module
from jsonrpcs_tx.redis.errors import RedisAway
from jsonrpcs_tx.redis.locations import Address
from tests.support.fleets import FleetCase, fleet_of
from tests.support.reactor import until
from tests.support.redisclients import reactor

pytestmark = pytest.mark.slow

STREAM = "{fleet}:stream"


class Attacks(FleetCase):
    """Two nodes, and what an attacker does to them."""

    async def begin_two(self) -> tuple[JsonRpcService, JsonRpcService]:
        """Start two nodes that share an item."""
        self.redis = self.server()
        a, b = await self.nodes(self.redis.url, "a", "b")
        await a.call("htable.sets", "ban", "k", "v")
        await self.together(a, b)
        return a, b

    async def work(self, *nodes: JsonRpcService) -> None:
        """Wait until nodes are together, and have a change made by all."""
        await until(lambda: all(fleet_of(node).core.together for node in nodes))
        for number, node in enumerate(nodes):
            await self.surely_set(node, f"of {number}")
        await self.together(*nodes)
        for node in nodes:
            assert node.tables["ban"].get("k") == "v"
            assert all(node.tables["ban"].get(f"of {number}") == "w" for number in range(len(nodes)))
        self.assert_equal_contents(*nodes)

    async def surely_set(self, node: JsonRpcService, key: str) -> None:
        """Set an item, again if it may have been lost with the stream."""
        while True:
            try:
                await node.call("htable.sets", "ban", key, "w")
            except Fault as fault:
                if fault.code not in (503, 504):
                    raise
                await until(lambda: fleet_of(node).core.together)
            else:
                return

    async def test_thousands_of_entries_of_no_version(self) -> None:
        """Entries that nobody has signed do not pass for those of a later version, which would prevent snapshots."""
        a, b = await self.begin_two()
        for _ in range(30):
            lua = "for i = 1, 100 do redis.call('XADD', KEYS[1], '*', 'v', ARGV[1], 'e', 'x') end"
            self.redis.command("EVAL", lua, 1, STREAM, "9")
        for fields in (("a", "b"), ("v", "1"), ("v", "", "e", "", "m", ""), ("m", 32 * "m", "e", "e", "v", "1")):
            self.redis.command("XADD", STREAM, "*", *fields)
        await self.work(a, b)
        reports = fleet_of(b).core.replica.reports
        assert (reports.forged, reports.unreadable) == (3004, 0)
        assert fleet_of(b).core.replica.snapshot() is not None
        assert not fleet_of(b).problems()

    async def test_huge_entries(self) -> None:
        """Entries that are larger than a reply may be hold up no node, including one that comes later."""
        a, b = await self.begin_two()
        lua = "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'e', string.rep('x', ARGV[2])) end"
        self.redis.command("EVAL", lua, 1, STREAM, 1, 70 << 20)
        self.redis.command("EVAL", lua, 1, STREAM, 10, 8 << 20)
        lua = "for i = 1, 100 do redis.call('XADD', KEYS[1], '*', unpack(ARGV)) end"
        self.redis.command("EVAL", lua, 1, STREAM, *map(str, range(4000)))
        entries: Any = self.redis.command("XREVRANGE", STREAM, "+", "-", "COUNT", 1)
        last = entries[0][0]
        await until(lambda: all(fleet_of(node).core.replica.cursor == Id.read(last) for node in (a, b)))
        await self.work(a, b)
        (c,) = await self.nodes(self.redis.url, "c")
        await self.work(a, b, c)

    async def test_place_in_the_future(self) -> None:
        """An entry at the last place that there is, or in an hour, stops all changes, which the health tells; when the
        stream is removed, they go on.
        """
        a, b = await self.begin_two()
        for losses, place in enumerate((f"{2**64 - 1}-{2**64 - 1}", f"{int(reactor.seconds() + 3600) * 1000}-0"), 1):
            self.redis.command("XADD", STREAM, place, "e", "x")
            fault = await self.fault(a, "htable.sets", "ban", "k", "w")
            assert fault.code in (503, 504)
            assert await b.call("htable.get", "ban", "k")
            await until(fleet_of(a).problems)
            (problem,) = fleet_of(a).problems()
            assert re.fullmatch(r"the stream is \d+ s ahead of the clock of Redis, .* key {fleet}:stream .*", problem)
            self.redis.command("DEL", STREAM)
            await until(lambda losses=losses: {fleet_of(one).core.losses for one in (a, b)} == {losses})  # type: ignore[misc]
            await self.work(a, b)
            await until(lambda: not fleet_of(a).problems())

    async def test_sent_again_to_those_who_came_later(self) -> None:
        """An entry from before a loss does not count again, though new nodes do not know that it has counted before."""
        a, b = await self.begin_two()
        entries: Any = self.redis.command("XRANGE", STREAM, "-", "+")
        await b.call("htable.delete", "ban", "k")
        await self.together(a, b)
        self.redis.command("DEL", STREAM)
        await until(lambda: fleet_of(a).core.replica.epoch == fleet_of(b).core.replica.epoch == 2)
        (c,) = await self.nodes(self.redis.url, "c")
        self.redis.command("XADD", STREAM, "*", *entries[-1][1])
        await c.call("htable.sets", "ban", "l", "v")
        await self.together(a, b, c)
        assert [node.tables["ban"].get("k") for node in (a, b, c)] == [None, None, None]
        self.assert_equal_contents(a, b, c)

    async def test_stream_removed_unnoticed(self) -> None:
        """When the stream is removed, and a change is the first entry of the next one, nothing is lost: neither where
        a node comes at once, nor later.
        """
        for when in ("at once", "later"):
            a, b = await self.begin_two()
            epoch = fleet_of(a).core.replica.epoch
            self.redis.command("DEL", STREAM)
            await self.surely_set(a, "of 0")
            await self.together(a, b)
            if when == "later":
                await until(lambda: fleet_of(a).core.replica.epoch > epoch)  # noqa: B023 # it is awaited
            (c,) = await self.nodes(self.redis.url, "c")
            await self.work(a, b, c)
            await until(lambda: fleet_of(c).core.replica.epoch == fleet_of(b).core.replica.epoch > epoch)  # noqa: B023
            await self.work(a, b, c)
            for node in (a, b, c):
                await node.stopService()

    async def test_founding_removed(self) -> None:
        """A node whose first contents are removed before it has read them writes them again."""
        self.redis = self.server()
        a = self.node(self.redis.url, "a")
        redis = fleet_of(a).redis
        lost: list[Any] = []
        real = redis.call

        def call(*words: Any, deadline: float) -> Any:
            if words[0] == "XADD" and not lost:
                lost.append(words)
                return succeed(b"1-1")
            return real(*words, deadline=deadline)

        redis.call = call  # type: ignore[method-assign]
        with mock.patch.multiple(fleet_module, REDIS_SECONDS=0.5, BLOCK=0.2):
            await self.together(a)
        assert lost
        await a.call("htable.sets", "ban", "k", "v")
        await self.work(a)

    async def test_snapshot_of_the_future(self) -> None:
        """Whatever is said to be the age of a snapshot, a node that needs one gets it from the others."""
        a, b = await self.begin_two()
        self.redis.command("SET", fleet_of(a).keys.snapshot_at, 10**15)
        self.redis.command("XTRIM", STREAM, "MAXLEN", 0)
        (c,) = await self.nodes(self.redis.url, "c")
        await self.work(a, b, c)
        assert fleet_of(c).core.replica.epoch == fleet_of(a).core.replica.epoch == 1

    async def test_keys_of_other_types(self) -> None:
        """Keys with values that no node has written keep the nodes apart at most until they are removed."""
        a, b = await self.begin_two()
        keys = fleet_of(a).keys
        with mock.patch.object(fleet_module, "INTERVAL", 0.1):
            for key, words in itertools.product(
                (keys.cards, keys.nodes, keys.marks, keys.roster, keys.changes, keys.snapshot_at, keys.stream),
                (("SET", "x"), ("HSET", "x", "x")),
            ):
                self.redis.command("DEL", key)
                self.redis.command(words[0], key, *words[1:])
                assert await a.call("htable.get", "ban", "k")
                if key == keys.stream:
                    await until(lambda: not fleet_of(a).core.together and not fleet_of(b).core.together)
                    assert (await self.fault(a, "htable.sets", "ban", "k", "w")).code == 503
                self.redis.command("DEL", key)
            await self.work(a, b)
        self.flushLoggedErrors()

    async def test_marks(self) -> None:
        """Forged marks do not keep nodes from writing again what Redis has lost."""
        a, b = await self.begin_two()
        self.redis.command("HSET", fleet_of(a).keys.marks, "x", "no place", "y", f"{2**64 - 1}-0", "a", "\0")
        with mock.patch.multiple(fleet_module, HESITATION=0.1, MAX_HESITATION=0.5):
            self.redis.command("DEL", STREAM)
            await self.work(a, b)

    async def test_odd_replies(self) -> None:
        """Whatever arrives in place of replies, the node goes on, and is together again when the replies are right."""
        a, b = await self.begin_two()
        redis = fleet_of(a).redis
        odd: list[Any] = [[], [[]], b"", 5, [b"x"], [[b"s", [[b"x", None]]]], [[b"s", [[b"1-1", [b"a"]]]]], 10 * [b"x"]]
        turn = itertools.cycle(odd)
        real = redis.call, redis.blocking

        def reply(*words: Any, deadline: float) -> Any:
            found = next(turn)
            return fail(RedisAway("odd")) if found == 5 else succeed(found)

        redis.call = redis.blocking = reply  # type: ignore[method-assign]
        with mock.patch.object(fleet_module, "INTERVAL", 0.05):
            for _ in range(3):
                fleet_of(a)._follow_again("the test has begun")
                assert await a.call("htable.get", "ban", "k")
                following: Any = fleet_of(a)._following
                await until(lambda following=following: following.called)  # type: ignore[misc]
        redis.call, redis.blocking = real  # type: ignore[method-assign]
        await self.work(a, b)
        self.flushLoggedErrors()

    async def test_two_fleets_of_one_name(self) -> None:
        """Two fleets with one name and different secrets get in each other's way no further than in the log."""
        a, b = await self.begin_two()
        other = self.directory / "other"
        other.write_text("the secret of another fleet\n")
        other.chmod(0o600)
        c, d = (
            self.node(self.redis.url, "a", fleet_secret=str(other)),
            self.node(self.redis.url, "d", fleet_secret=str(other)),
        )
        await self.together(c, d)
        await c.call("htable.sets", "ban", "k", "of the other")
        await self.together(c, d)
        await self.work(a, b)
        assert [node.tables["ban"].get("k") for node in (c, d)] == ["of the other", "of the other"]
        assert set(fleet_of(b).cards) <= {"a", "b"}
        assert set(fleet_of(d).cards) <= {"a", "d"}
        assert fleet_of(d).core.replica.reports.forged
        seals = Seals(b"another secret than both", "fleet")
        self.redis.command("SET", fleet_of(a).keys.snapshot, seals.wrap("snapshot", b"x"))
        self.redis.command("SET", fleet_of(a).keys.snapshot_at, 10**15)
        entry = Entry("a", "x", 1, int(reactor.seconds() * 1000), 1, [Change("htable:ban", "flush", [])])
        self.redis.command("XADD", STREAM, "*", *encode(entry, seals))
        await self.work(a, b)

    async def test_sentinel_that_cannot_decide(self) -> None:
        """However often a Sentinel names another master, with other data, the nodes are together in the end."""
        servers = [self.server(), self.server()]
        location, asked = self.serve_sentinel(itertools.cycle(server.port for server in servers))
        with (
            mock.patch.object(client_module, "SENTINEL_SECONDS", 0.3),
            mock.patch.multiple(fleet_module, HESITATION=0.1, MAX_HESITATION=0.5),
        ):
            a, b = self.node(location, "a"), self.node(location, "b")
            await until(lambda: fleet_of(a).core.together or fleet_of(b).core.together)
            await until(lambda: len(asked) > 30)
            for node in (a, b):
                fleet_of(node).redis._sentinels.master = self.always(servers[0].port)  # type: ignore[method-assign, union-attr]
            await self.together(a, b)
            await a.call("htable.sets", "ban", "k", "v")
            await self.together(a, b)
            await self.work(a, b)

    def always(self, port: int) -> Any:
        """The answer of Sentinels that agree on one master."""

        async def master() -> Address:
            return Address("127.0.0.1", port)

        return master

    def serve_sentinel(self, ports: Iterator[int]) -> tuple[str, list[bytes]]:
        """Be a Sentinel whose master is at one port after the other.

        @return: where it is, and what it has been asked.
        """
        asked: list[bytes] = []

        class Sentinel(Protocol):
            transport: Any

            def dataReceived(self, data: bytes) -> None:
                asked.append(data)
                port = b"%d" % next(ports)
                self.transport.write(b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%b\r\n" % (len(port), port))

        factory = Factory.forProtocol(Sentinel)
        factory.noisy = False
        listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        return f"redis+sentinel://127.0.0.1:{listening.getHost().port}/MASTER", asked
