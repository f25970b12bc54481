"""What was set on a server through the gateways of a fleet is set again after a restart, whatever fails."""

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from jsonrpcs_tx import Fault, JsonRpcService
from jsonrpcs_tx.fleet import leases, restoring
from tests.support.fleets import GatewaysCase, fleet_of
from tests.support.reactor import until

pytestmark = pytest.mark.slow

LEASE = "{fleet}:restore:k"


class Restoring(GatewaysCase):
    """The test is the server. It keeps a table, and forgets it when it is restarted."""

    def setUp(self) -> None:
        super().setUp()
        self.table: dict[str, str] = {}
        self.made: list[tuple[str, ...]] = []
        self.held: list[tuple[int, bytes]] = []
        self.holds = False
        self.patch(restoring, "SECONDS", 1.0)
        self.patch(restoring, "PAUSE", 0.1)

    async def before_it(self, *names: str, **settings: Any) -> list[JsonRpcService]:
        """Gateways before the server, through which two items were set."""
        self.kamailio, gateways = await self.gateways(*names, **settings)
        self.kamailio.answers = self.answer
        self.kamailio.version = b"kamailio 5.6.3"
        for key in ("192.0.2.1", "192.0.2.2"):
            await gateways[0].call("gateway.call", "k", "htable.sets", "ban", key, "1")
        await self.together(*gateways)
        # Before the uptimes that the test has it tell.
        self.redis.command("HSET", "{fleet}:stood", "k", "1")
        self.made.clear()
        return gateways

    def answer(self, request: dict[str, Any]) -> bytes | None:
        """Make a change, and answer it unless the test holds that back."""
        method, (_, key, *value) = request["method"], request["params"]
        self.made.append((method, key, *value))
        if method == "htable.delete":
            self.table.pop(key, None)
        else:
            self.table[key] = value[0]
        if self.holds:
            self.held.append((len(self.kamailio.requests) - 1, b'"result":"ok"'))
            return None
        return b'"result":"ok"'

    def restart(self, uptime: int = 50) -> None:
        """Restart the server; it says that this was so many seconds ago."""
        self.table.clear()
        self.kamailio.uptime = uptime

    async def begin_to_set(self) -> None:
        """Start the server again, and wait for the first call, which is not answered until L{go_on}."""
        self.holds = True
        self.restart()
        await until(lambda: len(self.made) == 1)

    def go_on(self) -> None:
        """Answer what was held back, and everything from now on."""
        self.holds = False
        for place, member in self.held:
            self.kamailio.answer_late(place, member)
        self.held.clear()

    def in_place_since(self) -> float:
        """When everything was last known to be in place there."""
        stood: Any = self.redis.command("HGET", "{fleet}:stood", "k")
        return float(stood.split()[0]) if stood else 0.0

    async def in_place(self, *gateways: JsonRpcService, **table: str) -> None:
        """Wait until everything is in place, and check that the server has what is wanted."""
        await until(lambda: self.in_place_since() > 1 and not self.redis.command("EXISTS", LEASE))
        await until(lambda: self.table == {"192.0.2.1": "1", "192.0.2.2": "1"} | table)

    async def test_once(self) -> None:
        """One of several gateways sets everything again, in the order in which it was set, and reports that."""
        a, b, c = await self.before_it("a", "b", "c")
        await b.call("gateway.call", "k", "dispatcher.set_state", "ip", 1, "sip:192.0.2.9")
        await b.call("gateway.call", "k", "htable.sets", "other", "x", "1")  # is not named
        await b.call("gateway.call", "k", "htable.sets", "ban", "192.0.2.3", "1")
        await a.call("gateway.call", "k", "htable.delete", "ban", "192.0.2.3")
        await self.together(a, b, c)
        assert self.shown(b)["wanted"] == 3
        before = len(self.kamailio.requests)
        self.restart()
        await until(lambda: any(self.shown(one)["set_again"] for one in (a, b, c)))
        await until(lambda: not any(self.checks(one) for one in (a, b, c)))
        sent = [json.loads(one) for one in self.kamailio.requests[before:]]
        assert [(one["method"], one["params"]) for one in sent] == [
            ("htable.sets", ["ban", "192.0.2.1", "1"]),
            ("htable.sets", ["ban", "192.0.2.2", "1"]),
            ("dispatcher.set_state", ["ip", 1, "sip:192.0.2.9"]),
        ]
        assert sorted((self.shown(one)["set"], self.shown(one)["not_set"]) for one in (a, b, c)) == 2 * [(0, 0)] + [
            (3, 0)
        ]

    def checks(self, gateway: JsonRpcService) -> bool:
        """Whether a gateway is checking the server, or setting it again."""
        return bool(_restoring(gateway)._checking)

    async def test_no_answer_in_the_middle(self) -> None:
        """A call that is not answered is made again, with all others, while the server runs."""
        a, b = await self.before_it(options=" timeout=1")
        answered = iter((True, False))

        def answer(request: dict[str, Any]) -> bytes | None:
            made = self.answer(request)
            return made if next(answered, True) else None

        self.kamailio.answers = answer
        self.restart()
        await until(lambda: len(self.made) >= 4)
        await self.in_place(a, b)
        assert sorted((self.shown(one)["set"], self.shown(one)["not_set"]) for one in (a, b)) == [(0, 0), (2, 0)]

    async def test_dies_in_the_middle(self) -> None:
        """A server that is gone in the middle, and comes back as another process, gets everything."""
        a, b = await self.before_it()
        await self.begin_to_set()
        self.kamailio.silent = True
        await until(lambda: self.shown(a)["state"] == self.shown(b)["state"] == "down")
        self.restart(0)
        self.holds, self.kamailio.silent = False, False
        self.held.clear()
        await self.in_place(a, b)

    async def test_started_again_in_the_middle(self) -> None:
        """Settings from before the server was restarted once more are set again, though no call has failed."""
        a, b = await self.before_it()
        await self.begin_to_set()
        await until(lambda: self.shown(a)["restarts"] == self.shown(b)["restarts"] == 1)
        self.restart(0)
        await until(lambda: self.shown(a)["restarts"] == self.shown(b)["restarts"] == 2)
        self.go_on()
        await self.in_place(a, b)

    async def test_fault(self) -> None:
        """A setting that the server refuses is reported, and does not hold up the others."""
        a, b = await self.before_it()

        def refuse(request: dict[str, Any]) -> bytes | None:
            made = self.answer(request)
            refused = request["params"][1] == "192.0.2.1"
            return b'"error":{"code":500,"message":"No"}' if refused else made

        self.kamailio.answers = refuse
        self.restart()
        await self.in_place(a, b)
        await until(lambda: self.shown(a)["not_set"] + self.shown(b)["not_set"] == 1)
        assert self.shown(a)["set"] + self.shown(b)["set"] == 1
        assert len(self.made) == 2

    async def test_lease_of_another(self) -> None:
        """While one gateway sets everything again, the others wait; if it is gone, one of them does it."""
        a, b = await self.before_it()
        self.redis.command("SET", LEASE, "another:1", "PX", 1000)
        self.restart()
        await until(lambda: not self.redis.command("EXISTS", LEASE) or bool(self.made))
        assert not self.made
        await self.in_place(a, b)
        assert len(self.made) == 2

    async def test_lease_lost(self) -> None:
        """A gateway that has lost its lease in the middle leaves that of another one alone."""
        a, b = await self.before_it()
        self.patch(leases, "LEASE", 0.3)
        await self.begin_to_set()
        self.redis.command("SET", LEASE, "another:1", "PX", 60_000)
        self.go_on()
        await until(lambda: self.in_place_since() > 1)
        await until(lambda: not self.checks(a) or not self.checks(b))
        assert self.redis.command("GET", LEASE) == b"another:1"
        assert self.table == {"192.0.2.1": "1", "192.0.2.2": "1"}

    async def test_changed_meanwhile(self) -> None:
        """What clients change or remove in the middle, through any gateway, is in place and wanted in the end."""
        a, b = await self.before_it()
        await self.begin_to_set()
        await until(lambda: self.shown(a)["restarts"] == self.shown(b)["restarts"] == 1)
        changes: list[Deferred[Any]] = [
            a.call("gateway.call", "k", "htable.sets", "ban", "192.0.2.1", "of a"),
            b.call("gateway.call", "k", "htable.sets", "ban", "192.0.2.3", "of b"),
            b.call("gateway.call", "k", "htable.delete", "ban", "192.0.2.2"),
        ]
        self.go_on()
        for change in changes:
            await change
        await until(lambda: self.in_place_since() > 1 and not self.redis.command("EXISTS", LEASE))
        assert self.table == {"192.0.2.1": "of a", "192.0.2.3": "of b"}
        await self.together(a, b)
        assert self.shown(a)["wanted"] == self.shown(b)["wanted"] == 2
        self.redis.command("HSET", "{fleet}:stood", "k", "1")
        self.restart(20)
        await until(lambda: self.table == {"192.0.2.1": "of a", "192.0.2.3": "of b"})

    async def test_stopped_before_its_turn(self) -> None:
        """A gateway that stops while a change waits for its turn among all gateways does not send it."""
        a, b = await self.before_it()
        turn: Deferred[list[int]] = Deferred()
        self.patch(_restoring(a)._leases, "acquire", lambda *_: turn)
        call = a.call("gateway.call", "k", "htable.sets", "ban", "192.0.2.9", "late")
        await a.stopService()
        turn.callback([1, 7])
        with pytest.raises(Fault):
            await call
        await b.call("gateway.call", "k", "htable.sets", "ban", "192.0.2.9", "of b")
        assert self.made == [("htable.sets", "192.0.2.9", "of b")]

    async def test_remembered_late(self) -> None:
        """A setting that one gateway remembers while another one sets everything again is set as well."""
        a, b = await self.before_it()
        await self.begin_to_set()
        call = ["htable.sets", '["ban","192.0.2.9","late"]', None]
        key = "htable\0ban\x00192.0.2.9\0value\0"
        fleet_of(b).submit("wanted", "want", ["k", "htable", 0, [[key, call]]])
        await until(lambda: self.shown(a)["wanted"] == 3)
        self.go_on()
        await self.in_place(a, b, **{"192.0.2.9": "late"})

    async def test_redis_gone_meanwhile(self) -> None:
        """A gateway that loses Redis in the middle, with all that was there, checks again when it is back."""
        a, b = await self.before_it()
        await self.begin_to_set()
        self.redis.kill()
        await until(lambda: not fleet_of(a).core.together and not fleet_of(b).core.together)
        await until(lambda: self.shown(a)["restarts"] == self.shown(b)["restarts"] == 1)
        self.restart(0)
        await until(lambda: self.shown(a)["restarts"] == self.shown(b)["restarts"] == 2)
        self.go_on()
        self.redis.start()
        await self.together(a, b)
        await self.in_place(a, b)

    async def test_redis_refuses(self) -> None:
        """A Redis that refuses writes, and stays connected, holds it up only as long as it does so."""
        a, b = await self.before_it()
        self.redis.command("CONFIG", "SET", "maxmemory", 1)
        self.restart()
        await until(lambda: self.checks(a) and self.checks(b))
        await until(lambda: self.shown(a)["restarts"] == self.shown(b)["restarts"] == 1)
        assert self.in_place_since() == 1
        self.redis.command("CONFIG", "SET", "maxmemory", 0)
        await self.in_place(a, b)

    async def check_that_it_counts(self, a: JsonRpcService, b: JsonRpcService, value: str) -> None:
        """What is set is wanted, however the numbers of leases are."""
        await a.call("gateway.call", "k", "htable.sets", "ban", "192.0.2.1", value)
        await self.together(a, b)
        for gateway in (a, b):
            wanted = _restoring(gateway)._wanted.of("k")
            assert value in [json.loads(call.params)[2] for call in wanted.values()]

    async def test_numbers_lost(self) -> None:
        """When Redis has lost the number of the last lease, later changes count as before."""
        a, b = await self.before_it()
        for value in "123":
            await self.check_that_it_counts(a, b, value)
        self.redis.command("FLUSHALL")
        await self.check_that_it_counts(b, a, "4")

    async def test_odd_numbers(self) -> None:
        """Nor do numbers that somebody else has written keep later changes from counting, or from taking turns."""
        self.patch(leases, "LEASE", 600.0)  # one that is not given back holds up the next change
        a, b = await self.before_it()
        odd: list[str | int] = ["x", "nan", "inf", "1e400", "1.5", "", "9" * 100]
        odd += [-5, 2**53 - 1, 2**53, 2**63 - 2, 2**63 - 1, 3]
        for number, value in enumerate(odd):
            self.redis.command("SET", "{fleet}:fence", value)
            await self.check_that_it_counts(a, b, f"of {number}")

    async def test_lies_about_what_stands(self) -> None:
        """Only a gateway can say that everything stands."""
        a, b = await self.before_it()
        for number, lie in enumerate(("x", "", f"{2**40}", f"{2**40} {64 * '0'}", "inf", "nan x")):
            self.redis.command("HSET", "{fleet}:stood", "k", lie)
            self.restart(50 - number)
            await until(lambda: len(self.table) == 2)
            await until(lambda: not (self.checks(a) or self.checks(b)))

    async def test_removed_meanwhile(self) -> None:
        """A server that is removed from the list of nodes is not checked any more."""
        (a,) = await self.before_it("a")
        self.redis.command("SET", LEASE, "another:1", "PX", 60_000)
        self.restart()
        await until(lambda: self.checks(a))
        a.registry["gateway.remove"].function("k")
        await until(lambda: not self.checks(a))
        assert not self.made


def _restoring(gateway: JsonRpcService) -> restoring.Restoring:
    joined: Any = fleet_of(gateway).joined
    found: restoring.Restoring = joined.__self__
    return found
