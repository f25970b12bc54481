"""A reader of datagrams with its clients, within the process."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from math import inf
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.testing import MemoryReactorClock

from jsonrpcs_tx import Call, Dispatcher, Fault, Registry, command
from jsonrpcs_tx.access.auditlog import AuditLog
from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.access.peers import UCRED
from jsonrpcs_tx.access.rules import read_rule
from jsonrpcs_tx.datagrams.datagramreader import DatagramReader
from jsonrpcs_tx.datagrams.datagramreplies import DatagramReplies
from jsonrpcs_tx.datagrams.replysocket import reply_socket
from jsonrpcs_tx.datagrams.responder import Responder
from jsonrpcs_tx.rpc.audit import AuditingDispatcher
from jsonrpcs_tx.rpc.envelope import DIALECTS
from jsonrpcs_tx.state.counters import Counters
from tests.support.clocks import steady

OTHER = 4321
"""A user that clients of a Unix socket can be of where the tests run as root, who may say so."""

_FAMILIES = {"unix": socket.AF_UNIX, "udp4": socket.AF_INET, "udp6": socket.AF_INET6}


class Commands:
    """Commands, some of which do what a test wants."""

    def __init__(self) -> None:
        self.then: Callable[[], object] = lambda: None

    @command("jsonrpc.echo")
    def echo(self, *values: Any) -> list[Any]:
        """Returns its parameters."""
        return list(values)

    @command("test.fault")
    def fault(self) -> None:
        """Raises a fault."""
        raise Fault(404, "Not There")

    @command("test.large")
    def large(self, size: int) -> str:
        """Returns a number of characters."""
        return "x" * size

    @command("test.who")
    def who(self, call: Call) -> list[Any]:
        """Returns who calls, without the port and the process, which are others each time."""
        return [call.transport, call.address, call.uid, call.gid]

    @command("test.then")
    def do(self) -> str:
        """Does what the test wants."""
        self.then()
        return "done"


@attrs.frozen
class Side:
    """A reader with its socket and its clients: two with an address, and over a Unix socket one without.

    The address of the second one is not the first one's IP address, where there is another, and its Unix socket belongs
    to L{OTHER}, where the tests run as root.
    """

    reader: Any
    dispatcher: Dispatcher
    commands: Commands
    server: socket.socket
    clients: list[socket.socket]
    clock: MemoryReactorClock

    def send(self, number: int, document: bytes) -> None:
        self.clients[number % len(self.clients)].sendto(document, self.server.getsockname())

    def send_as(self, user: int, number: int, document: bytes) -> None:
        """Send over a Unix socket as another user, as only root may."""
        credentials = UCRED.pack(os.getpid(), user, user)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials)]
        self.clients[number % len(self.clients)].sendmsg([document], ancillary, 0, self.server.getsockname())

    def set_rules(self, *rules: str) -> None:
        """Decide by other rules, as L{jsonrpcs_tx.service.JsonRpcService} does it."""
        self.dispatcher.access.replace(map(read_rule, rules))
        self.reader.receiver.rules_changed()

    def replies(self) -> list[list[bytes]]:
        """What the clients have received."""
        return [[*received(client)] for client in self.clients]

    def counts(self) -> dict[str, int]:
        return {f"{one.group}:{one.name}": one.read() for one in self.dispatcher.counters.select("all")}


def received(client: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield client.recv(1_000_000)
        except BlockingIOError:
            return


def make_reader(
    kind: type[DatagramReader], sock: socket.socket, dispatcher: Dispatcher, protocol: str, timeout: float, reactor: Any
) -> Any:
    """A reader of a bound socket, put together as a server does it. Its C{receiver} is the L{Responder} that answers
    what it reads. Its turns end only when it has read everything, however slow the machine is.

    @param timeout: seconds to try to send a reply to a client whose queue is full.
    """
    replies = DatagramReplies(protocol, reply_socket(sock, reactor), dispatcher, timeout, reactor)
    make: Any = kind
    reader = make(sock, Responder(dispatcher, protocol, replies), reactor)
    reader.turn = inf
    return reader


@contextmanager
def side(
    kind: type[DatagramReader], family: str, dialect: str = "kamailio", rules: Iterable[str] = (), audit: str = ""
) -> Iterator[Side]:
    """A reader with its clients.

    @param audit: the path of an audit log of the calls; empty: there is none.
    """
    with ExitStack() as stack:
        stack.enter_context(steady())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sockets = [stack.enter_context(socket.socket(_FAMILIES[family], socket.SOCK_DGRAM)) for _ in range(4)]
        for number, one in enumerate(sockets):
            one.setblocking(False)
            if family != "unix":
                one.bind(("::1" if family == "udp6" else "127.0.0.2" if number == 2 else "127.0.0.1", 0))
            elif number < 3:
                one.bind(str(directory / f"{number}"))
                if number == 2 and os.geteuid() == 0:
                    os.chown(directory / f"{number}", OTHER, OTHER)
        server, *clients = sockets
        commands, clock = Commands(), MemoryReactorClock()
        access = AccessControl(map(read_rule, rules))
        options: dict[str, Any] = {"dialect": DIALECTS[dialect], "access": access, "counters": Counters()}
        if audit:
            log = AuditLog(audit, False, options["counters"], clock)
            log.startService()
            stack.callback(log.stopService)
            options["audit"] = log
        make = AuditingDispatcher if audit else Dispatcher
        dispatcher = make(Registry(commands), clock, **options)
        reader = make_reader(kind, server, dispatcher, family.rstrip("46"), 2, clock)
        yield Side(reader, dispatcher, commands, server, clients, clock)
        reader.stop()
        reader.receiver.replies.stop()
