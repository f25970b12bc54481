"""The formats: whatever an entry says, it is one line, one object or one entry, and nothing else."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel

from jsonrpcs_tx.journal import encode
from jsonrpcs_tx.logs.entries import LEVELS, CodeLocation, Entry, entry_of
from jsonrpcs_tx.logs.formats import MAX_SYSLOG, PRIORITIES, journal_fields, json_line, syslog_lines, text_line
from jsonrpcs_tx.printable import printable
from tests.support.journal import fields_of

TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\nbuiltins.ValueError: x'
FAILED = Entry(
    0.25,
    LogLevel.critical,
    "a.b",
    "command c failed",
    {"method": "c", "peer": None},
    TRACEBACK,
    CodeLocation("x.py", 1, "f"),
)


def test_text() -> None:
    """Text is the line that Twisted writes; what follows the first line begins with a tab."""
    line = text_line(Entry(0.25, LogLevel.warn, "a.b", "hello")).decode()
    assert re.fullmatch(r"(1970-01-01|1969-12-31)T\d\d:\d\d:00[+-]\d{4} \[a\.b#warn\] hello\n", line)
    lines = text_line(FAILED).decode().split("\n")
    assert lines[0].endswith(" [a.b#critical] command c failed")
    assert lines[1:] == [f"\t{line}" for line in TRACEBACK.split("\n")] + [""]
    assert b" [-] x\n" in text_line(Entry(0, LogLevel.info, "-", "x"))


def test_json() -> None:
    """JSON has time, level, module and message first, then the fields, and a traceback in one string."""
    line = json_line(FAILED)
    assert line.count(b"\n") == 1
    assert list(json.loads(line).items()) == [
        ("time", "1970-01-01T00:00:00.250+00:00"),
        ("level", "critical"),
        ("module", "a.b"),
        ("message", "command c failed"),
        ("traceback", TRACEBACK),
        ("method", "c"),
        ("peer", None),
    ]
    assert "traceback" not in json.loads(json_line(Entry(0, LogLevel.info, "a", "x")))


def test_fields_do_not_hide_what_each_line_has() -> None:
    """A program's fields with the names of the line's own are there under other names."""
    fields = {"message": "mine", "level": 5, "time": 1.5, "module": "x", "traceback": "t"}
    value = json.loads(json_line(Entry(0, LogLevel.error, "a", "real", fields)))
    assert (value["message"], value["level"], value["module"]) == ("real", "error", "a")
    assert (value["message_"], value["level_"], value["time_"], value["module_"]) == ("mine", 5, 1.5, "x")


def test_journal() -> None:
    """The journal gets a priority, the identifier, the module, the place of an error, and fields of our own."""
    assert journal_fields(FAILED, "ident") == {
        "MESSAGE": f"command c failed\n{TRACEBACK}",
        "PRIORITY": "2",
        "SYSLOG_IDENTIFIER": "ident",
        "CODE_FILE": "x.py",
        "CODE_LINE": "1",
        "CODE_FUNC": "f",
        "JSONRPCS_MODULE": "a.b",
        "JSONRPCS_METHOD": "c",
    }


def test_syslog() -> None:
    """Syslog gets a datagram for each line, each with facility and severity, time, identifier and process."""
    lines = [line.decode() for line in syslog_lines(FAILED, "ident")]
    head = r"<26>(Jan  1|Dec 31) \d\d:\d\d:00 ident\[\d+\]: "
    assert re.fullmatch(head + r"\[a\.b#critical\] command c failed", lines[0])
    assert re.fullmatch(head + r"    builtins\.ValueError: x", lines[-1])
    assert len(lines) == 1 + TRACEBACK.count("\n") + 1
    (long,) = syslog_lines(Entry(0, LogLevel.info, "a", "x" * 20_000), "ident")
    assert len(long) == MAX_SYSLOG


def test_levels() -> None:
    """Every level of Twisted's has a word and a priority, in the same order."""
    levels = list(LogLevel.iterconstants())
    assert [LEVELS[level] for level in levels] == ["debug", "info", "warning", "error", "critical"]
    assert [PRIORITIES[level] for level in levels] == [7, 6, 4, 3, 2]


def event(text: str, name: str, value: Any) -> dict[str, Any]:
    return {
        "log_level": LogLevel.warn, "log_namespace": text, "log_format": "{log_text}", "log_text": text, name: value,
    }  # fmt: skip


NAMES = st.text(min_size=1).filter(lambda name: not name.startswith("log_"))


@given(st.text(min_size=1), NAMES, st.text() | st.binary() | st.integers() | st.floats())
def test_nothing_is_forged(text: str, name: str, value: Any) -> None:
    """Whatever module, message, names and values are, no format makes a line, a field or an entry of its own of it."""
    entry = entry_of(event(text, name, value))
    if entry is None:
        assert not printable(text).strip("\\n")
        return
    text_lines = text_line(entry).decode().removesuffix("\n").split("\n")
    assert all(line.startswith("\t") for line in text_lines[1:])
    assert all(line.removeprefix("\t").isprintable() for line in text_lines)
    (line,) = json_line(entry).decode().splitlines()
    known = json.loads(line)
    assert known["message"] == entry.message
    assert len(known) == 4 + len(entry.fields)
    assert all(part.isprintable() for part in str(known["message"]).split("\n"))
    fields = journal_fields(entry, "ident")
    assert dict(fields_of(encode(fields))) == {key: text.encode() for key, text in fields.items()}
    assert (fields["PRIORITY"], fields["SYSLOG_IDENTIFIER"]) == ("4", "ident")
    for datagram in syslog_lines(entry, "ident"):
        assert re.fullmatch(r"<28>\w{3} [ \d]\d \d\d:\d\d:\d\d ident\[\d+\]: .*", datagram.decode(errors="replace"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**30, "\ud800", True, None])
def test_values_that_json_lacks(value: Any) -> None:
    """Values that JSON lacks are written all the same."""
    entry = entry_of(event("x", "value", value))
    assert entry is not None
    assert "value" in json.loads(json_line(entry)) or value is None
