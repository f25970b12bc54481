"""Who an HTTP client is: asks a checker of twisted.cred, and logs and counts the clients that are refused."""

from typing import Any, Final

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web import http

from jsonrpcs_tx.access.guessing import ClientPassword, TooManyPasswords, network_of
from jsonrpcs_tx.log import Throttle, make_logger
from jsonrpcs_tx.state.counters import Counters

_log = make_logger(__name__)

CHECK_SECONDS: Final = 30
"""How long a checker may take."""


class Refused(Exception):
    """A client is not let in.

    @ivar code: the HTTP status: 401, 429, 500 or 503.
    @ivar text: says why, for the client.
    @ivar retry_after: seconds after which it may try again; None: at any time.
    """

    def __init__(self, code: int, text: str, retry_after: int | None = None) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.retry_after = retry_after


class Authenticator:
    """Finds out who clients are.

    @param checker: an ICredentialsChecker of names and passwords. It gets a L{ClientPassword}, and returns the name
        of the user as bytes (in UTF-8) or str, or ANONYMOUS for no user; or a Deferred of that.
    @param clock: tells the time.
    @param counters: has the counts of the clients that are refused.
    """

    def __init__(self, checker: Any, clock: IReactorTime, counters: Counters) -> None:
        self._checker = checker
        self._clock = clock
        self._failures = counters.counter("jsonrpc", "auth_failures", "requests over HTTP(S) with a wrong password")
        self._limited = counters.counter(
            "jsonrpc", "auth_limited", "requests over HTTP(S) refused after too many passwords"
        )
        self._throttle = Throttle(clock.seconds)

    def check(self, name: bytes, password: bytes, client: str) -> Deferred[str | None]:
        """Find out who a client is.

        @param client: its address, or other text that identifies it.
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
        return answer.addCallback(user_of).addErrback(self._refuse, name, client, is_guess=bool(name or password))

    def _refuse(self, failure: Failure, name: bytes, client: str, is_guess: bool) -> None:
        """Log and count a refused client. Browsers first ask without a name and a password; that is not a guess.

        @raise Refused: always.
        """
        error = failure.value
        if isinstance(error, TooManyPasswords):
            self._limited.value += 1
            self._warn("too many passwords", name, client)
            raise Refused(429, str(error), error.seconds)
        if isinstance(error, UnauthorizedLogin):
            if is_guess:
                self._failures.value += 1
                self._warn("authentication failed", name, client)
            raise Refused(http.UNAUTHORIZED, "a name and a password are needed")
        if isinstance(error, _TooLate):
            self._warn(f"password not checked: {error}", name, client)
            raise Refused(http.SERVICE_UNAVAILABLE, "the password could not be checked in time", 1)
        if not isinstance(error, CancelledError):  # in most cases the client has left
            _log.failure("http: a password could not be checked", failure)
        raise Refused(http.INTERNAL_SERVER_ERROR, "the password could not be checked; the log says why")

    def _warn(self, what: str, name: bytes, client: str) -> None:
        """Log a refused client, in a form that fail2ban can read: the client comes last."""
        held_back = self._throttle.take(network_of(client))
        if held_back is not None:
            _log.warn(
                "http: {what} for user '{name}' from {client}{more}",
                what=what,
                name=name[:100].decode(errors="backslashreplace"),
                client=client,
                more=f" (and {held_back:,} more)" if held_back else "",
                log_throttled=False,  # it was throttled here, by network
            )


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
