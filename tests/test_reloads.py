"""What is read or opened again at a signal: each of it, in order, with what came of it in the log."""

import signal
from pathlib import Path

import pytest
from twisted.logger import LogEvent, formatEvent

from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.reloads import Reloads
from tests.support import Server
from tests.support.logs import observed


def test_each_is_done() -> None:
    """One that fails does not keep the others from being done, and the log says what came of each."""

    def fail() -> str:
        raise StartError("rule_file", "rules", "gone", "a file")

    def fail_for_the_system() -> str:
        raise FileNotFoundError(2, "No such file", "log")

    reopens = Reloads("reopened")
    reopens.add("rules", fail)
    reopens.add("logs", fail_for_the_system)
    reopens.add("files", lambda: "3 of them")
    events: list[LogEvent] = []
    with observed(events.append):
        assert not reopens.run()
    assert [formatEvent(event) for event in events] == [
        "rules not reopened, the former ones stay: rule_file: rules: gone; allowed: a file",
        "logs not reopened, the former ones stay: [Errno 2] No such file: 'log'",
        "files reopened: 3 of them",
    ]


PROGRAM = """
from jsonrpcs_tx import command

class Noted:
    def __init__(self, service):
        service.reopens.add("notes", lambda: "opened")
        service.reloads.add("notes", lambda: "read")

    @command("noted.nothing")
    def nothing(self) -> None:
        pass
"""


@pytest.mark.slow
def test_signals(tmp_path: Path) -> None:
    """At SIGUSR1 files are opened again, at SIGHUP they are read again after that."""
    (tmp_path / "noted.py").write_text(PROGRAM)
    with Server(tmp_path, "--commands=noted:Noted") as server:
        before = len(server.log)
        server.process.send_signal(signal.SIGUSR1)
        server.wait_for_log("notes reopened: opened", before)
        assert not any("reloaded" in line for line in server.log[before:])
        before = len(server.log)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("notes reloaded: read", before)
        assert "notes reopened: opened" in "\n".join(server.log[before:]).partition("reloaded")[0]
