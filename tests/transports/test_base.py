"""What all transports have in common, and the table of what is known of each."""

import sys
import types
from pathlib import Path

import pytest
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from jsonrpcs_tx import compose
from jsonrpcs_tx.compose import makeService
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.protocols import PROTOCOLS, Protocol
from jsonrpcs_tx.service import JsonRpcService
from jsonrpcs_tx.transports.base import Listener, Transport


class Own(Transport):
    """A transport that a program adds."""

    protocol = "own"

    def __init__(self) -> None:
        self.changed: list[Settings] = []
        self.stopped: Deferred[None] = Deferred()

    def privilegedStartService(self) -> None:
        self.listener = Listener("own", "here", 1)

    def settings_changed(self, settings: Settings) -> None:
        self.changed.append(settings)

    def reload_tls(self) -> bool:
        return True

    def workers(self) -> list[int]:
        return [4711]

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self.stopped


@pytest.fixture
def server(tmp_path: Path) -> JsonRpcService:
    return makeService(Settings(transport=2, run_dir=str(tmp_path), fifo_reply_dir=str(tmp_path)), MemoryReactorClock())


def test_added(server: JsonRpcService) -> None:
    """A transport that a program adds is listed, told of changes, and stopped before the rest, as the built-in ones."""
    own, rest = Own(), Service()
    own.setServiceParent(server)
    rest.setServiceParent(server)
    server.startService()
    assert own.running
    assert [str(one) for one in server.listeners()][1:] == ["own here:1"]
    assert server.processes()[1:] == [(4711, "JSONRPCS DATAGRAM")]
    assert server.reload_tls() == 1
    server.change(fifo_timeout=7)
    assert [one.fifo_timeout for one in own.changed] == [7]
    stopped = server.stopService()
    assert (own.running, rest.running, stopped.called) == (False, True, False)
    own.stopped.callback(None)
    assert (rest.running, stopped.called) == (False, True)


def test_built_in(tmp_path: Path) -> None:
    """The transports of a server are those of the table, each enabled by its bit."""
    for bit in {one.bit for one in PROTOCOLS.values()} - {0}:
        wanted = Settings(
            transport=bit,
            run_dir=str(tmp_path),
            dgram_socket=("s", "udp:127.0.0.1:0"),
            tcp_socket="tcp:127.0.0.1:0",
            tls_self_signed=True,
        )
        made = makeService(wanted, MemoryReactorClock()).transports()
        assert [one.protocol for one in made] == [one.name for one in PROTOCOLS.values() if one.bit == bit]


def test_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of the table, and the module that it names, are all that a further transport takes besides its setting."""
    own = types.ModuleType("own")
    own.make_transports = lambda parts: [Own()]  # type: ignore[attr-defined] # a module has any name
    monkeypatch.setitem(sys.modules, "jsonrpcs_tx.own", own)
    monkeypatch.setattr(compose, "PROTOCOLS", {**PROTOCOLS, "own": Protocol("own", "own", bit=1)})
    wanted = Settings(transport=1, run_dir=str(tmp_path))
    made = makeService(wanted, MemoryReactorClock()).transports()
    assert [one.protocol for one in made] == ["http", "own"]
