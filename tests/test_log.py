"""The log: printable whatever clients send, and no flood of one kind hides another."""

import json
import os
import socket
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, capturedLogs, eventAsText, formatEvent
from twisted.python.failure import Failure

from jsonrpcs_tx.buckets import TokenBuckets
from jsonrpcs_tx.log import BURST, MAX_KINDS, MAX_SOURCES, RATE, Throttle, make_logger
from jsonrpcs_tx.logvalues import MAX_VALUE
from jsonrpcs_tx.printable import printable
from tests.support import PATIENCE, Server, call, http_request, write_fifo

_HOSTILE = "\x1b[2J\r2026-01-01 [jsonrpcs_tx.service#info] serving\n\u202egnp.exe\u2028\x00\x9b\x85\udc80"
"""Clears a terminal, makes lines of its own, turns the writing round, and cannot be encoded."""

_log = make_logger("jsonrpcs_tx.test")


def logged(message: str, **values: Any) -> LogEvent:
    """The event of a warning."""
    with capturedLogs() as events:
        _log.warn(message, **values)
    return events[0]


def is_plain(text: str) -> bool:
    """Whether a line holds neither controls nor what changes how others are shown."""
    return not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text)


class TestPrintable:
    """What a message shows of the values in it."""

    @pytest.mark.parametrize(
        "value",
        [_HOSTILE, _HOSTILE.encode(errors="surrogateescape"), ValueError(_HOSTILE), (_HOSTILE,), Path(_HOSTILE)],
    )
    def test_hostile_values(self, value: object) -> None:
        """Whatever type a value has, and however the format shows it, the line is printable and has it all."""
        for message in ("{value}", "{value!r}", "{value!s:.400}", "a {value} b"):
            line = formatEvent(logged(message, value=value))
            assert is_plain(line), line
            assert "gnp.exe" in line
            assert "Unable to format" not in line

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Any text comes out printable, the same where it was so before, and can be written in UTF-8."""
        shown = printable(text)
        assert shown.isprintable()
        assert shown.encode().decode() == shown
        assert shown == text or not text.isprintable()

    @given(st.binary(max_size=2 * MAX_VALUE))
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes come out printable."""
        assert formatEvent(logged("{data}", data=data, log_held_back=0)).isprintable()

    def test_long_values(self) -> None:
        """A long value is cut, and its size is told."""
        for value in ("x" * 100_000, b"x" * 100_000):
            assert formatEvent(logged("{value}", value=value)) == "x" * MAX_VALUE + "... (100,000 in all)"

    def test_numbers(self) -> None:
        """Numbers keep their types for the format; an integer that is too long for one harms nothing."""
        event = logged("{a:g} {b:04x} {c} {d}", a=0.5, b=255, c=None, d=10**10_000)
        assert formatEvent(event).startswith("0.5 00ff None ")

    def test_broken_value(self) -> None:
        """A value that cannot be shown harms nothing."""

        class Broken:
            def __str__(self) -> str:
                raise RuntimeError(_HOSTILE)

        assert is_plain(formatEvent(logged("{value}", value=Broken())))

    def test_traceback(self) -> None:
        """A traceback shows the message of its exception in one printable line, and the place where it was raised."""
        try:
            raise ValueError(_HOSTILE)
        except ValueError:
            failure = Failure()
        with capturedLogs() as events:
            _log.failure("command {command} failed", failure, command="test.bad")
        text = eventAsText(events[0], includeTimestamp=False, includeSystem=False)
        assert all(map(is_plain, text.split("\n")))
        assert [line for line in text.split("\n") if "gnp.exe" in line] == [
            f"builtins.ValueError: {printable(_HOSTILE)}"
        ]
        assert "test_traceback" in text
        assert events[0]["log_failure"].check(ValueError)
        assert failure.getErrorMessage() == _HOSTILE

    def test_long_message_of_an_exception(self) -> None:
        """A long message of an exception is cut in its traceback."""
        with capturedLogs() as events:
            _log.failure("failed", Failure(ValueError("x" * 100_000)))
        assert len(eventAsText(events[0])) < 2 * MAX_VALUE


class TestThrottle:
    """Which messages are held back."""

    now = 0.0

    def clock(self) -> float:
        return self.now

    def test_burst_and_rate(self) -> None:
        """A burst is logged, then one a second; the next one tells how many were held back."""
        throttle = Throttle(self.clock)
        assert [throttle.take("a") for _ in range(BURST + 7)] == [0] * BURST + [None] * 7
        for _ in range(3):
            self.now += 1 / RATE
            assert [throttle.take("a") for _ in range(3)] == [7 if self.now == 1 else 2, None, None]
        assert throttle.held_back == 13

    def test_quiet_time(self) -> None:
        """After a quiet time a burst is logged again, no larger than the first."""
        throttle = Throttle(self.clock)
        for _ in range(BURST + 5):
            throttle.take("a")
        self.now += 1_000_000
        assert sum(throttle.take("a") is not None for _ in range(2 * BURST)) == BURST

    def test_sources(self) -> None:
        """A flood from one source does not hide others, whose first messages are logged, up to a burst of its own."""
        throttle = Throttle(self.clock)
        assert [throttle.take("a", "flood") for _ in range(BURST + 7)] == [0] * BURST + [None] * 7
        assert throttle.take("a", "quiet") == 7
        assert throttle.take("a", "quiet") is None
        assert sum(throttle.take("a", number) is not None for number in range(10 * MAX_SOURCES)) == BURST - 1
        self.now += 1_000_000
        assert sum(throttle.take("a", number) is not None for number in range(10 * MAX_SOURCES)) == 2 * BURST
        (kind,) = throttle._kinds.values()
        assert len(kind.sources) <= MAX_SOURCES

    def test_source_of_a_message(self) -> None:
        """The source is the client's address, over UDP from whatever port."""
        with capturedLogs() as events:
            for port in range(BURST + 100):
                _log.warn("no reply to {peer}: test", peer=("192.0.2.1", port))
            _log.warn("no reply to {peer}: test", peer=("192.0.2.2", 5))
        assert len(events) == BURST + 1
        assert "192.0.2.2" in formatEvent(events[-1])

    def test_bounded(self) -> None:
        """Kinds without end take no memory without end."""
        throttle = Throttle(self.clock)
        for key in range(3 * MAX_KINDS):
            throttle.take(key)
        assert len(throttle._buckets) <= MAX_KINDS
        for key in range(2 * MAX_KINDS):
            for _ in range(BURST + 1):
                throttle.take(key)
        assert throttle.held_back > MAX_KINDS
        assert len(throttle._kinds) <= MAX_KINDS

    def test_kinds(self) -> None:
        """A flood hides neither another message, nor the same of another module, transport or command."""
        with capturedLogs() as events:
            for number in range(1000):
                _log.warn("{transport}: flood from {peer}", transport="udp", peer=number)
            _log.warn("{transport}: flood from {peer}", transport="unix", peer=1)
            _log.warn("another")
            make_logger("jsonrpcs_tx.test2").warn("{transport}: flood from {peer}", transport="udp", peer=1)
            for name in ("a", "b"):
                for _ in range(100):
                    _log.failure("command {command} failed", Failure(ValueError()), command=name)
        assert len(events) == 2 * BURST + 3 + 2 * BURST

    def test_what_is_never_held_back(self) -> None:
        """What is not a warning is not held back."""
        with capturedLogs() as events:
            for number in range(100):
                _log.info("listening on {number}", number=number)
        assert len(events) == 100

    def test_other_throttle(self) -> None:
        """An event that another throttle has let through is not held back; how many that held back is told."""
        with capturedLogs() as events:
            for number in range(100):
                _log.warn("line {number}", number=number, log_held_back=number // 99 * 1234)
        assert len(events) == 100
        assert [formatEvent(event) for event in events[-2:]] == ["line 98", "line 99 (and 1,234 more)"]

    def test_limit_of_all(self) -> None:
        """All kinds together may have a limit as well."""
        throttle = Throttle(self.clock, of_all=TokenBuckets(BURST + 2, 1, self.clock))
        assert sum(throttle.take(key, number) is not None for number in range(BURST) for key in "abc") == BURST + 2
        self.now += 1
        assert [throttle.take("d"), throttle.take("d")] == [0, None]

    def test_count_in_the_message(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first message after some that were held back says how many."""
        monkeypatch.setattr("jsonrpcs_tx.log.throttle", Throttle(self.clock))
        with capturedLogs() as events:
            for _ in range(BURST + 1234):
                _log.warn("flood from {peer}", peer="x{y}")
            self.now += 1 / RATE
            _log.warn("flood from {peer}", peer="x{y}")
        assert formatEvent(events[-1]) == "flood from x{y} (and 1,234 more)"


@pytest.mark.slow
class TestServer:
    """The log of a server that is attacked."""

    def test_hostile_clients(self, tmp_path: Path) -> None:
        """What clients send over FIFO and HTTP makes no lines of its own and sends nothing to a terminal."""
        with Server(tmp_path) as server:
            request = {"jsonrpc": "2.0", "method": "core.echo", "id": 1, "reply_name": _HOSTILE.replace("\udc80", "")}
            write_fifo(
                server.addresses["fifo"], json.dumps(request).encode() + b"\n{" + _HOSTILE[:-1].encode() + b"}\n"
            )
            server.wait_for_log("no reply to")
            server.wait_for_log("no reply_name")
            with socket.create_connection(server.addresses["http"], PATIENCE) as client:
                client.sendall(http_request(b"{}", "Origin: http://x\u202e\x85\x9b", "Connection: close"))
                assert b" 403 " in client.makefile("rb").readline()
            server.wait_for_log("foreign Origin")
        assert all(map(is_plain, server.log)), server.log
        assert not [line for line in server.log if line.startswith("2026-01-01")]

    def test_flood(self, tmp_path: Path) -> None:
        """A flood over the FIFO is logged in part, other messages are not lost, and what was held back is counted."""
        with Server(tmp_path) as server:
            address = server.addresses["fifo"]
            for number in range(1000):
                write_fifo(address, b'{"jsonrpc":"2.0","method":"core.echo","id":1,"reply_name":"no%d"}\n' % number)
            write_fifo(address, b'{"jsonrpc":"2.0","method":"core.echo","id":"other"}\n')
            server.wait_for_log("no reply_name.*other")
            assert BURST <= len([line for line in server.log if "no reply to" in line]) < 100
            asked = b'{"jsonrpc":"2.0","method":"stats.fetchn","params":["held_back"],"id":1}'
            reply = json.loads(call("udp4", server.addresses["udp4"], asked, Path(os.devnull)))
            assert 900 <= reply["result"]["log.held_back"] < 1000
