"""Rules with parameters, roles and nodes, in the way of a request: every dialect, batches, workers, every transport."""

import json
import signal
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jsonrpcs_tx import Dispatcher, Origin, Registry, Reply, Settings, Text, command, makeService
from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.access.roles import UNKNOWN, catalogued_effect
from jsonrpcs_tx.access.rules import read_rule
from jsonrpcs_tx.catalogue import CHANGE, DANGER, READ, find, methods
from jsonrpcs_tx.rpc.envelope import DIALECTS
from tests.support import Server, http_call

NODE = frozenset(("edge1", "edge"))


class Shop:
    """Commands that note what they are called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    @command("shop.sell")
    def sell(self, what: Text, count: int = 1, note: str = "") -> str:
        """Changes something."""
        self.calls.append((what, count, note))
        return "sold"

    @command("shop.look", changes=False)
    def look(self, *names: Text) -> str:
        """Only looks."""
        self.calls.append(names)
        return "seen"

    @command("core.kill")
    def kill(self) -> str:
        """Has a dangerous name."""
        return "killed"

    @command("dlg.dump_file", changes=False)
    def dump(self) -> str:
        """Is dangerous in Kamailio only."""
        return "dumped"


class Served:
    """The commands behind a dispatcher, for a caller."""

    def __init__(self, *rules: str, dialect: str = "kamailio") -> None:
        self.shop = Shop()
        registry = Registry(self.shop)
        access = AccessControl(map(read_rule, rules), effect_of=registry.effect_of)
        self.dispatcher = Dispatcher(registry, Clock(), access=access, dialect=DIALECTS[dialect])
        self.origin = Origin("http", caller=Caller("http", "192.0.2.7", user="ann"))

    def ask(self, document: bytes) -> Any:
        reply = self.dispatcher.dispatch(document, self.origin)
        assert isinstance(reply, Reply)
        return json.loads(reply.body) if reply.body else None

    def answer(self, method: str, params: object = None, **members: Any) -> Any:
        """The result of a request, or the code of its error."""
        given = {} if params is None else {"params": params}
        reply = self.ask(json.dumps({"jsonrpc": "2.0", "method": method, "id": 1, **given, **members}).encode())
        return reply["result"] if "result" in reply else reply["error"]["code"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_allowed_parameters(dialect: str) -> None:
    """What is not allowed with its parameters is forbidden, and not run."""
    served = Served("any allow shop.sell pear *", dialect=dialect)
    assert served.answer("shop.sell", ["pear", 2]) == "sold"
    others: tuple[Any, ...] = (
        ["pear"],
        ["apple", 2],
        ["pear", 2, "x"],
        [],
        None,
        ["pear "],
        {},
        {"what": "apple", "count": 2},
    )
    assert [served.answer("shop.sell", params) for params in others] == [403] * len(others)
    assert served.shop.calls == [("pear", 2, "")]


@pytest.mark.parametrize(("dialect", "others"), [("kamailio", ["a", 1, "x", "more"]), ("jsonrpc2", ["a", 1, "x"])])
def test_denied_parameters(dialect: str, others: list[Any]) -> None:
    """What the command would take for a denied value is forbidden."""
    served = Served("any allow *", "any deny shop.sell(*, 2)", dialect=dialect)
    assert served.answer("shop.sell", others) == "sold"
    for count in (2, 2.0, "2", "2.0", None, [2]):
        assert served.answer("shop.sell", ["a", count, *others[2:]]) == 403
    assert served.answer("shop.sell", ["a"]) == 403
    assert len(served.shop.calls) == 1


def test_names_in_dialect_jsonrpc2() -> None:
    """There, parameters by name have the places that they have in the signature."""
    served = Served("any allow shop.sell(pear, 2)", dialect="jsonrpc2")
    assert served.answer("shop.sell", {"count": 2, "what": "pear"}) == "sold"
    for params in ({"what": 2, "count": "pear"}, {"count": 2}, {"what": "pear", "note": "x"}, {"x": "pear", "y": 2}):
        assert served.answer("shop.sell", params) == 403
    denied = Served("any allow *", "any deny shop.sell(*, 2, bad)", dialect="jsonrpc2")
    assert denied.answer("shop.sell", {"note": "good", "what": "a", "count": 2}) == "sold"
    assert denied.answer("shop.sell", {"note": "bad", "what": "a"}) == 403
    assert denied.answer("shop.sell", {"note": "bad", "count": 2, "what": "a"}) == 403
    assert denied.answer("shop.sell", {"count": 2, "surplus": 1}) == 403


def test_names_in_dialect_kamailio() -> None:
    """There, the members of an object count in their order, whatever their names are."""
    served = Served("any allow shop.sell(pear, 2)")
    assert served.answer("shop.sell", {"b": "pear", "a": 2}) == "sold"
    assert served.answer("shop.sell", {"count": 2, "what": "pear"}) == 403


def test_rest() -> None:
    """The values of *args count each."""
    served = Served("any allow shop.look(a, ...)", "any deny shop.look(*, *, x)")
    assert served.answer("shop.look", ["a", "b", "c", "d"]) == "seen"
    assert served.answer("shop.look", ["a", "b", "x", "d"]) == 403
    assert served.answer("shop.look", ["b"]) == 403


@pytest.mark.parametrize("dialect", DIALECTS)
def test_batch(dialect: str) -> None:
    """In a batch, each call is allowed or forbidden by its own parameters; notifications as well."""
    served = Served("any allow shop.sell pear *", dialect=dialect)
    requests = [
        {"jsonrpc": "2.0", "method": "shop.sell", "params": [what, 1], **({} if id is None else {"id": id})}
        for what, id in (("pear", 1), ("apple", 2), ("pear", None), ("apple", None), ("pear", 3))
    ]
    replies = [(reply.get("id"), "result" in reply) for reply in served.ask(json.dumps(requests).encode())]
    silent = [] if DIALECTS[dialect].notifications else [(None, True), (None, False)]
    assert replies == [(1, True), (2, False), *silent, (3, True)]
    assert served.shop.calls == [("pear", 1, "")] * 3


def test_calls_from_within() -> None:
    """Rules for the program itself ask for parameters by position and by name."""
    service = makeService(Settings(rule=["exec allow shop.sell(pear, 2)"]), Clock())
    service.registry.add(Shop())

    def called(*params: Any, **named: Any) -> Any:
        outcome: list[Any] = []
        later: Deferred[Any] = service.call("shop.sell", *params, **named)
        later.addCallbacks(outcome.append, lambda failure: outcome.append(failure.value.code))
        return outcome[0]

    assert called("pear", 2) == called(count=2, what="pear") == "sold"
    assert called("pear") == called("apple", 2) == called(object()) == called(count=2) == called(x="pear", y=2) == 403


def test_roles_of_own_commands() -> None:
    """A role allows what the decorators of commands say that they do; unknown commands are for admin only."""
    expected = {"read": [True, False, False, False], "operate": [True, True, False, False], "admin": [True] * 4}
    names = ("shop.look", "shop.sell", "core.kill", "no.such")
    for role, answers in expected.items():
        served = Served(f"http user=ann role {role}")
        assert [served.answer(method, ["a"]) != 403 for method in names] == answers
        assert served.answer("dlg.dump_file") == "dumped"


def test_roles_with_allow_and_deny() -> None:
    """A role goes together with methods that are allowed; what is denied stays denied."""
    served = Served(
        "http user=ann role read allow shop.sell(pear, 1) deny shop.look(secret)", "http user=bob role admin"
    )
    assert served.answer("shop.sell", ["pear", 1]) == "sold"
    assert served.answer("shop.sell", ["pear", 2]) == 403
    assert served.answer("shop.look", ["a"]) == "seen"
    assert served.answer("shop.look", ["secret"]) == 403
    assert served.dispatcher.access.covers("http", "0.0.0.0")
    served.origin = Origin("http", caller=Caller("http", "127.0.0.1"))
    assert served.answer("shop.look", ["a"]) == 403  # a role closes the transport to others


def test_roles_follow_the_commands() -> None:
    """A command that is replaced while the server runs has its new effect."""
    served = Served("http user=ann role read")
    assert served.answer("shop.sell", ["a"]) == 403

    @command("shop.sell", changes=False)
    def harmless() -> str:
        """Changes nothing."""
        return "free"

    served.dispatcher.registry.add(harmless, replace=True)
    assert served.answer("shop.sell", []) == "free"


def test_roles_on_nodes() -> None:
    """On nodes the catalogue says what a method does, whatever this server's commands of that name do."""
    names = ("dlg.list", "dispatcher.reload", "dlg.dump_file", "shop.look")
    assert [catalogued_effect(method) for method in names] == [READ, CHANGE, DANGER, UNKNOWN]
    expected = {"read": [True, False, False, False], "operate": [True, True, False, False], "admin": [True] * 4}
    for role, allowed in expected.items():
        access = Served(f"http user=ann node=edge role {role}").dispatcher.access
        caller = Caller("http", "192.0.2.7", user="ann")
        assert [access.allows(caller, method, (), NODE) for method in names] == allowed
        assert not any(access.allows(caller, method) for method in names)


def test_each_role_is_within_the_next() -> None:
    """Every command of the catalogue that a role allows, the next one allows as well."""
    roles = [AccessControl([read_rule(f"any node=* role {role}")]) for role in ("read", "operate", "admin")]
    allowed = [{method for method in methods() if access.allows(Caller("fifo"), method, (), NODE)} for access in roles]
    assert allowed[0] < allowed[1] < allowed[2] == {*methods()}
    assert {find(method).effect for method in allowed[0]} == {READ}  # type: ignore[union-attr] # it is there


def test_node_of_the_origin() -> None:
    """Requests that are forwarded to a node are decided upon as calls on it."""
    served = Served("any node=edge allow shop.look(a)", "any allow shop.sell", "any node=* deny shop.look(a, b)")
    own = served.origin
    served.origin = Origin("http", caller=own.caller, node="edge1", nodes=NODE)
    assert served.answer("shop.look", ["a"]) == 403  # it may have b for the second one
    assert served.answer("shop.sell", ["a"]) == 403
    served = Served("any node=edge allow shop.look(a)")
    served.origin = Origin("http", caller=own.caller, node="edge1", nodes=NODE)
    assert served.answer("shop.look", ["a"]) == "seen"
    assert served.answer("shop.look", {"names": "a"}) == 403  # only the node knows what it makes of an object
    served.origin = own
    assert served.answer("shop.look", ["a"]) == 403


COMMANDS = '''
from jsonrpcs_tx import command

@command("shop.show", stateless=True, changes=False)
def show(*what: str) -> str:
    """Can be run by any worker."""
    return " ".join(what)
'''


@pytest.mark.slow
def test_real_servers(tmp_path: Path) -> None:
    """Over every transport, and in workers, parameters and roles count; and new rules do at once."""
    (tmp_path / "shop.py").write_text(COMMANDS)
    (tmp_path / "rules").write_text(
        "any allow shop.show(pear, *)\nany deny shop.show(*, 1)\nany role read deny core.*\n"
    )
    options = ("--commands=shop", "--htable=a=>size=4", "--dgram-workers=2", "--rule-file=rules")
    with Server(tmp_path, *options) as server:
        server.wait_for_log("worker 1 reads unix")

        def codes(transport: str, *documents: tuple[str, list[Any]]) -> list[Any]:
            batch = [
                {"jsonrpc": "2.0", "method": method, "params": params, "id": number}
                for number, (method, params) in enumerate(documents)
            ]
            answers: list[Any] = []
            for document in (batch, *batch):
                data = json.dumps(document).encode()
                if transport in ("http", "https"):
                    reply = http_call(transport, server.addresses[transport], data).body
                else:
                    reply = server.call(transport, data)
                replies = json.loads(reply)
                answers += replies if isinstance(replies, list) else [replies]
            found = [answer.get("error", {}).get("code", 200) for answer in answers]
            half = len(found) // 2
            assert found[:half] == found[half:]  # in a batch, and alone
            return found[:half]

        calls: list[tuple[str, list[Any]]] = [
            ("shop.show", ["pear", "2"]),
            ("shop.show", ["pear", "1"]),
            ("shop.show", ["pear", "01", "x"]),
            ("htable.get", ["a", "x"]),
            ("htable.sets", ["a", "x", "y"]),
            ("core.version", []),
        ]
        for transport, _ in product(("unix", "udp4", "tcp", "fifo", "http", "https"), range(3)):
            assert codes(transport, *calls) == [200, 403, 403, 500, 403, 403], transport
        (tmp_path / "rules").write_text("any allow shop.show(pear, 1)\nany role operate deny shop.show(*, 2)\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("rules.*there are 2")
        for transport in ("tcp", "http"):
            assert codes(transport, *calls[:2], *calls[4:]) == [403, 200, 200, 200], transport
