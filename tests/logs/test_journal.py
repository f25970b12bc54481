"""Entries for systemd's journal arrive as they were sent, whatever is in them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.logs.journal import MAX_ENTRY, Journal, encode
from tests.support.journal import FakeJournal, fields_of


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[FakeJournal]:
    """A journal that listens."""
    journal = FakeJournal(tmp_path / "journal")
    yield journal
    if journal.path.exists():
        journal.close()


def test_entry(listening: FakeJournal) -> None:
    """A field is text or bytes, and a line break in it begins no other field."""
    journal = Journal(str(listening.path))
    journal.send({"MESSAGE": "grün\nPRIORITY=0", "PRIORITY": "4", "RAW": b"\x00\xff=\n"})
    assert listening.read() == {"MESSAGE": "grün\nPRIORITY=0".encode(), "PRIORITY": b"4", "RAW": b"\x00\xff=\n"}
    journal.close()


def test_lone_surrogate(listening: FakeJournal) -> None:
    """A lone surrogate, which UTF-8 has not, is escaped."""
    journal = Journal(str(listening.path))
    journal.send({"MESSAGE": "a\udcff"})
    assert listening.read() == {"MESSAGE": b"a\\udcff"}
    journal.close()


def test_large_entry(listening: FakeJournal) -> None:
    """An entry too large for a datagram comes as a sealed file in memory."""
    journal = Journal(str(listening.path))
    journal.send({"MESSAGE": "x" * 5_000_000, "PRIORITY": "6"})
    assert listening.read() == {"MESSAGE": b"x" * 5_000_000, "PRIORITY": b"6"}
    with pytest.raises(ValueError, match=r"entry of .* bytes: at most 16,777,216 are allowed"):
        journal.send({"MESSAGE": "x" * MAX_ENTRY})
    journal.close()


def test_journal_that_does_not_keep_up(listening: FakeJournal) -> None:
    """An entry for which there is no room is refused at once, and one comes through as soon as there is room."""
    journal = Journal(str(listening.path))
    sent: list[bytes] = []

    def send_until_refused() -> None:
        while True:
            number = str(len(sent))
            journal.send({"NUMBER": number})
            sent.append(number.encode())

    with pytest.raises(BlockingIOError):
        send_until_refused()
    assert [entry["NUMBER"] for entry in listening.read_all()] == sent
    journal.send({"NUMBER": "last"})
    assert listening.read() == {"NUMBER": b"last"}
    journal.close()


def test_journal_that_ends(listening: FakeJournal) -> None:
    """Without a journal the entry is refused, and a journal that is started again gets the next ones."""
    journal = Journal(str(listening.path))
    listening.close()
    with pytest.raises(FileNotFoundError):
        journal.send({"MESSAGE": "lost"})
    again = FakeJournal(listening.path)
    journal.send({"MESSAGE": "found"})
    assert again.read() == {"MESSAGE": b"found"}
    again.close()
    journal.close()


@pytest.mark.parametrize("name", ["", "_PID", "message", "A B", "A=B", "A\n", "1A", "Ä", "A" * 65])
def test_names(name: str) -> None:
    """A name that the journal would not take is an error, and so forges no field."""
    with pytest.raises(ValueError, match="must be up to 64 capital letters"):
        encode({name: "value"})


@given(st.dictionaries(st.from_regex("[A-Z][A-Z0-9_]{0,63}", fullmatch=True), st.binary()))
def test_anyfields_of(fields: dict[str, bytes]) -> None:
    """Any fields are read back as they were."""
    assert dict(fields_of(encode(fields))) == fields
