"""The commands dispatcher.*: replies and faults beyond those that are recorded, and the least time between reloads."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from jsonrpcs_tx.catalogue.compatibility import V5_6, V6_1, Compatibility
from jsonrpcs_tx.commands.dispatcher import DispatcherCommands
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.registry import Registry
from jsonrpcs_tx.state.destinations import Attributes, Destination, DestinationSets
from tests.support import DATA

RELOADED = "Ok. Dispatcher successfully reloaded."
ADDED = "Ok. Dispatcher destination added."
REMOVED = "Ok. Dispatcher destination removed."
UPDATED = "Ok. Dispatcher state updated."
TOO_SOON = (500, "Ongoing reload")
INVALID = (500, "Invalid Parameters")


class Service(SimpleNamespace):
    """A dispatcher with the commands, the recorded list and a clock."""

    def __init__(
        self,
        reload_delta: int = 0,
        list_file: Path = DATA / "dispatcher.list",
        settings: Settings | None = None,
        compatibility: Compatibility = V5_6,
    ) -> None:
        self.reactor = Clock()
        self.reactor.advance(1_000_000)
        self.settings = settings or Settings(list_file=str(list_file), reload_delta=reload_delta)
        self.destinations = DestinationSets()
        if list_file.exists():
            self.destinations.load(str(list_file))
        commands = DispatcherCommands(self.destinations, self.settings, self.reactor, compatibility, 0)
        self._dispatcher = Dispatcher(Registry(commands), self.reactor)

    def call(self, method: str, *params: object) -> Any:
        """The result, or the code and the text of the fault."""
        request = {"jsonrpc": "2.0", "method": "dispatcher." + method, "params": params, "id": 1}
        reply = self._dispatcher.dispatch(json.dumps(request).encode(), Origin("test"))
        assert isinstance(reply, Reply)
        body = json.loads(reply.body)
        return body["result"] if "result" in body else (body["error"]["code"], body["error"]["message"])

    def flags(self) -> dict[str, str]:
        """The letters of each destination, by its URI."""
        return {one.uri: one.letters for group in self.destinations.values() for one in group}


@pytest.fixture
def service() -> Service:
    return Service()


def test_list(service: Service) -> None:
    """Sets and destinations are listed in order; short leaves attributes out, full adds addresses."""
    usual = service.call("list")
    assert usual["NRSETS"] == 2
    assert [record["SET"]["ID"] for record in usual["RECORDS"]] == [1, 2]
    first, second = (target["DEST"] for target in usual["RECORDS"][0]["SET"]["TARGETS"])
    assert first == {"URI": "sip:127.0.0.1:5082", "FLAGS": "AX", "PRIORITY": 5}
    assert list(second) == ["URI", "FLAGS", "PRIORITY", "ATTRS"]
    assert (second["ATTRS"]["WEIGHT"], second["ATTRS"]["DUID"]) == (50, "abc")
    short = service.call("list", "short")["RECORDS"][0]["SET"]["TARGETS"][1]["DEST"]
    assert list(short) == ["URI", "FLAGS", "PRIORITY"]
    full = service.call("list", "full")["RECORDS"][0]["SET"]["TARGETS"][1]["DEST"]
    assert (full["HOST"], full["IPADDR"], full["PORT"]) == ("127.0.0.1", "127.0.0.1", 5080)
    assert "ATTRS" in full


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sip:127.0.0.1", ("127.0.0.1", "127.0.0.1", 5060, 0)),
        ("sip:[::1]:5070;transport=udp", ("::1", "::1", 5070, 1)),
        ("sip:example.com;transport=TCP", ("example.com", "", 5060, 2)),
        ("sips:bob@example.com;transport=tls", ("example.com", "", 5061, 3)),
    ],
)
def test_list_full(service: Service, uri: str, shown: tuple[object, ...]) -> None:
    """A full list shows what a URI names: host, address if it is one, port and the number of the protocol."""
    service.call("add", 0, uri)
    (target,) = service.call("list", "full")["RECORDS"][-1]["SET"]["TARGETS"]
    assert tuple(target["DEST"][name] for name in ("HOST", "IPADDR", "PORT", "PROTOID")) == shown
    assert list(target["DEST"]) == [
        *("URI", "FLAGS", "PRIORITY", "HOST", "IPADDR", "PORT", "PROTOID", "DNSTIME_SEC", "DNSTIME_USEC")
    ]


@pytest.mark.parametrize("compatibility", [V5_6, V6_1])
def test_latency(compatibility: Compatibility) -> None:
    """With ds_ping_latency_stats every destination has its latency at the end, whatever else is shown."""
    settings = Settings(list_file=str(DATA / "dispatcher.list"), ds_ping_latency_stats=1)
    service = Service(settings=settings, compatibility=compatibility)
    service.destinations.add(3, Destination("sip:a", attributes=Attributes.parse("latency=24")))
    (measured,) = service.destinations[3]
    (only,) = service.call("list")["RECORDS"][-1]["SET"]["TARGETS"]
    assert only["DEST"]["ATTRS"]["DUID"] is None
    nothing = {"AVG": 0, "STD": 0, "EST": 0, "MAX": 0, "TIMEOUT": 0}
    for how in ("", "short", "full"):
        shown = [
            target["DEST"] for record in service.call("list", how)["RECORDS"] for target in record["SET"]["TARGETS"]
        ]
        assert [list(one)[-1] for one in shown] == ["LATENCY"] * len(shown)
        assert all(json.dumps(one["LATENCY"]) == json.dumps(nothing) for one in shown[:-1])
        assert json.dumps(shown[-1]["LATENCY"]) == json.dumps({**nothing, "AVG": 24, "EST": 24, "MAX": 24})
    measured.latency.answered(78, 0.9)
    measured.latency.timed_out()
    (target,) = service.call("list")["RECORDS"][-1]["SET"]["TARGETS"]
    assert target["DEST"]["LATENCY"] == {"AVG": 24.0054, "STD": 0.539973, "EST": 29.400002, "MAX": 78, "TIMEOUT": 1}


def test_latency_is_not_shown(service: Service) -> None:
    """By default there is no latency."""
    assert "LATENCY" not in json.dumps(service.call("list", "full"))


def test_empty_list(tmp_path: Path) -> None:
    """Without destinations the list is empty."""
    assert Service(list_file=tmp_path / "none").call("list") == {"NRSETS": 0, "RECORDS": []}


@pytest.mark.parametrize(
    ("state", "letters"),
    [
        *(("a", "AX"), ("ap", "AP"), ("i", "IX"), ("IP", "IP"), ("t", "TX")),
        *(("tp", "TP"), ("d", "DX"), ("dp", "DX"), (0, "IX")),
    ],
)
def test_set_state(service: Service, state: object, letters: str) -> None:
    """Every state of the reference is set, for one destination or for all of a set."""
    assert service.call("set_state", state, 2, "sip:127.0.0.1:5090") == UPDATED
    assert service.flags()["sip:127.0.0.1:5090"] == letters
    assert service.flags()["sip:127.0.0.1:5091"] == "AX"
    assert service.call("set_state", state, 1, "all") == UPDATED
    assert {service.flags()[uri] for uri in ("sip:127.0.0.1:5080", "sip:127.0.0.1:5082")} == {letters}


def test_set_state_is_seen_by_who_picks(service: Service) -> None:
    """What is set counts at once for a program that picks."""
    assert service.destinations[1].by_priority().uri == "sip:127.0.0.1:5082"
    service.call("set_state", "i", 1, "sip:127.0.0.1:5082")
    assert service.destinations[1].by_priority().uri == "sip:127.0.0.1:5080"


def test_set_duid_state(service: Service) -> None:
    """Destinations are also found by their identifier."""
    assert service.call("set_duid_state", "i", 1, "abc") == UPDATED
    assert service.flags()["sip:127.0.0.1:5080"] == "IX"
    for unknown in ("xyz", ""):
        assert service.call("set_duid_state", "a", 1, unknown) == (500, "State Update Failed")


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        (("x", 1, "all"), (500, "Unknown State Value")),
        (("", 1, "all"), (500, "Invalid State Parameter")),
        (("a", 1, "sip:127.0.0.1:9"), (500, "State Update Failed")),
        (("a", 9, "sip:127.0.0.1:5080"), (500, "State Update Failed")),
        (("i", 1, "sip:127.0.0.1:508"), (500, "State Update Failed")),
        (("i", 1, ""), (500, "State Update Failed")),
        (("i", 1), INVALID),
        (("i", "one", "all"), INVALID),
        (("a", 9, "all"), UPDATED),
    ],
)
def test_set_state_faults(service: Service, params: tuple[object, ...], fault: object) -> None:
    """What cannot be set has the reference's faults, and changes nothing; all of no set is fine, as there."""
    before = service.flags()
    assert service.call("set_state", *params) == fault
    assert service.flags() == before


def test_reload(tmp_path: Path) -> None:
    """The file takes the place of what there was; a bad line changes nothing, and the fault names it."""
    path = tmp_path / "list"
    path.write_text("1 sip:a")
    service = Service(list_file=path)
    service.call("set_state", "i", 1, "all")
    path.write_text("1 sip:a\n2 sip:b")
    assert service.call("reload") == RELOADED
    assert service.flags() == {"sip:a": "AX", "sip:b": "AX"}
    path.write_text("3 sip:c\n4")
    assert service.call("reload") == (
        500,
        f"Reload Failed: {path}: line 2: 1 fields; allowed: setid uri [flags [priority [attributes]]]",
    )
    path.unlink()
    code, text = service.call("reload")
    assert (code, text) == (
        500,
        f"Reload Failed: {path}: No such file or directory; allowed: a readable list of destinations",
    )
    assert service.flags() == {"sip:a": "AX", "sip:b": "AX"}


def test_reload_in_run_dir(tmp_path: Path) -> None:
    """A list file that is named without its directory lies in the run directory."""
    (tmp_path / "list").write_text("5 sip:e")
    service = Service(settings=Settings(list_file="list", run_dir=str(tmp_path)))
    assert service.call("reload") == RELOADED
    assert service.flags() == {"sip:e": "AX"}


def test_reload_without_list() -> None:
    """Without a list file there is nothing to reload, and the fault names the setting."""
    service = Service(settings=Settings())
    assert service.call("reload") == (500, "Reload Failed: the setting list_file is empty")


CHANGES = {
    "reload": ((), RELOADED),
    "add": ((9, "sip:127.0.0.1:5099"), ADDED),
    "remove": ((9, "sip:127.0.0.1:5099"), REMOVED),
}


@pytest.mark.parametrize(("first", "second"), list(itertools.product(CHANGES, repeat=2)))
def test_reload_delta(first: str, second: str) -> None:
    """Reload, add and remove share one clock, in whole seconds, as the real module was seen to count."""
    service = Service(reload_delta=5)
    (params, done), (others, done_again) = CHANGES[first], CHANGES[second]
    service.reactor.advance(0.9)
    assert service.call(first, *params) == done
    assert service.call(second, *others) == TOO_SOON
    service.reactor.advance(4)
    assert service.call(second, *others) == TOO_SOON
    service.reactor.advance(0.2)
    assert service.call(second, *others) == done_again
    service.reactor.advance(-3600)
    assert service.call(first, *params) == done


def test_reload_delta_off(service: Service) -> None:
    """With a reload_delta of 0 nothing is too soon."""
    assert [service.call("reload") for _ in range(3)] == [RELOADED] * 3


def test_add_and_remove(service: Service) -> None:
    """A destination is added with all that it may have, by a new set's number too, and removed."""
    assert service.call("add", 7, "sip:127.0.0.1:7", 8, 3, "weight=5;duid=q") == ADDED
    assert service.call("add", "7", "sip:127.0.0.1:8", "1") == ADDED
    assert service.call("add", "7", "sip:127.0.0.1:9", "", "-1", "") == ADDED
    first, second, third = service.destinations[7]
    assert (third.uri, third.letters, third.priority, third.attributes) == ("sip:127.0.0.1:9", "AX", 0, None)
    assert service.call("remove", "7", "sip:127.0.0.1:9") == REMOVED
    assert (first.letters, first.priority, first.attributes.duid) == ("AP", 3, "q")  # type: ignore[union-attr] # it has some
    assert (second.uri, second.letters) == ("sip:127.0.0.1:8", "IX")
    assert service.call("remove", 7, "sip:127.0.0.1:7") == REMOVED
    assert service.call("remove", "7", "sip:127.0.0.1:8") == REMOVED
    assert 7 not in service.destinations
    assert service.call("remove", 7, "sip:127.0.0.1:8") == REMOVED


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ((7, "http://x"), "Adding dispatcher dst failed: URI 'http://x'; allowed: sip:host"),
        ((7, "sip:x", 64), "Adding dispatcher dst failed: flags 64; allowed: a sum of"),
        ((7, "sip:x", 0, 0, "weight=x"), "Adding dispatcher dst failed: weight 'x'; allowed: 0 to"),
        (("x", "sip:x"), "Invalid Parameters"),
        (("\u0667", "sip:x"), "Invalid Parameters"),
        ((7,), "Invalid Parameters"),
        ((7, "sip:x", "x"), "Invalid Parameters"),
        (("9" * 40, "sip:x"), "Invalid Parameters"),
        ((2**31, "sip:x"), "Invalid Parameters"),
        ((7, "sip:x", 0, -(2**31) - 1), "Invalid Parameters"),
    ],
)
def test_add_faults(service: Service, params: tuple[object, ...], text: str) -> None:
    """What cannot be added says why, and adds nothing."""
    code, message = service.call("add", *params)
    assert code == 500
    assert message.startswith(text)
    assert 7 not in service.destinations


def test_hash(service: Service) -> None:
    """The hash of one or two keys, and its slot; no slots make slot 0."""
    assert service.call("hash", 4, "bob") == {"hashid": 7222211, "slot": 3}
    assert service.call("hash", 1, "bob", "x") == {"hashid": 7222330, "slot": 0}
    assert service.call("hash", 0, "bob") == {"hashid": 7222211, "slot": 0}
    assert service.call("hash", -4, "bob")["slot"] == 0
    assert service.call("hash", 4, "") == {"hashid": 1, "slot": 1}
    assert service.call("hash", 4) == service.call("hash", "a") == INVALID
    group = service.destinations[1]
    assert list(group)[service.call("hash", len(group), "bob")["slot"]] is group.by_hash("bob")


def test_ping_active(service: Service) -> None:
    """Probing is switched on and off, and asked for."""
    assert service.call("ping_active") == {"OldPingState": 1}
    assert service.call("ping_active", 0) == {"NewPingState": 0, "OldPingState": 1}
    assert service.call("ping_active", -1) == {"OldPingState": 0}
    assert service.destinations.pinging == 0
