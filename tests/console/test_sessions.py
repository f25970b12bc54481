"""Sessions without I/O: tokens, ends, limits."""

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from jsonrpcs_tx.console.sessions import (
    CHANGED,
    EXPIRED,
    MAX_OF_USER,
    MAX_SESSIONS,
    SIGNED_OUT,
    TOO_MANY,
    Session,
    Sessions,
)

LINES = {"ann": "a", "bob": "b"}


def begun(sessions: Sessions, user: str = "ann") -> tuple[str, Session]:
    token = sessions.begin(user, sessions.line(user))
    session = sessions.find(token)
    assert session is not None
    return token, session


def test_tokens() -> None:
    """A token has 256 random bits, and cannot be found from what is kept."""
    sessions = Sessions(Clock().seconds, 10, 10)
    tokens = {sessions.begin("ann", None) for _ in range(20)}
    assert len(tokens) == 20
    assert all(len(token) >= 43 for token in tokens)
    kept = repr(vars(sessions))
    assert not any(token in kept for token in tokens)


@pytest.mark.parametrize("token", ["", "x", "\0", "é", "\ud800", "A" * 43])
def test_unknown_token(token: str) -> None:
    """A token that the server has not made has no session."""
    sessions = Sessions(Clock().seconds, 10, 10)
    begun(sessions)
    assert sessions.find(token) is None


def test_idle() -> None:
    """A session that is not used ends; one that is used does not."""
    clock = Clock()
    sessions = Sessions(clock.seconds, 100, 10)
    token, session = begun(sessions)
    clock.advance(9)
    assert sessions.find(token) is session
    clock.advance(0.5)
    sessions.use(session)
    clock.advance(9.9)
    assert sessions.left(session) == pytest.approx(0.1)
    assert sessions.find(token) is session
    clock.advance(0.1)
    assert sessions.find(token) is None
    assert session.ended == EXPIRED
    assert len(sessions) == 0


def test_life() -> None:
    """A session ends after its time, however often it is used."""
    clock = Clock()
    sessions = Sessions(clock.seconds, 25, 10)
    token, session = begun(sessions)
    for _ in range(3):
        clock.advance(8)
        assert sessions.find(token) is session
        sessions.use(session)
    assert sessions.left(session) == 1
    clock.advance(1)
    assert sessions.find(token) is None
    assert session.ended == EXPIRED


def test_changed_user() -> None:
    """A user whose password changes or who is removed is signed out; others stay."""
    lines = dict(LINES)
    sessions = Sessions(Clock().seconds, 10, 10, lines.get)
    (ann, ann_session), (bob, bob_session) = begun(sessions, "ann"), begun(sessions, "bob")
    lines["ann"] = "other"
    assert sessions.find(ann) is None
    assert sessions.find(bob) is bob_session
    del lines["bob"]
    assert sessions.find(bob) is None
    assert (ann_session.ended, bob_session.ended) == (CHANGED, CHANGED)
    lines.update(LINES)
    assert sessions.find(ann) is None


def test_changed_while_checked() -> None:
    """A password that changes while it is checked begins no session."""
    sessions = Sessions(Clock().seconds, 10, 10, LINES.get)
    assert sessions.find(sessions.begin("ann", "former")) is None


def test_end() -> None:
    """A follower of a session gets to know once why it ends."""
    sessions = Sessions(Clock().seconds, 10, 10)
    token, session = begun(sessions)
    told: list[str] = []
    session.followers.append(told.append)
    sessions.end(session, SIGNED_OUT)
    sessions.end(session, EXPIRED)
    assert sessions.find(token) is None
    assert told == [SIGNED_OUT]
    assert session.ended == SIGNED_OUT
    sessions.use(session)
    assert len(sessions) == 0


def test_follower_that_fails() -> None:
    """A follower that raises an exception is logged, and the others are called."""
    sessions = Sessions(Clock().seconds, 10, 10)
    _, session = begun(sessions)
    told: list[str] = []

    def fail(reason: str) -> None:
        raise ValueError(reason)

    session.followers += [told.append, fail, told.append]
    with capturedLogs() as logged:
        sessions.end(session, SIGNED_OUT)
    assert told == [SIGNED_OUT, SIGNED_OUT]
    assert [event["log_failure"].type for event in logged] == [ValueError]


def test_most_of_user() -> None:
    """Of one user's sessions the oldest one ends where there are too many; other users keep theirs."""
    sessions = Sessions(Clock().seconds, 10, 10)
    bob, _ = begun(sessions, "bob")
    mine = [begun(sessions) for _ in range(MAX_OF_USER + 1)]
    assert mine[0][1].ended == TOO_MANY
    assert all(sessions.find(token) is session for token, session in mine[1:])
    assert sessions.find(bob) is not None


def test_most() -> None:
    """Where there are too many, the one ends that has not been used for the longest time."""
    sessions = Sessions(Clock().seconds, 10, 10)
    first, second = begun(sessions, "first")[1], begun(sessions, "second")[1]
    sessions.use(first)
    for number in range(MAX_SESSIONS - 1):
        begun(sessions, f"user{number}")
    assert len(sessions) == MAX_SESSIONS
    assert (first.ended, second.ended) == ("", TOO_MANY)
