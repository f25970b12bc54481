"""The sessions of signed-in users: tokens, how long they last, and what ends them. They are in memory only."""

import hashlib
import secrets
from collections.abc import Callable
from typing import Final

import attrs

from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

MAX_SESSIONS: Final = 1000
"""Sessions that there may be. If there are more, the least recently used one ends."""

MAX_OF_USER: Final = 20
"""Sessions that a user may have. If there are more, the oldest one of that user ends."""

TOKEN_BYTES: Final = 32
"""Random bytes in a token."""

SIGNED_OUT: Final = "signed out"
EXPIRED: Final = "expired"
CHANGED: Final = "the user or the password has changed"
TOO_MANY: Final = "too many sessions"
NO_RIGHTS: Final = "the rules do not allow anything any more"
"""Why sessions end."""


@attrs.define(eq=False)
class Session:
    """What is known of a browser that has signed in.

    @ivar user: its user, as the checker has named it; None: the checker does not name users.
    @ivar line: the user's hashed password when it was checked; None: the checker is not a file of users.
    @ivar digest: of the token.
    @ivar began: when the user signed in, in seconds of the clock.
    @ivar used: when it was last used.
    @ivar ended: why it has ended; empty: it has not.
    @ivar followers: called with the reason when it ends.
    """

    user: str | None
    line: str | None
    digest: bytes
    began: float
    used: float
    ended: str = ""
    followers: list[Callable[[str], object]] = attrs.field(factory=list)


class Sessions:
    """The sessions of a server. Of a token only a digest is kept.

    @param seconds: a monotonic clock, since setting the clock must not prolong sessions.
    @param life: seconds that a session lasts at most.
    @param idle: seconds that it lasts without being used.
    @param line_of: returns the current hashed password of a user, None if there is no such user; see
        L{jsonrpcs_tx.access.usersfile.UsersFile.line}. None: it cannot be known.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        life: float,
        idle: float,
        line_of: Callable[[str], str | None] | None = None,
    ) -> None:
        self._seconds = seconds
        self._life = life
        self._idle = idle
        self._line_of = line_of
        self._sessions: dict[bytes, Session] = {}  # by the digest of the token; the least recently used one first

    def __len__(self) -> int:
        return len(self._sessions)

    def line(self, user: str) -> str | None:
        """The current hashed password of a user; None if there is no such user, or it cannot be known."""
        return None if self._line_of is None else self._line_of(user)

    def begin(self, user: str | None, line: str | None) -> str:
        """Begin the session of a user whose password was right.

        @param line: what L{line} returned before the password was checked, so that a change in between is noticed.
        @return: the token, which only that user may know.
        """
        mine = [one for one in self._sessions.values() if one.user == user]
        if len(mine) >= MAX_OF_USER:
            self.end(min(mine, key=lambda one: one.began), TOO_MANY)
        while len(self._sessions) >= MAX_SESSIONS:
            self.end(next(iter(self._sessions.values())), TOO_MANY)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        now, digest = self._seconds(), _digest(token)
        self._sessions[digest] = Session(user, line, digest, now, now)
        return token

    def find(self, token: str) -> Session | None:
        """The session with a token; None if there is none, or it has ended."""
        session = self._sessions.get(_digest(token))
        return session if session is not None and self.lives(session) else None

    def lives(self, session: Session) -> bool:
        """Whether a session is still valid. It ends here if its time is over, or its user or password has changed."""
        if session.ended:
            return False
        if self.left(session) <= 0:
            self.end(session, EXPIRED)
        elif session.user is not None and self._line_of is not None and self._line_of(session.user) != session.line:
            self.end(session, CHANGED)
        return not session.ended

    def left(self, session: Session) -> float:
        """Seconds after which a session ends if it is not used."""
        return min(session.began + self._life, session.used + self._idle) - self._seconds()

    def use(self, session: Session) -> None:
        """Note that a session is used."""
        session.used = self._seconds()
        if self._sessions.pop(session.digest, None) is not None:
            self._sessions[session.digest] = session

    def end(self, session: Session, reason: str) -> None:
        """End a session, if it has not ended yet."""
        self._sessions.pop(session.digest, None)
        if not session.ended:
            session.ended = reason
            followers, session.followers = session.followers, []
            for follower in followers:
                try:
                    follower(reason)
                except Exception:  # the others are told as well
                    _log.failure("a follower of a session has failed when that ended: {reason}", reason=reason)


def _digest(token: str) -> bytes:
    return hashlib.blake2b(token.encode(errors="replace"), digest_size=32).digest()
