"""Transports of a program's own: their names and facts in rules."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from jsonrpcs_tx import Fault, Settings, makeService
from jsonrpcs_tx.errors import SettingError
from jsonrpcs_tx.rpc.dispatcher import Reply
from jsonrpcs_tx.service import JsonRpcService
from jsonrpcs_tx.testing import TestClient
from tests.support import Server, datagram_call

CHAT = {"chat": ["user"], "bus": []}


def service(*rules: str, transports: Any = CHAT) -> JsonRpcService:
    return makeService(Settings(rule=rules, load="all"), Clock(), transports=transports)


def allowed(server: JsonRpcService, transport: str, method: str = "core.pwd", **facts: Any) -> bool:
    """Whether a caller over a transport may call a method."""
    origin = server.dispatcher.origin(transport, **facts)
    reply = server.dispatcher.dispatch(json.dumps({"jsonrpc": "2.0", "method": method, "id": 1}).encode(), origin)
    assert isinstance(reply, Reply)
    return reply.code != 403


@pytest.mark.parametrize(
    ("rule", "chat", "ann", "bus"),
    [
        ("any deny core.pwd", False, False, False),
        ("any allow jsonrpc.*", False, False, False),
        ("udp deny *", True, True, True),
        ("chat allow core.*", True, True, True),
        ("chat deny core.*", False, False, True),
        ("chat bus deny core.*", False, False, False),
        ("chat user=ann allow core.pwd", False, True, True),
        ("user=ann allow core.pwd", False, True, True),
        ("any uid=0 allow core.pwd", True, True, True),
        ("any 192.0.2.1 allow core.pwd", True, True, True),
    ],
)
def test_rules(rule: str, chat: bool, ann: bool, bus: bool) -> None:
    """A rule may name such a transport; C{any} means it where it can know what the rule asks for."""
    server = service(rule)
    found = allowed(server, "chat"), allowed(server, "chat", user="ann"), allowed(server, "bus")
    assert found == (chat, ann, bus)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("chat uid=0 allow *", "uid with http or https or unix, not with chat"),
        ("bus user=ann allow *", "user with chat or http or https, not with bus"),
        ("chat 192.0.2.1 allow *", "a network with http or https or tcp or udp, not with chat"),
        ("chta allow *", "any, bus, chat, exec, fifo, http, https, tcp, udp, unix, user="),
        ("udp allow chat", "chat before allow and deny"),
        ("http user=ann allow *", "user= with the setting http_users"),
    ],
)
def test_refused_rules(rule: str, says: str) -> None:
    """A rule that could fit no caller of such a transport is refused, and says which could."""
    with pytest.raises(SettingError, match=says):
        service(rule)


def test_unknown_names() -> None:
    """The origin of a transport that nobody has added is refused, with the names that there are."""
    with pytest.raises(
        ValueError, match=r"transport 'chta' is not known; allowed: exec, .*, chat, bus, and those that add_transport"
    ):
        service().dispatcher.origin("chta")
    with pytest.raises(ValueError, match="transport 'chat'"):
        service(transports=None).dispatcher.origin("chat")


@pytest.mark.parametrize(
    ("name", "facts", "says"),
    [
        ("udp", [], "transport udp: there is one of that name already"),
        ("chat", [], "transport chat: there is one of that name already"),
        ("any", [], "transport 'any': must be a letter, then up to 31 letters"),
        ("allow", [], "but not allow, any, deny"),
        ("", [], "transport ''"),
        ("192.0.2.1", [], "transport '192.0.2.1'"),
        ("user=ann", [], "transport 'user=ann'"),
        ("two words", [], "transport 'two words'"),
        ("caf\u00e9", [], "transport 'caf\u00e9'"),
        ("a" * 33, [], "up to 31 letters"),
        ("irc", ["name"], r"transport irc: facts \['name'\]; allowed: a list of address, user, tls, uid, gid"),
        ("irc", "user", "transport irc: facts 'user'; allowed: a list"),
    ],
)
def test_refused_transports(name: str, facts: Sequence[str], says: str) -> None:
    """A name that a rule could not tell from anything else, or a fact that no rule can ask for, is refused."""
    server = service()
    before = server.dispatcher.access.transports
    with pytest.raises(ValueError, match=says):
        server.add_transport(name, facts)
    assert server.dispatcher.access.transports is before


def test_origins_that_are_older_than_rules() -> None:
    """Without rules everybody may call everything over such a transport; an origin from then is bound by later ones."""
    server = service()
    origin = server.dispatcher.origin("chat", user="ann", address="192.0.2.7")
    document = b'{"jsonrpc":"2.0","method":"core.pwd","id":1}'

    def code() -> int:
        reply = server.dispatcher.dispatch(document, origin)
        assert isinstance(reply, Reply)
        return reply.code

    assert code() == 200
    server.change(rule=["chat user=bob allow *"])
    assert code() == 403
    server.change(rule=["chat user=ann allow *"])
    assert code() == 200
    server.change(rule=["udp deny *"])
    assert code() == 403  # it is not on this machine


def test_added_later() -> None:
    """One that is added while the server runs is meant by the rules that there are, and may be named by new ones."""
    server = service("any deny core.pwd", transports=None)
    server.add_transport("irc", ["address", "user"])
    assert not allowed(server, "irc", address="127.0.0.1")
    server.change(rule=["irc 127.0.0.2 user=ann allow core.pwd"])
    assert not allowed(server, "irc", address="127.0.0.1", user="ann")
    assert allowed(server, "irc", address="127.0.0.2", user="ann")


BUS = '''
from jsonrpcs_tx import JsonRpcService, command


class Bus:
    """Commands that come with a transport of their own."""

    def __init__(self, service: JsonRpcService) -> None:
        service.add_transport("bus", ["user"])
        self.origin = service.dispatcher.origin("bus", user="ann")
        self.service = service

    @command("bus.send")
    def send(self, document: str) -> str:
        return self.service.dispatcher.dispatch(document.encode(), self.origin).body.decode()

    @command("bus.echo", stateless=True)
    def echo(self) -> str:
        return "echo"
'''


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_of_a_package(tmp_path: Path, workers: int) -> None:
    """A class that is loaded by its name adds its transport, which the rules of the settings name, in workers too."""
    (tmp_path / "buses.py").write_text(BUS)
    rules = ("--rule=bus user=ann allow system.* deny *.methodHelp", "--rule=unix allow bus.*")
    options = ("--commands=buses:Bus", *rules, f"--dgram-workers={workers + 1}")
    with Server(tmp_path, *options, sockets=("rpc.sock",)) as server:
        for method, forbidden in (("system.methodHelp", True), ("system.listMethods", False), ("core.pwd", True)):
            inner = json.dumps({"jsonrpc": "2.0", "method": method, "id": 1})
            outer = json.dumps({"jsonrpc": "2.0", "method": "bus.send", "params": [inner], "id": 1})
            reply = json.loads(json.loads(datagram_call(server.addresses["unix"], outer.encode()))["result"])
            assert (reply.get("error", {}).get("code") == 403) == forbidden
        echo = b'{"jsonrpc":"2.0","method":"bus.echo","id":1}'
        assert json.loads(datagram_call(server.addresses["unix"], echo))["result"] == "echo"


def test_test_client() -> None:
    """The client for tests calls over it as well."""
    client = TestClient(rule=["chat user=ann allow system.*"], transports=CHAT)
    assert "system.listMethods" in client.called_by("chat", user="ann").call("system.listMethods")
    with pytest.raises(Fault, match="403"):
        client.called_by("chat", user="eve").call("system.listMethods")
