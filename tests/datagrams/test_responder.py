"""Admission: of a client that may call nothing, no document is looked at, whichever process has read it."""

import os
import socket
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs

from jsonrpcs_tx import command
from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.access.rules import read_rule
from jsonrpcs_tx.datagrams.datagrambatch import BatchReader
from jsonrpcs_tx.datagrams.datagramreader import DatagramReader
from jsonrpcs_tx.datagrams.responder import MAX_CALLERS
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.rpc.registry import Registry
from jsonrpcs_tx.worker import Relay
from tests.support import ECHO, ECHO_REPLY
from tests.support.datagrams import make_reader

COUNT = b'{"jsonrpc":"2.0","method":"own.count","id":1}'
OTHERS_ONLY = {"udp": "udp 192.0.2.1 allow *", "unix": f"unix uid={os.geteuid() + 1} allow *"}


class Line:
    """A worker's end of the link to the main process.

    @ivar sent: what the worker has passed on.
    @ivar drained: what it wants to be called when that has been read.
    """

    max_message = 100_000

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.congested = False
        self.drained: Any = None

    def send(self, message: bytes, drained: Any = None) -> None:
        self.sent.append(message)
        self.drained = drained


class Commands:
    @command("jsonrpc.echo", stateless=True)
    def echo(self, *values: Any) -> list[Any]:
        """Returns its parameters."""
        return list(values)

    @command("own.count")
    def count(self) -> int:
        """Needs the main process."""
        return 1


@pytest.fixture(params=["udp", "unix"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ends(protocol: str, tmp_path: Path) -> Iterator[list[socket.socket]]:
    """A bound socket, and a client that is connected to it."""
    family = socket.AF_INET if protocol == "udp" else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as server, socket.socket(family, socket.SOCK_DGRAM) as client:
        if protocol == "unix":
            server.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        for number, sock in enumerate((server, client)):
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0) if protocol == "udp" else str(tmp_path / str(number)))
        client.connect(server.getsockname())
        yield [server, client]


def make_dispatcher(*rules: str) -> tuple[Dispatcher, list[bytes]]:
    """A dispatcher, and the documents that it is asked to read from now on."""
    dispatcher = Dispatcher(Registry(Commands()), MemoryReactorClock(), access=AccessControl(map(read_rule, rules)))
    decoded: list[bytes] = []
    read = dispatcher.read

    def spy(document: bytes) -> Any:
        decoded.append(document)
        return read(document)

    dispatcher.read = spy
    return dispatcher, decoded


def relay(sock: socket.socket, dispatcher: Dispatcher, protocol: str, line: Line) -> Relay:
    end: Any = line
    made = Relay(sock, dispatcher, protocol, 2, end, lambda: None, MemoryReactorClock())
    made.reader.turn = inf
    return made


@pytest.mark.parametrize("where", ["main process", "main process, many at once", "worker"])
def test_refused_unread(where: str, protocol: str, ends: list[socket.socket]) -> None:
    """It is dropped, counted and logged, and neither parsed nor passed on to be parsed elsewhere."""
    server, client = ends
    dispatcher, decoded = make_dispatcher(OTHERS_ONLY[protocol])
    line = Line()
    kind = DatagramReader if where == "main process" else BatchReader
    reader = (
        relay(server, dispatcher, protocol, line).reader
        if where == "worker"
        else make_reader(kind, server, dispatcher, protocol, 2, MemoryReactorClock())
    )
    documents = (ECHO, COUNT, b"{", b"[" * 10_000)
    for document in documents:
        client.send(document)
    with capturedLogs() as events:
        reader.doRead()
    assert (decoded, line.sent) == ([], [])
    assert dispatcher.traffic(protocol).dropped.value == len(documents)
    assert [event["why"] for event in events] == ["nothing is allowed"] * len(documents)
    with pytest.raises(BlockingIOError):
        client.recv(1000)


@pytest.mark.parametrize("rules", [(), ("any deny own.other",)])
def test_admitted(rules: tuple[str, ...], protocol: str, ends: list[socket.socket]) -> None:
    """What is admitted is parsed once by a worker, which answers what it may and passes on the rest."""
    server, client = ends
    dispatcher, decoded = make_dispatcher(*rules)
    line = Line()
    reader = relay(server, dispatcher, protocol, line).reader
    documents = [ECHO, COUNT]
    for document in documents:
        client.send(document)
    reader.doRead()
    assert decoded == documents
    assert client.recv(1000) == ECHO_REPLY
    assert len(line.sent) == 1


def test_congested(protocol: str, ends: list[socket.socket]) -> None:
    """While the main process does not keep up, a worker leaves what comes in the socket; then it reads again."""
    server, client = ends
    dispatcher, decoded = make_dispatcher()
    line = Line()
    line.congested = True
    reader = relay(server, dispatcher, protocol, line).reader
    for _ in range(3):
        client.send(COUNT)
    reader.doRead()
    reader.doRead()
    assert len(decoded) == 1
    line.congested = False
    line.drained()
    reader.doRead()
    assert len(decoded) == 3


def test_remembered(ends: list[socket.socket], protocol: str) -> None:
    """Decisions on senders are remembered, of a bounded number, until the rules change."""
    server, _ = ends
    dispatcher, _ = make_dispatcher(OTHERS_ONLY[protocol])
    responder = make_reader(DatagramReader, server, dispatcher, protocol, 2, MemoryReactorClock()).receiver
    decided: list[int] = []
    decide = responder.remember(decided.append)
    for sender in (*range(MAX_CALLERS), *range(MAX_CALLERS)):
        decide(sender)
    assert decided == [*range(MAX_CALLERS)]
    decide(MAX_CALLERS)
    decide(0)
    assert decided[MAX_CALLERS:] == [MAX_CALLERS, 0]
    responder.rules_changed()
    decide(0)
    assert decided[-2:] == [0, 0]
