"""Nodes that share over a real Redis, whatever happens to it."""

import json
import os
import socket
from typing import Any
from unittest import mock

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from jsonrpcs_tx import Fault, JsonRpcService
from jsonrpcs_tx.fleet import fleet as fleet_module
from jsonrpcs_tx.fleet import replica as replica_module
from jsonrpcs_tx.fleet.entries import Change, Entry, Seals, encode
from jsonrpcs_tx.fleet.fleet import Fleet
from jsonrpcs_tx.state.destinations import Destination
from tests.support import PATIENCE
from tests.support.fleets import FleetCase, fleet_of
from tests.support.reactor import until
from tests.support.redisclients import reactor

pytestmark = pytest.mark.slow


class Sharing(FleetCase):
    """What is shared is the same on all nodes."""

    async def test_tables(self) -> None:
        """Each change of a table is made on every node, and answered as without a fleet."""
        a, b = await self.nodes(self.server().url, "a", "b")
        assert await a.call("htable.sets", "ban", "192.0.2.1", "1") == "Ok. Key set to new value."
        assert a.tables["ban"].get("192.0.2.1") == "1"
        await self.together(a, b)
        assert b.tables["ban"].get("192.0.2.1") == "1"
        assert await b.call("htable.setxi", "ban", "k", 7, 50) == "Ok. Key set to new value."
        assert await b.call("htable.setex", "ban", "k", 70) == "Ok"
        assert await a.call("htable.delete", "ban", "192.0.2.1") == "Ok. Key deleted."
        assert str(await self.fault(b, "htable.delete", "ban", "192.0.2.1")) == "404 Key not found in htable."
        await self.together(a, b)
        self.assert_equal_contents(a, b)
        assert await b.call("htable.flush", "ban") == "Ok. Htable flushed."
        assert await a.call("htable.sets", "own", "k", "v") == "Ok. Key set to new value."
        await self.together(a, b)
        assert (a.tables["ban"].size, a.tables["own"].size, b.tables["own"].size) == (0, 1, 0)

    async def test_destinations(self) -> None:
        """Destinations are added, removed and given states on every node; the list of one replaces those of all."""
        a, b = await self.nodes(self.server().url, "a", "b", reload_delta=0)
        await a.call("dispatcher.add", 1, "sip:192.0.2.1", 0, 0, "duid=x")
        await b.call("dispatcher.add", 1, "sip:192.0.2.2")
        assert await b.call("dispatcher.set_state", "ip", 1, "sip:192.0.2.1") == "Ok. Dispatcher state updated."
        assert await a.call("dispatcher.set_duid_state", "dp", 1, "x") == "Ok. Dispatcher state updated."
        assert str(await self.fault(a, "dispatcher.set_state", "ip", 1, "sip:no")) == "500 State Update Failed"
        await self.together(a, b)
        assert [one.letters for one in b.destinations[1]] == ["DX", "AX"]
        self.assert_equal_contents(a, b)
        await a.call("dispatcher.remove", 1, "sip:192.0.2.2")
        await self.together(a, b)
        assert [one.uri for one in b.destinations[1]] == ["sip:192.0.2.1"]
        added = b.destinations.add(2, Destination("sip:192.0.2.3"))  # by a program
        assert isinstance(added, Deferred)
        await added
        await self.together(a, b)
        assert list(a.destinations) == [1, 2]

    async def test_variables(self) -> None:
        """Variables, their instances, delayed changes and shared variables."""
        a, b = await self.nodes(self.server().url, "a", "b")
        await a.call("cfg.set", "shop", "limit", 20)
        await b.call("cfg.add_group_inst", "shop[3]")
        await self.together(a, b)
        await a.call("cfg.seti", "shop[3]", "limit", 30)
        await a.call("cfg.set_delayed", "shop", "limit", 40)
        await a.call("cfg.commit")
        await a.call("pv.shvSet", "open", "int", 0)
        assert (await self.fault(a, "cfg.set", "shop", "limit", 101)).code == 400
        await self.together(a, b)
        assert (b.variables["shop"]["limit"], b.variables["shop"].instance(3)["limit"], b.shared["open"]) == (40, 30, 0)
        await b.call("cfg.del", "shop[3]", "limit")
        await b.call("cfg.reset", "shop")
        await self.together(a, b)
        assert (a.variables["shop"]["limit"], a.variables["shop"].instance(3)["limit"]) == (10, 10)
        await b.call("cfg.del_group_inst", "shop[3]")
        await self.together(a, b)
        assert not a.variables["shop"].instances
        self.assert_equal_contents(a, b)

    async def test_joining(self) -> None:
        """A node that joins takes the contents of the fleet in place of its own."""
        url = self.server().url
        (a,) = await self.nodes(url, "a")
        await a.call("htable.sets", "ban", "k", "v")
        await a.call("cfg.set", "shop", "limit", 20)
        b = self.node(url, "b")
        b.variables["shop"]  # its own until then
        await self.together(a, b)
        assert (b.tables["ban"].get("k"), b.variables["shop"]["limit"]) == ("v", 20)
        self.assert_equal_contents(a, b)

    async def test_snapshot(self) -> None:
        """A node that was away for longer than the stream is long takes a snapshot."""
        server = self.server()
        with mock.patch.object(fleet_module, "INTERVAL", 0.1):
            (a,) = await self.nodes(server.url, "a")
            for number in range(1000):
                a.tables["ban"].set(f"k{number}", number)
            await self.together(a)
            assert server.command("XTRIM", "{fleet}:stream", "MAXLEN", "10") != 0
            b = self.node(server.url, "b")
            await self.together(a, b)
            assert b.tables["ban"].size == 1000
            self.assert_equal_contents(a, b)

    async def test_no_snapshot(self) -> None:
        """While no snapshot can be made, a node that needs one waits, and does not write its own contents in place of
        those that another has. The others go on, and say why there is none.
        """
        server = self.server()
        asked = mock.Mock(side_effect=Fleet._somebody_knows)
        with (
            mock.patch.multiple(fleet_module, INTERVAL=0.1, SNAPSHOT_PATIENCE=0.2, HESITATION=0.1, SNAPSHOT_AGAIN=0.1),
            mock.patch.object(Fleet, "_somebody_knows", lambda fleet: asked(fleet)),
            mock.patch.object(Fleet, "_follow_again", side_effect=AssertionError("it was apart for a moment")),
        ):
            (a,) = await self.nodes(server.url, "a")
            for number in range(1000):
                a.tables["ban"].set(f"k{number}", number)
            await self.together(a)
            server.command("XTRIM", "{fleet}:stream", "MAXLEN", "10")
            with mock.patch.object(replica_module, "MAX_CONTENTS", 1000):
                b = self.node(server.url, "b")
                await until(lambda: asked.call_count == 3)
                assert fleet_of(b).core.reason == "it waits for a snapshot"
                (problem,) = fleet_of(a).problems()
                assert "no snapshot can be made: what is shared has" in problem
                await a.call("htable.sets", "ban", "k", "v")
                assert a.tables["ban"].size == 1001
            await self.together(a, b)
            self.assert_equal_contents(a, b)
            assert b.tables["ban"].size == 1001
            await until(lambda: not fleet_of(a).problems())

    async def test_shares_too_little(self) -> None:
        """A node that does not share all makes no snapshots, and says so where one is needed, until another has made
        one.
        """
        server = self.server()
        with mock.patch.multiple(fleet_module, INTERVAL=0.1, SNAPSHOT_PATIENCE=0.2):
            (a,) = await self.nodes(server.url, "a")
            for number in range(1000):
                a.tables["ban"].set(f"k{number}", number)
            (b,) = await self.nodes(server.url, "b", fleet_share=["htable:ban"])
            assert fleet_of(b).problems() == []
            server.command("XTRIM", "{fleet}:stream", "MAXLEN", "10")
            await a.stopService()
            c = self.node(server.url, "c")
            await until(lambda: bool(fleet_of(b).problems()))
            (problem,) = fleet_of(b).problems()
            assert problem == "no snapshot can be made: this node does not share cfg:shop, dispatcher, shv"
            a.startService()
            await self.together(a, b, c)
            self.assert_equal_contents(a, c)
            assert b.tables["ban"].size == 1000
            await until(lambda: not fleet_of(b).problems())

    async def test_nobody_knows(self) -> None:
        """A node that needs a snapshot, and is there alone, begins with what it has after a while."""
        server = self.server()
        with mock.patch.multiple(fleet_module, INTERVAL=0.1, SNAPSHOT_PATIENCE=0.2, HESITATION=0.1):
            (a,) = await self.nodes(server.url, "a")
            for number in range(1000):
                a.tables["ban"].set(f"k{number}", number)
            await self.together(a)
            server.command("XTRIM", "{fleet}:stream", "MAXLEN", "10")
            await a.stopService()
            nodes = await self.nodes(server.url, "b", "c")
            assert {fleet_of(node).core.replica.epoch for node in nodes} == {2}
            self.assert_equal_contents(*nodes)


class Transports(FleetCase):
    """A change is answered over every transport."""

    tcp: tuple[str, int | None]

    async def test_transports(self) -> None:
        """Over datagrams, FIFO and TCP, the reply comes when the change is made; a call that cannot wait is refused."""
        directory = self.directory
        a, b = (
            self.node(
                self.server().url,
                "a",
                transport=14,
                fifo_name=str(directory / "fifo"),
                fifo_reply_dir=str(directory) + "/",
                dgram_socket=str(directory / "dgram"),
                tcp_socket="tcp:127.0.0.1:0",
            ),
            self.node(self.server("other").url, "b"),
        )
        del b
        await self.together(a)
        self.tcp = next((one.host, one.port) for one in a.listeners() if one.protocol == "tcp")
        for place, send in enumerate((self._datagram, self._fifo, self._tcp)):
            request = {"jsonrpc": "2.0", "method": "htable.sets", "params": ["ban", f"k{place}", "v"], "id": place}
            reply = json.loads(await deferToThread(send, request))
            assert reply == {"jsonrpc": "2.0", "result": "Ok. Key set to new value.", "id": place}
            assert a.tables["ban"].get(f"k{place}") == "v"
        text = '{"jsonrpc":"2.0","method":"htable.sets","params":["ban","never","v"],"id":1}'
        assert a.jsonrpc_exec(text).code == 500
        await a.call("htable.sets", "ban", "later", "v")
        assert a.tables["ban"].get("never") is None
        batch = [{"jsonrpc": "2.0", "method": "htable.sets", "params": ["ban", "b", str(n)], "id": n} for n in range(3)]
        assert [one["id"] for one in json.loads(await deferToThread(self._datagram, batch))] == [0, 1, 2]

    def _datagram(self, document: Any) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.bind(str(self.directory / f"client{len(os.listdir(self.directory))}"))
            client.sendto(json.dumps(document).encode(), str(self.directory / "dgram"))
            return client.recv(65536)

    def _tcp(self, document: Any) -> bytes:
        with socket.create_connection(self.tcp, PATIENCE) as client:
            client.sendall(json.dumps(document).encode())
            return client.recv(65536)

    def _fifo(self, document: Any) -> bytes:
        os.mkfifo(self.directory / "answer")
        with open(self.directory / "fifo", "wb", buffering=0) as fifo:
            fifo.write(json.dumps({**document, "reply_name": "answer"}).encode())
            with open(self.directory / "answer", "rb") as answer:
                return answer.read()


class WithoutRedis(FleetCase):
    """Redis is gone, slow, full, or has forgotten everything."""

    async def test_refused(self) -> None:
        """While Redis is away, changes of what is shared get 503 at once, and everything else goes on."""
        server = self.server(appendonly="yes", appendfsync="always")
        a, b = await self.nodes(server.url, "a", "b")
        await a.call("htable.sets", "ban", "k", "v")
        server.kill()
        await until(lambda: not fleet_of(a).core.together)
        fault = await self.fault(a, "htable.sets", "ban", "k", "w")
        assert (fault.code, fault.text[:33]) == (503, "Fleet Unavailable: Redis is away:")
        assert a.tables["ban"].get("k") == "v"
        assert await a.call("htable.sets", "own", "k", "w") == "Ok. Key set to new value."
        assert (await a.call("fleet.status"))["together"] is False
        server.start()
        await self.together(a, b)
        await b.call("htable.sets", "ban", "k", "x")
        await self.together(a, b)
        assert a.tables["ban"].get("k") == "x"
        assert (await a.call("fleet.status"))["losses"] == 0

    async def test_queued(self) -> None:
        """With the policy queue, a change is made on this node, and by the others when Redis is back."""
        server = self.server(appendonly="yes", appendfsync="always")
        a, b = await self.nodes(server.url, "a", "b", fleet_offline="queue")
        await a.call("htable.sets", "ban", "k", "v")
        await self.together(a, b)
        server.kill()
        await until(lambda: not (fleet_of(a).core.together or fleet_of(b).core.together))
        await a.call("htable.sets", "ban", "k", "a")
        await a.call("htable.sets", "ban", "of a", "1")
        assert (a.tables["ban"].get("k"), b.tables["ban"].get("k")) == ("a", "v")
        assert (await a.call("fleet.status"))["queued"] == 2
        server.start()
        await self.together(a, b)
        assert (b.tables["ban"].get("k"), b.tables["ban"].get("of a")) == ("a", "1")
        self.assert_equal_contents(a, b)

    async def test_overtaken(self) -> None:
        """A queued change of what others have changed in the meantime is dropped, and reported."""
        server = self.server()
        a, b = await self.nodes(server.url, "a", "b", fleet_offline="queue")
        fleet_of(a).redis.stop()
        fleet_of(a).core.disconnected("it is cut off")
        await a.call("htable.sets", "ban", "k", "a")
        await a.call("htable.sets", "ban", "mine", "a")
        await b.call("htable.sets", "ban", "k", "b")
        fleet_of(a).redis.start()
        await self.together(a, b)
        assert (a.tables["ban"].get("k"), b.tables["ban"].get("mine")) == ("b", "a")
        (overtaken,) = (await a.call("fleet.status"))["overtaken"]
        assert overtaken.startswith("htable:ban set ['k', 'a'")
        self.assert_equal_contents(a, b)

    async def test_everything_lost(self) -> None:
        """If Redis has lost everything, that is noticed and reported, and a node writes it again."""
        server = self.server()
        a, b = await self.nodes(server.url, "a", "b")
        await a.call("htable.sets", "ban", "k", "v")
        await self.together(a, b)
        server.restart()
        await until(lambda: fleet_of(a).core.losses and fleet_of(b).core.losses)
        await self.together(a, b)
        assert (a.tables["ban"].get("k"), b.tables["ban"].get("k")) == ("v", "v")
        assert (await a.call("fleet.status"))["epoch"] == 2
        c = self.node(server.url, "c")
        await self.together(a, b, c)
        self.assert_equal_contents(a, b, c)

    async def test_flushed(self) -> None:
        """The same if somebody empties Redis while the nodes are connected."""
        server = self.server()
        with mock.patch.object(fleet_module, "INTERVAL", 0.1):
            a, b = await self.nodes(server.url, "a", "b")
            await a.call("htable.sets", "ban", "k", "v")
            await self.together(a, b)
            server.command("FLUSHALL")
            await until(lambda: fleet_of(a).core.losses and fleet_of(b).core.losses)
            await self.together(a, b)
        assert (a.tables["ban"].get("k"), b.tables["ban"].get("k")) == ("v", "v")
        self.assert_equal_contents(a, b)

    async def test_frozen(self) -> None:
        """A command never waits for Redis for longer than the time limit."""
        server = self.server()
        a, b = await self.nodes(server.url, "a", "b", fleet_timeout=0.3)
        server.freeze()
        began = reactor.seconds()
        fault = await self.fault(a, "htable.sets", "ban", "k", "v")
        assert reactor.seconds() - began < 0.3 + 1
        assert (fault.code, fault.text[:20]) == (504, "Change Not Confirmed")
        server.thaw()
        await self.together(a, b)
        assert a.tables["ban"].get("k") == b.tables["ban"].get("k")

    async def test_full(self) -> None:
        """A change that Redis has no memory for is refused, and made nowhere."""
        server = self.server(maxmemory_policy="noeviction")
        a, b = await self.nodes(server.url, "a", "b")
        server.command("CONFIG", "SET", "maxmemory", "1")
        fault = await self.fault(a, "htable.sets", "ban", "k", "v")
        assert (fault.code, fault.text[:29]) == (503, "Fleet Unavailable: Redis: OOM")
        server.command("CONFIG", "SET", "maxmemory", "0")
        await a.call("htable.sets", "ban", "other", "v")
        await self.together(a, b)
        assert (a.tables["ban"].get("k"), b.tables["ban"].get("other")) == (None, "v")


class Signed(FleetCase):
    """Somebody who can only write to Redis cannot administer the nodes."""

    async def test_forged(self) -> None:
        """An entry of somebody without the secret, one that is sent again, and one of another version do nothing."""
        server = self.server()
        a, b = await self.nodes(server.url, "a", "b")
        await a.call("htable.sets", "ban", "k", "v")
        await self.together(a, b)
        entry = Entry("a", "x", 1, int(reactor.seconds() * 1000), 1, [Change("htable:ban", "flush", [])])
        server.command("XADD", "{fleet}:stream", "*", *encode(entry, Seals(b"another secret", "fleet")))
        seals = Seals(self.secret.read_bytes().strip(), "fleet")
        server.command("XADD", "{fleet}:stream", "*", "v", "2", "e", "what?", "m", seals.seal("entry", b"2 what?"))
        await until(lambda: all(fleet_of(node).core.replica.reports.unreadable for node in (a, b)))
        entries: Any = server.command("XRANGE", "{fleet}:stream", "-", "+")
        assert (a.tables["ban"].get("k"), b.tables["ban"].get("k")) == ("v", "v")
        status = await b.call("fleet.status")
        assert (status["forged"], status["unreadable"], status["first_unreadable"]) == (1, 1, entries[-1][0].decode())
        await a.call("htable.sets", "ban", "k", "w")
        await a.call("htable.sets", "ban", "k", "x")
        stream: Any = server.command("XRANGE", "{fleet}:stream", "-", "+")
        server.command("XADD", "{fleet}:stream", "*", *stream[-2][1])
        await until(lambda: fleet_of(b).core.replica.reports.doubled)
        assert b.tables["ban"].get("k") == "x"


class Presence(FleetCase):
    """Nodes find each other."""

    def addressed(self, url: str, name: str, address: str, **settings: Any) -> JsonRpcService:
        """Start a node whose socket has its name, and which says that it is called at an address."""
        return self.node(url, name, fleet_address=address, dgram_socket=str(self.directory / name), **settings)

    async def test_found(self) -> None:
        """A node becomes a node of the others' gateways by itself, with its groups, until it leaves."""
        url = self.server().url
        with mock.patch.object(fleet_module, "INTERVAL", 0.1):
            services = [
                self.addressed(url, name, f"unix:{self.directory}/{name}", fleet_groups=["edge"]) for name in ("a", "b")
            ]
            await self.together(*services)
            a, b = services
            await until(lambda: len(fleet_of(a).cards) == len(fleet_of(b).cards) == 2)
            listed = await a.call("fleet.nodes")
            assert [(one["name"], one["groups"], one["this"]) for one in listed] == [
                ("a", ["edge"], True),
                ("b", ["edge"], False),
            ]
            with pytest.raises(Fault, match="404 Node Not Found: c"):
                await a.call("fleet.nodes", "c")
            assert [one["name"] for one in await a.call("gateway.nodes")] == ["a", "b"]
            result = await a.call("fleet.call", "edge", "core.echo", "x")
            assert result == {"a": {"result": ["x"]}, "b": {"result": ["x"]}}
            await b.stopService()
            await until(lambda: len(fleet_of(a).cards) == 1)
            assert [one["name"] for one in await a.call("gateway.nodes")] == ["a"]

    async def test_counters(self) -> None:
        """Counters are added up over all nodes; those that cannot be asked are named."""
        url = self.server().url
        with mock.patch.object(fleet_module, "INTERVAL", 0.1):
            services = [
                self.addressed(url, name, address)
                for name, address in (
                    ("a", ""),
                    ("b", f"unix:{self.directory}/b"),
                    ("c", f"unix:{self.directory}/nobody"),
                    ("d", ""),
                )
            ]
            await self.together(*services)
            a, b, _, _ = services
            await until(lambda: len(fleet_of(a).cards) == 4)
        for number, service in enumerate(services):
            service.counters.counter("shop", "orders").value = 10**number
        b.counters.counter("shop", "of_b").value = 7
        found = await a.call("fleet.counters", "shop:")
        assert found == {
            "nodes": 4,
            "answered": 2,
            "missing": ["c", "d"],
            "counters": {"shop.orders": 11, "shop.of_b": 7},
        }
        assert (await a.call("fleet.counters"))["counters"].keys() > {"shop.orders", "core.rcv_requests"}

    async def test_rights_for_counters(self) -> None:
        """A caller who may not call stats.fetchn on a node does not get its counters."""
        url = self.server().url
        with mock.patch.object(fleet_module, "INTERVAL", 0.1):
            services = [
                self.addressed(
                    url,
                    name,
                    f"unix:{self.directory}/{name}",
                    rule=[
                        "http 192.0.2.1 allow fleet.counters stats.fetchn",
                        "http 192.0.2.2 allow fleet.counters",
                        "http 192.0.2.2 node=b allow stats.fetchn",
                        "http 192.0.2.3 allow fleet.counters",
                        f"unix uid={os.getuid()} allow *",
                    ],
                )
                for name in ("a", "b")
            ]
            await self.together(*services)
            a, _ = services
            await until(lambda: len(fleet_of(a).cards) == 2)
        for number, service in enumerate(services):
            service.counters.counter("shop", "orders").value = 10**number

        async def asked(address: str) -> Any:
            document = b'{"jsonrpc":"2.0","method":"fleet.counters","params":["orders"],"id":1}'
            origin = a.dispatcher.origin("http", asynchronous=True, address=address)
            reply: Any = a.dispatcher.dispatch(document, origin)
            return json.loads((await reply if isinstance(reply, Deferred) else reply).body)

        assert (await asked("192.0.2.1"))["result"] == {
            "nodes": 2,
            "answered": 1,
            "missing": ["b"],
            "counters": {"shop.orders": 1},
        }
        assert (await asked("192.0.2.2"))["result"]["counters"] == {"shop.orders": 10}
        assert (await asked("192.0.2.3"))["error"]["code"] == 403

    async def test_same_name(self) -> None:
        """Two servers with one name are reported."""
        url = self.server().url
        with mock.patch.object(fleet_module, "INTERVAL", 0.1):
            a, other = self.node(url, "a"), self.node(url, "a")
            await until(lambda: fleet_of(a).namesake or fleet_of(other).namesake)
