"""Who an HTTP client is: asks a checker of twisted.cred, and counts those that are refused."""

from typing import Any, Final

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web import http

from jsonrpcs_tx.access.guessing import ClientPassword, TooManyPasswords
from jsonrpcs_tx.access.usersfile import UsersFile
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.state.counters import Counters

_log = make_logger(__name__)

CHECK_SECONDS: Final = 30
"""How long a checker may take."""


class Refused(Exception):
    """A client is refused.

    @ivar code: the HTTP status: 401, 429, 500 or 503.
    @ivar text: says why, for the client.
    @ivar retry_after: seconds after which it may try again; None: at any time.
    @ivar why: what the log says of it; empty: nothing is logged.
    """

    def __init__(self, code: int, text: str, retry_after: int | None = None, why: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.retry_after = retry_after
        self.why = why


class Authenticator:
    """Finds out who clients are.

    @param checker: an ICredentialsChecker of names and passwords. It gets a L{ClientPassword}, and returns the name
        of the user as bytes (in UTF-8) or str, or ANONYMOUS for no user; or a Deferred of that.
    @param clock: tells the time.
    @param counters: holds the counters of refused clients.
    @ivar users_file: the checker, if it is a file of users, which recalls passwords that were right; else None.
    """

    def __init__(self, checker: Any, clock: IReactorTime, counters: Counters) -> None:
        self._checker = checker
        self._clock = clock
        # Nobody knows how long the answer of any other checker, even of a subclass, stays valid.
        self.users_file: UsersFile | None = checker if type(checker) is UsersFile else None
        self._failures = counters.counter("jsonrpc", "auth_failures", "requests over HTTP(S) with a wrong password")
        self._limited = counters.counter(
            "jsonrpc", "auth_limited", "requests over HTTP(S) refused after too many passwords"
        )

    def check(self, name: bytes, password: bytes, client: str, is_guess: bool = True) -> Deferred[str | None]:
        """Find out who a client is.

        @param client: its address, or other text that identifies it.
        @param is_guess: whether it has said who it is, readable or not.
        @return: a Deferred of the user's name, or of None for no user. It fails with L{Refused}, after L{CHECK_SECONDS}
            at the latest. Cancelling it cancels the check.
        """
        checked = maybeDeferred(self._checker.requestAvatarId, ClientPassword(name, password, client))
        late: Any = None

        def leave(_: object) -> None:
            stop_waiting()
            checked.cancel()

        def stop_waiting() -> None:
            if late is not None and late.active():
                late.cancel()

        def told(outcome: Any) -> None:
            stop_waiting()
            if not answer.called:
                answer.errback(outcome) if isinstance(outcome, Failure) else answer.callback(outcome)

        def too_late() -> None:
            # Answered first: nobody knows what the checker does when it is cancelled.
            answer.errback(_TooLate(f"no answer in {CHECK_SECONDS} s"))
            checked.cancel()

        answer: Deferred[Any] = Deferred(leave)
        checked.addBoth(told)
        if not answer.called:
            late = self._clock.callLater(CHECK_SECONDS, too_late)
        return answer.addCallback(user_of).addErrback(self._refuse, name, is_guess)

    def _refuse(self, failure: Failure, name: bytes, is_guess: bool) -> None:
        """Count a refused client, and phrase what the log says of it. Browsers first ask without a name and a password;
        that is not a guess.

        @raise Refused: always.
        """
        error = failure.value
        user = f"for user '{name[:100].decode(errors='backslashreplace')}'"
        if isinstance(error, TooManyPasswords):
            self._limited.value += 1
            raise Refused(429, str(error), error.seconds, f"too many passwords {user}")
        if isinstance(error, UnauthorizedLogin):
            if is_guess:
                self._failures.value += 1
            why = f"authentication failed {user}" if is_guess else ""
            raise Refused(http.UNAUTHORIZED, "a name and a password are needed", why=why)
        if isinstance(error, _TooLate):
            why = f"password not checked: {error} {user}"
            raise Refused(http.SERVICE_UNAVAILABLE, "the password could not be checked in time", 1, why)
        if not isinstance(error, CancelledError):  # in most cases the client has left
            _log.failure("http: a password could not be checked", failure)
        raise Refused(http.INTERNAL_SERVER_ERROR, "the password could not be checked; the log says why")


class _TooLate(Exception):
    """A checker has not answered in time."""


def user_of(avatar: object) -> str | None:
    """The name of a user, from what a checker returned: an avatar ID. Different names stay different.

    @return: None for no user: the name is empty, or C{ANONYMOUS}.

    @raise TypeError: it is not a name.
    """
    if isinstance(avatar, bytes):
        avatar = avatar.decode(errors="surrogateescape")
    if isinstance(avatar, str):
        return avatar or None
    if avatar == ANONYMOUS and isinstance(avatar, tuple):
        return None
    raise TypeError(f"the checker returned {type(avatar).__name__}; allowed: bytes or str, or ANONYMOUS for no user")
