"""An HTTP connection in memory, with all its effects."""

import atexit
import json
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from OpenSSL.crypto import X509
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from jsonrpcs_tx import Dispatcher, Fault, Registry, command
from jsonrpcs_tx.access.authentication import Authenticator
from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.access.rules import read_rule
from jsonrpcs_tx.access.usersfile import UsersFile
from jsonrpcs_tx.client.underway import Call, Detour
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.gateway import Gateway
from jsonrpcs_tx.rpc.envelope import DIALECTS
from jsonrpcs_tx.state.health import Health
from jsonrpcs_tx.transports.httpsite import JsonRpcSite
from jsonrpcs_tx.web.healthresource import HealthResource
from jsonrpcs_tx.web.httpresource import JsonRpcResource
from tests.support.tls import make_identity
from tests.support.users import write

MAX_BODY = 2000
"""The most bytes of the body of a request."""
PAGE = "http://page.example"
"""The web page that may call."""
TIMEOUT = 60
"""Seconds until an idle connection is closed."""


@cache
def users_path() -> str:
    """A file of the users ann and bob, whose passwords are their names."""
    directory = tempfile.TemporaryDirectory(prefix="users")
    atexit.register(directory.cleanup)
    write(Path(directory.name, "users"), "ann", "bob")
    return f"{directory.name}/users"


def users(clock: Clock, path: str = "") -> UsersFile:
    """A checker that hashes at once.

    @param path: of the file of users; default: L{users_path}.
    """
    return UsersFile(path or users_path(), clock, in_thread=maybeDeferred)


_users = users


@cache
def _certificate(name: str) -> X509:
    return X509.from_cryptography(make_identity(name).certificate)


class Commands:
    """Commands that answer at once, with a fault, or when a test says so.

    @ivar later: the Deferred of each C{test.later} that has begun.
    @ivar cancelled: how many of them were cancelled.
    """

    def __init__(self) -> None:
        self.later: list[Deferred[str]] = []
        self.cancelled = 0

    @command("jsonrpc.echo")
    def echo(self, *values: Any) -> list[Any]:
        """Returns its parameters."""
        return list(values)

    @command("test.fault")
    def fault(self, code: int, text: str) -> None:
        """Raises a fault."""
        raise Fault(code, text)

    @command("test.later")
    def wait(self) -> Deferred[str]:
        """Answers when the test says so."""

        def cancel(_: Deferred[str]) -> None:
            self.cancelled += 1

        self.later.append(Deferred(cancel))
        return self.later[-1]

    @command("test.awaited")
    async def awaited(self) -> str:
        """The same as a coroutine."""
        return await self.wait()

    @command("test.prompt")
    async def prompt(self) -> str:
        """A coroutine that waits for nothing."""
        return "now"


class NodeClient:
    """The client of a node: the methods of L{Commands} are answered as those are, but C{core.uptime}, which only reads,
    when the test says so.

    @param commands: has the calls that a test answers.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def forward(self, method: str, params: bytes, timeout: float, client: object = None) -> Deferred[Answer]:
        if method == "core.uptime":
            return self._commands.wait().addCallback(lambda value: Answer(b'"%b"' % value.encode()))
        if method == "test.fault":
            code, text = json.loads(params)
            error = json.dumps({"code": code, "message": text}).encode()
            return succeed(Answer(None, error, Fault(code, text)))
        return succeed(Answer(params or b"[]"))

    def carry(self, call: Call, params: bytes) -> None:
        Detour(self.forward(call.method, params, call.seconds, call.client), call)

    def close(self) -> Deferred[None]:
        return succeed(None)


class Connection:
    """A connection in memory to a site, with its effects.

    @param site: L{DirectSite} or L{JsonRpcSite}.
    @param rule: the only one; empty: there are none.
    @param users: the file of users, see L{users}; C{"default"}: L{users_path}; empty: users are not asked for.
    @param certificate: a name in the client's certificate; empty: it comes without TLS.
    @param nodes: whether it has the nodes C{n} and C{m}, which are the group C{g}.
    @param commands: its own; default: those of L{Commands} alone.
    @param options: options of the resource.
    """

    def __init__(
        self,
        site: type[JsonRpcSite],
        dialect: str = "kamailio",
        host: str = "127.0.0.1",
        rule: str = "",
        users: str = "",
        certificate: str = "",
        nodes: bool = False,
        commands: Commands | None = None,
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.commands = Commands() if commands is None else commands
        self.access = AccessControl([read_rule(rule)] if rule else [])
        self.dispatcher = Dispatcher(Registry(self.commands), self.clock, dialect=DIALECTS[dialect], access=self.access)
        if users:
            checker = _users(self.clock, "" if users == "default" else users)
            options["authenticator"] = Authenticator(checker, self.clock, self.dispatcher.counters)
        resource = JsonRpcResource(self.dispatcher, ["127.0.0.0/8", "198.51.100.0/24"], [PAGE], MAX_BODY, **options)
        if nodes:
            settings = Settings(node=["n=unix:/n group=g", "m=unix:/m group=g"])
            gateway = Gateway(settings, self.dispatcher, self.clock)
            for node in gateway.nodes.values():
                node._client = NodeClient(self.commands)  # type: ignore[assignment] # it has what is used
            resource.callees = gateway.at
        health = HealthResource(resource, Health().report)
        settings = Settings(http_timeout=TIMEOUT)
        factory = site(settings, resource, self.clock, {settings.health.encode(): health})
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", host, 5))
        if certificate:
            peer: Any = self.transport
            peer.getPeerCertificate = lambda: _certificate(certificate)
            peer.setTcpNoDelay = bool  # to nothing
            directlyProvides(peer, ISSLTransport, *providedBy(peer))
        self.channel: Any = factory.buildProtocol(IPv4Address("TCP", host, 5))
        self.channel.callLater = self.clock.callLater
        self.channel.makeConnection(self.transport)

    def feed(self, *pieces: bytes) -> "Connection":
        for piece in filter(None, pieces):
            if not self.transport.disconnecting:
                self.channel.dataReceived(piece)
        return self

    def turn(self) -> "Connection":
        """Let turns of the reactor pass, until nothing more is due."""
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)
        return self

    def fate(self) -> tuple[bytes, bool, bool, dict[str, int]]:
        """What was written, how the connection ended, and what was counted, when nothing more is due."""
        self.turn()
        written = re.sub(rb"Date: [^\r]*", b"Date: now", self.transport.value())
        counters = {f"{c.group}:{c.name}": c.read() for c in self.dispatcher.counters.select("all")}
        ended = self.transport.disconnecting, getattr(self.transport, "disconnected", False)
        return written, *ended, counters

    def end(self) -> tuple[bytes, bool, bool, dict[str, int]]:
        """L{fate}; then the client leaves, so that nothing of the connection stays open."""
        fate = self.fate()
        self.channel.connectionLost(Failure(ConnectionDone()))
        return fate
