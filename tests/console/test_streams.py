"""Events over real sockets: what each panel shows to whom, and how a stream ends."""

import json
from typing import Any
from unittest.mock import Mock, patch

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater

from jsonrpcs_tx import command
from jsonrpcs_tx.console import streams
from jsonrpcs_tx.console.streams import MAX_OF_ONE, STOPPING, Streams
from jsonrpcs_tx.state.destinations import Attributes, Destination
from jsonrpcs_tx.state.variables import Variable
from tests.support import http_request
from tests.support.console import Browser, ConsoleCase, Events, call
from tests.support.http import repeat_everywhere
from tests.support.reactor import until
from tests.support.users import write

PANELS = ("load", "destinations", "tables", "variables", "nodes", "audit")
HOSTILE = 'a\r\nevent: end\ndata: {"x":1}\n\n\u2028\u2029\0<script>alert(1)</script>"\'\\'


class StreamCase(ConsoleCase):
    """Changes are looked for often, so that no test waits for a second."""

    def setUp(self) -> None:
        super().setUp()
        self.quick = patch.object(streams, "INTERVAL", 0.02)
        self.quick.start()
        self.addCleanup(self.quick.stop)

    @property
    def streams(self) -> Streams:
        found: Any = self.console._pages[b"events"]
        assert isinstance(found.__self__, Streams)
        return found.__self__

    async def look(self, *panels: str, **how: Any) -> Events:
        return await self.browser(**how).events(*panels)

    async def assert_rests(self) -> None:
        """Once nobody watches, nothing happens."""
        await until(lambda: not len(self.streams))
        assert self.streams._next is None
        assert not self.streams._lag.running


class Panels(StreamCase):
    """What panels show."""

    async def test_load(self) -> None:
        """The load: requests by transport, connections, memory; at every look."""
        self.serve()
        await self.browser().call("core.echo", 1)
        events = await self.look("load")
        first = await events.data("load")
        assert first["requests"][self.protocol] == 1
        assert (first["measured"], first["methods"], first["latency"]) == (False, {}, {})
        assert first["connections"] >= 1
        assert first["memory"] > 10_000_000
        assert (first["async"], first["errors"]) == (0, 0)
        await self.browser().call("no.such.method")
        second = await events.data("load")
        while second["errors"] == 0:
            second = await events.data("load")
        assert second["requests"][self.protocol] == 2
        assert second["time"] > first["time"]
        assert 0 <= second["lag"] < 60

    async def test_measured_load(self) -> None:
        """With metrics, the calls of each method and transport, and how long they take."""
        self.serve(metrics="/metrics")
        for _ in range(3):
            await self.browser().call("core.echo", 1)
        await self.browser().call("htable.get", "t", "none")
        events = await self.look("load")
        first = await events.data("load")
        assert first["measured"]
        assert first["methods"] == {"core.echo": [3, 0, None, None, None], "htable.get": [1, 1, None, None, None]}
        assert first["latency"] == {self.protocol: [4, None, None, None]}
        await self.browser().call("core.echo", 1)
        while (data := await events.data("load"))["methods"]["core.echo"][0] < 4:
            pass
        calls, errors, mean, median, most = data["methods"]["core.echo"]
        assert (calls, errors) == (4, 0)
        assert 0 < mean < 60_000_000
        assert 0 < median <= most < 120_000_000
        assert data["latency"][self.protocol][0] == 5
        assert data["latency"][self.protocol][1] == mean
        assert data["methods"]["htable.get"] == [1, 1, None, None, None]

    async def test_destinations(self) -> None:
        """All destinations at first, then the sets that have changed, and those that are gone."""
        self.serve()
        sets = self.service.destinations
        sets.add(1, Destination("sip:a.example", 0, 2, Attributes.parse("weight=50")))
        sets.add(2, Destination("sip:b.example"))
        events = await self.look("destinations")
        assert await events.data("destinations") == {
            "full": True,
            "sets": {
                "1": {
                    "destinations": [
                        {"uri": "sip:a.example", "flags": "AX", "priority": 2, "attrs": "weight=50", "latency": None}
                    ]
                },
                "2": {
                    "destinations": [
                        {"uri": "sip:b.example", "flags": "AX", "priority": 0, "attrs": None, "latency": None}
                    ]
                },
            },
        }
        await self.browser().call("dispatcher.set_state", "ip", 2, "sip:b.example")
        changed = await events.data("destinations")
        assert (changed["full"], [*changed["sets"]]) == (False, ["2"])
        assert changed["sets"]["2"]["destinations"][0]["flags"] == "IP"
        sets.remove(1, "sip:a.example")
        assert await events.data("destinations") == {"full": False, "sets": {"1": None}}
        next(iter(sets[2])).latency.answered(12, 0.9)
        (shown,) = (await events.data("destinations"))["sets"]["2"]["destinations"]
        assert shown["latency"] == 12

    async def test_tables(self) -> None:
        """Tables, with how many items they have, whenever these change."""
        self.serve()
        events = await self.look("tables")
        assert await events.data("tables") == [
            {"name": "t", "items": 0, "expires": 0, "generation": 0},
            {"name": "secret", "items": 0, "expires": 60, "generation": 0},
        ]
        await self.browser().call("htable.sets", "t", "k", "v")
        assert (await events.data("tables"))[0] == {"name": "t", "items": 1, "expires": 0, "generation": 1}
        await self.browser().call("htable.sets", "t", "k", "w")
        assert (await events.data("tables"))[0] == {"name": "t", "items": 1, "expires": 0, "generation": 2}

    async def test_variables(self) -> None:
        """Variables with their definitions; numbers are texts, since 64 bits are too many for browsers."""
        self.serve()
        most = str(2**63 - 1)
        self.service.variables.add(
            "shop",
            [
                Variable("limit", 2**63 - 1, "most orders"),
                Variable("rate", 0.5, least=0, most=1),
                Variable("mode", "fast", allowed=["fast", "slow"]),
            ],
        )
        events = await self.look("variables")
        shop = [one for one in await events.data("variables") if one["group"] == "shop"]
        names = ["name", "type", "least", "most", "allowed", "default", "value", "description"]
        assert [tuple(one[name] for name in names) for one in shop] == [
            ("limit", "integer", str(-(2**63)), most, None, most, most, "most orders"),
            ("rate", "double", "0", "1", None, "0.5", "0.5", ""),
            ("mode", "string", None, None, ["fast", "slow"], "fast", "fast", ""),
        ]
        await self.browser().call("cfg.sets", "shop", "mode", "slow")
        shop = [one["value"] for one in await events.data("variables") if one["group"] == "shop"]
        assert shop == [most, "0.5", "slow"]

    async def test_audit(self) -> None:
        """The last entries of the audit log, then each new one, with secrets hidden as the log hides them."""
        self.serve(audit="audit.log")
        self.service.variables.add("shop", [Variable("db_password", "x")])
        for number in range(120):
            await self.browser().call("htable.sets", "t", f"k{number}", "v")
        await self.browser().call("cfg.sets", "shop", "db_password", "hunter2")
        events = await self.look("audit")
        first = await events.data("audit")
        assert first["missed"] == 0
        lines = [json.loads(line) for line in (self.directory / "audit.log").read_text().splitlines()]
        assert first["entries"] == lines[-100:]
        assert first["entries"][-1]["params"] == ["shop", "db_password", "(hidden)"]
        await self.browser().call("htable.sets", "t", HOSTILE, HOSTILE)
        (entry,) = (await events.data("audit"))["entries"]
        assert entry["params"] == ["t", HOSTILE, HOSTILE]
        assert entry == json.loads((self.directory / "audit.log").read_text().splitlines()[-1])

    async def test_off(self) -> None:
        """A panel that the server does not have is off, and that is sent once."""
        self.serve(load=["system", "core"])
        events = await self.look(*PANELS)
        told = await events.first(PANELS)
        assert all(told[name] == {"off": True} for name in PANELS), told
        self.service.add_family("own", OwnStats())
        assert "requests" in await events.data("load")

    async def test_hostile_strings(self) -> None:
        """No text that somebody has stored ends a line or an event."""
        self.serve(audit="audit.log")
        self.service.variables.add("shop", [Variable("name", HOSTILE, HOSTILE)])
        self.service.tables.define("<script")
        self.service.destinations.add(1, Destination("sip:x", 0, 0, Attributes.parse(f"x={HOSTILE}")))
        await self.browser().call("htable.sets", "t", HOSTILE, HOSTILE)
        events = await self.look(*PANELS)
        told = await events.first(PANELS)
        assert told["variables"][-1]["value"] == told["variables"][-1]["description"] == HOSTILE
        assert told["destinations"]["sets"]["1"]["destinations"][0]["attrs"] == f"x={HOSTILE}"
        assert told["tables"][-1]["name"] == "<script"
        assert told["audit"]["entries"][-1]["params"][1] == HOSTILE

    async def test_many_destinations(self) -> None:
        """1,000 destinations in ten sets: a change of one is one set."""
        self.serve()
        for number in range(1000):
            self.service.destinations.add(number % 10, Destination(f"sip:{number}.example"))
        events = await self.look("destinations")
        first = await events.data("destinations")
        assert sum(len(one["destinations"]) for one in first["sets"].values()) == 1000
        await self.browser().call("dispatcher.set_state", "d", 3, "sip:33.example")
        changed = await events.data("destinations")
        assert [*changed["sets"]] == ["3"]
        assert [one["flags"] for one in changed["sets"]["3"]["destinations"] if one["uri"] == "sip:33.example"] == [
            "DX"
        ]


class OwnStats:
    """A family with the command that the panel load goes by."""

    @command("stats.fetchn", changes=False)
    def fetchn(self, first: str, *others: str) -> dict[str, int]:
        return {}


class Rights(StreamCase):
    """Who sees what."""

    async def watch(self, user: str, *panels: str) -> dict[str, Any]:
        browser = self.browser()
        assert (await browser.sign_in(user)).status == 204
        events = await browser.events(*panels)
        found = await events.first(panels)
        await events.close()
        return found

    async def test_rules(self) -> None:
        """Each user sees what the user may read by commands; the rest is forbidden."""
        users = {
            "all": "allow *",
            "load": "allow stats.fetchn",
            "sets": "allow dispatcher.list",
            "tables": "allow htable.*",
            "one": "allow htable.dump(t)",
            "vars": "allow cfg.get",
            "group": "allow cfg.get(core, *)",
            "audit": "allow console.audit",
            "reader": "role read",
            "admin": "role admin",
            "none": "allow core.echo",
            "denied": "allow * deny htable.dump(secret, ...) dispatcher.list",
        }
        rules = [f"http https user={user} {rights}" for user, rights in users.items()]
        self.serve(http_users=self.users(*users), rule=rules, audit="audit.log")
        sees = {
            "all": {"load", "destinations", "tables", "variables", "audit"},
            "load": {"load"},
            "sets": {"destinations"},
            "tables": {"tables"},
            "one": {"tables"},
            "vars": {"variables"},
            "group": {"variables"},
            "audit": {"audit"},
            "reader": {"load", "destinations", "tables", "variables"},
            "admin": {"load", "destinations", "tables", "variables", "audit"},
            "none": set(),
            "denied": {"load", "tables", "variables", "audit"},
        }
        for user, panels in sees.items():
            told = await self.watch(user, *PANELS)
            assert told.pop("nodes") == {"off": True}
            assert {name for name, data in told.items() if data != {"forbidden": True}} == panels, user
            if user in ("one", "denied"):
                assert [one["name"] for one in told["tables"]] == ["t"]
            if user == "group":
                assert {one["group"] for one in told["variables"]} == {"core"}

    async def test_changed_rules(self) -> None:
        """New rules take effect on open streams at once."""
        self.serve(http_users=self.users("ann"), rule=["http https user=ann allow htable.* core.*"])
        browser = self.browser()
        await browser.sign_in("ann")
        events = await browser.events("tables", "destinations")
        assert await events.first(["tables", "destinations"]) == {
            "destinations": {"forbidden": True},
            "tables": [
                {"name": "t", "items": 0, "expires": 0, "generation": 0},
                {"name": "secret", "items": 0, "expires": 60, "generation": 0},
            ],
        }
        self.service.change(rule=["http https user=ann allow dispatcher.*"])
        assert await events.first(["tables", "destinations"]) == {
            "tables": {"forbidden": True},
            "destinations": {"full": True, "sets": {}},
        }
        self.service.change(rule=["http https user=ann allow htable.dump(t)"])
        assert await events.first(["tables", "destinations"]) == {
            "tables": [{"name": "t", "items": 0, "expires": 0, "generation": 0}],
            "destinations": {"forbidden": True},
        }
        self.service.change(rule=["http https user=bob allow *"])
        assert (await events.end())["reason"] == "the rules do not allow anything any more"
        await self.assert_rests()

    async def test_no_users(self) -> None:
        """Without users, rules for addresses decide."""
        self.serve(rule=["http https 127.0.0.1 allow htable.*", "http https 127.0.0.2 allow dispatcher.list"])
        events = await self.look("tables", "destinations")
        assert (await events.first(["destinations"]))["destinations"] == {"forbidden": True}
        other = await self.look("tables", "destinations", via="127.0.0.2")
        assert (await other.first(["tables"]))["tables"] == {"forbidden": True}
        self.service.change(rule=["http https 127.0.0.2 allow dispatcher.list"])
        assert (await events.end()) == {"reason": "the rules do not allow anything any more", "needs": "nothing"}


class Ends(StreamCase):
    """How streams end, and how many there may be."""

    async def signed_in(self, user: str = "ann") -> Browser:
        browser = self.browser()
        assert (await browser.sign_in(user)).status == 204
        return browser

    async def test_sign_out(self) -> None:
        """Signing out ends the streams of that session at once, and no other."""
        self.serve(http_users=self.users("ann"))
        first, second = await self.signed_in(), await self.signed_in()
        ending = [await first.events("load"), await first.events("tables")]
        staying = await second.events("load")
        with patch.object(streams, "INTERVAL", 3600):
            await first.ask("DELETE", "session")
            for events in ending:
                assert await events.end() == {"reason": "signed out", "needs": "password"}
        assert len(self.streams) == 1
        await staying.close()
        await self.assert_rests()

    async def test_changed_password(self) -> None:
        """A user who is removed sees nothing further."""
        self.serve(http_users=self.users("ann", "bob"))
        events = await (await self.signed_in()).events("load")
        write(self.directory / "users", "bob")
        assert (await events.end())["reason"] == "the user or the password has changed"

    @pytest.mark.slow
    async def test_expiry(self) -> None:
        """Watching does not count as use of a session: an idle browser is signed out."""
        self.serve(http_users=self.users("ann"), console_idle=0.3)
        events = await (await self.signed_in()).events("load")
        assert await events.end() == {"reason": "expired", "needs": "password"}

    async def test_stop(self) -> None:
        """A server that stops says so, and does not wait."""
        self.serve()
        events = await self.look("load")
        begun = reactor.seconds()
        stopped = self.service.stopService()
        assert await events.end() == {"reason": STOPPING, "needs": "nothing"}
        await events.close()
        await stopped
        assert reactor.seconds() - begun < 2.5
        await self.assert_rests()

    async def test_client_that_leaves(self) -> None:
        """Nothing is kept for a client that has left."""
        self.serve(http_users=self.users("ann"))
        browser = await self.signed_in()
        for _ in range(3):
            events = await browser.events(*PANELS)
            await events.close()
        await self.assert_rests()
        (session,) = self.sessions._sessions.values()
        assert session.followers == []

    @pytest.mark.slow
    async def test_half_closed(self) -> None:
        """A client that closes its sending side gets further events, and nothing else between them."""
        self.serve()
        events = await self.look("load")
        events._client.close_sending_side()
        await deferLater(reactor, 1.5)  # in which the connection is looked at for a client that has left
        for _ in range(3):
            await events.data("load")

    async def test_most_of_one(self) -> None:
        """A client may have only so many; others have theirs."""
        self.serve(http_users=self.users("ann", "bob"))
        ann, bob = await self.signed_in("ann"), await self.signed_in("bob")
        opened = [await ann.events("load") for _ in range(MAX_OF_ONE)]
        refused = await ann.get("events?panels=load")
        assert refused.status == 503
        assert refused.headers[b"retry-after"]
        await (await bob.events("load")).data("load")
        await opened[0].close()
        await until(lambda: len(self.streams) == MAX_OF_ONE)
        await (await ann.events("load")).data("load")

    async def test_most(self) -> None:
        """In all there may be only so many."""
        with patch.object(streams, "MAX_STREAMS", 2):
            self.serve()
            opened = [await self.look("load"), await self.look("load", via="127.0.0.2")]
            assert (await self.browser(via="127.0.0.3").get("events?panels=load")).status == 503
            await opened[0].close()
            await until(lambda: len(self.streams) == 1)
            await self.look("load", via="127.0.0.3")

    async def test_head(self) -> None:
        """HEAD gets the headers and no stream, since nothing would ever be written to it."""
        self.serve()
        response = await self.browser().ask("HEAD", "events?panels=load")
        assert (response.status, response.headers[b"content-type"]) == (200, b"text/event-stream")
        assert len(self.streams) == 0

    async def test_malformed(self) -> None:
        """A request for unknown panels, or for no panel, is refused with the names of those that exist."""
        for query in ("", "?panels=", "?panels=x", "?panels=load,x", "?panel=load", "?panels=%00"):
            response = await self.browser().get(f"events{query}")
            assert response.status == 400, query
            assert b"load, destinations, tables, variables, nodes, audit" in response.body
        assert (await self.browser().ask("POST", "events?panels=load", body=b"{}")).status == 405

    async def test_heartbeat(self) -> None:
        """If nothing changes, a comment shows that the server is there."""
        with patch.object(streams, "HEARTBEAT", 0.1):
            events = await self.look("nodes")
            await events.data("nodes")
            while not events.comments:
                await events._read()
                events.comments += events._data.count(b":\n\n")

    @pytest.mark.slow
    async def test_slow_reader(self) -> None:
        """A client that does not read is sent nothing, until it reads: then the newest state."""
        self.serve()
        for number in range(3000):
            self.service.destinations.add(number % 30, Destination(f"sip:{number}.example"))
        events = await self.look("destinations", "load")
        await events.first(["destinations"])
        (stream,) = self.streams._streams
        events.stop_reading()
        paused_at, before, rounds = None, 0, 0
        flags = "i"
        with patch.object(stream, "_write", Mock(side_effect=stream._write)) as write:
            while rounds < 20:
                if paused_at is None or stream._paused_at != paused_at:  # until the system's buffers take no more
                    paused_at, before, rounds = stream._paused_at, write.call_count, 0
                rounds += 1
                flags = {"i": "a", "a": "i"}[flags]
                for id in range(30):
                    await self.set_state(flags, id)
                await deferLater(reactor, 0.03)
        assert write.call_count == before
        await self.set_state("d", 7)
        events.read_on()
        while True:
            sets = (await events.data("destinations"))["sets"]
            if "7" in sets and sets["7"]["destinations"][0]["flags"] == "DX":
                break
        assert stream._paused_at is None

    @pytest.mark.slow
    async def test_no_reader(self) -> None:
        """A client that never reads is cut off."""
        with patch.object(streams, "MAX_UNREAD", 0.2):
            self.serve()
            for number in range(20000):
                self.service.destinations.add(number % 30, Destination(f"sip:{number}.example"))
            events = await self.look("destinations")
            events.stop_reading()
            flags = "i"
            while len(self.streams):
                flags = {"i": "a", "a": "i"}[flags]
                for id in range(30):
                    await self.set_state(flags, id)
                await deferLater(reactor, 0.03)
            await self.assert_rests()

    async def set_state(self, flags: str, id: int) -> None:
        self.service.destinations.set_state(flags, id, lambda one: True)

    async def test_failing_panel(self) -> None:
        """A panel that cannot be read stops neither the others nor the stream."""
        self.serve()
        events = await self.look("destinations", "load")
        await events.first(["destinations"])
        panel = self.streams._panels["destinations"]
        with patch.object(panel, "_read", side_effect=RuntimeError("broken")):
            await events.data("load")
            await events.data("load")
        self.flushLoggedErrors(RuntimeError)
        self.service.destinations.add(5, Destination("sip:x.example"))
        assert "5" in (await events.data("destinations"))["sets"]

    async def test_others_go_on(self) -> None:
        """Requests on other connections are answered while somebody watches."""
        await self.look(*PANELS)
        client = await self.connect()
        await self.assert_answers(client)
        assert (await self.ask(http_request(call("core.echo", "x")))).result == ["x"]


repeat_everywhere(globals(), Panels, Ends)
