"""SIGHUP and SIGUSR1: what a running server reads or opens again, and what it says of each."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogEvent, capturedLogs, formatEvent

from jsonrpcs_tx.config.reloads import Reloads
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.log import throttle
from tests.support import Server, http_call
from tests.support.logs import observed
from tests.support.users import write

DESTINATIONS = b'{"jsonrpc":"2.0","method":"dispatcher.list","params":["short"],"id":1}'
SET_STATE = b'{"jsonrpc":"2.0","method":"dispatcher.set_state","params":["d",1,"sip:1"],"id":1}'


def test_one_fails() -> None:
    """What fails keeps nothing else from being done, and the log says for each what came of it."""
    reloads = Reloads()

    def fail(error: Exception) -> str:
        raise error

    reloads.add("locks", lambda: fail(StartError("lock", "x", "rusty", "oil")))
    reloads.add("users", lambda: fail(StartError("users", "x", "gone", "a file", consequence="nobody gets in")))
    reloads.add("disks", lambda: fail(OSError(5, "broken")))
    reloads.add("keys", lambda: "there are 3")
    throttle.clear()
    with capturedLogs() as events:
        assert not reloads.run()
    assert [event["log_format"].format(**event) for event in events] == [
        "locks not reloaded, the former ones stay: lock: x: rusty; allowed: oil",
        "users not reloaded, nobody gets in: users: x: gone; allowed: a file",
        "disks not reloaded, the former ones stay: [Errno 5] broken",
        "keys reloaded: there are 3",
    ]


def hang_up(server: Server) -> list[str]:
    """Send SIGHUP.

    @return: what the log says of each of the four kinds.
    """
    before = len(server.log)
    os.kill(server.process.pid, signal.SIGHUP)
    return [
        server.wait_for_log(f"{name} (not )?reloaded", before).partition("] ")[2]
        for name in ("certificates", "rules", "users", "destinations")
    ]


def letters(server: Server) -> dict[str, str]:
    """The destinations with their states."""
    sets: Any = json.loads(server.call("unix", DESTINATIONS))["result"]["RECORDS"]
    return {one["DEST"]["URI"]: one["DEST"]["FLAGS"] for found in sets for one in found["SET"]["TARGETS"]}


@pytest.mark.slow
def test_hang_up(tmp_path: Path) -> None:
    """All files are read again, a damaged one changes nothing, and those beside it are read all the same."""
    write(tmp_path / "users", "ann")
    (tmp_path / "rules").write_text("any deny core.kill\n")
    (tmp_path / "list").write_text("1 sip:1\n1 sip:2\n")
    with Server(tmp_path, "--http-users=users", "--rule-file=rules", "--list-file=list") as server:
        server.call("unix", SET_STATE)
        assert hang_up(server) == [
            "certificates reloaded: for 1 listeners",
            "rules reloaded: there are 1",
            "users reloaded: there are 1",
            "destinations reloaded: the list is the same, so they stay as they are",
        ]
        assert letters(server) == {"sip:1": "DX", "sip:2": "AX"}
        write(tmp_path / "users", "bob", "zoe")
        (tmp_path / "list").write_text("1 sip:1\n1\n")
        certificates, _, users, destinations = hang_up(server)
        assert (certificates, users) == ("certificates reloaded: for 1 listeners", "users reloaded: there are 2")
        assert destinations.startswith("destinations not reloaded, the former ones stay: list_file: ")
        assert "line 2: 1 fields; allowed: setid uri" in destinations
        assert letters(server) == {"sip:1": "DX", "sip:2": "AX"}
        (tmp_path / "list").write_text("1 sip:1\n2 sip:3\n")
        (tmp_path / "tls.pem").write_text("damaged")
        (tmp_path / "users").unlink()
        certificates, _, users, destinations = hang_up(server)
        assert certificates.startswith("certificates not reloaded, the former ones stay: tls_certificate: ")
        assert users.startswith("users not reloaded, nobody gets in: http_users: ")
        assert destinations == "destinations reloaded: there are 2 in 2 sets"
        assert letters(server) == {"sip:1": "AX", "sip:3": "AX"}
        headers = {"Authorization": "Basic Ym9iOmJvYg=="}
        assert http_call("http", server.addresses["http"], DESTINATIONS, headers=headers).status == 401
        write(tmp_path / "users", "bob")
        assert "users reloaded: there are 1" in hang_up(server)
        assert http_call("https", server.addresses["https"], DESTINATIONS, headers=headers).status == 200


def test_reopening() -> None:
    """What is opened again is said to be."""

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
def test_what_programs_add(tmp_path: Path) -> None:
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
