"""A checker for twisted.cred: checks names and passwords against a file of users."""

import base64
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from zope.interface import implementer

from jsonrpcs_tx.access.guessing import Gate, Pass, TooManyPasswords, network_of
from jsonrpcs_tx.access.limits import Recent, TurnLost, Turns
from jsonrpcs_tx.access.passwords import Hash, read_hash
from jsonrpcs_tx.access.users import read_users
from jsonrpcs_tx.config.problems import FIRST, Problems
from jsonrpcs_tx.errors import NotAllowed, StartError
from jsonrpcs_tx.files.safefiles import open_regular, weak_place
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

VERIFIED_SECONDS: Final = 60
"""How long a password that was right is accepted without being hashed again."""

KNOWN_SECONDS: Final = 86_400
"""How long a password that was right precedes others when it has to be hashed again."""

MAX_VERIFIED: Final = 1024
"""The most passwords that are remembered as right, by their digests; as many are remembered as wrong."""

MAX_HASHING: Final = 2
"""Passwords that are hashed at the same time, each in a thread; the others wait."""

MAX_WAITING: Final = 500
"""The most passwords that wait to be hashed. When there is one more, the network with the most of them loses its last
one.
"""

_NOBODY: Final = read_hash(
    f"$scrypt$n=32768,r=8,p=1${base64.b64encode(bytes(16)).decode()}${base64.b64encode(bytes(32)).decode()}"
)
"""What passwords are compared with if there are no users."""


@implementer(ICredentialsChecker)
class UsersFile:
    """Checks names and passwords against a file of users, which is read again when it has changed.

    If it cannot be read again, nobody gets in; if it has an invalid line, the former users stay. Both are logged.

    Passwords are hashed in threads, L{MAX_HASHING} at a time, and within limits, see L{jsonrpcs_tx.access.guessing}. A
    password that several requests send at the same time is hashed once. It is not hashed again for L{VERIFIED_SECONDS},
    whether it was right or wrong, as long as the user's line stays the same. A password for an unknown name is hashed
    as well, so that the time does not reveal names.

    @param path: of the file.
    @param clock: tells the time.
    @param in_thread: calls a function with arguments in a thread; returns a Deferred of what it returns or raises.
    @param problems: takes the errors of the file.
    @raise StartError: the file cannot be read, or has an invalid line; the message says which.
    """

    credentialInterfaces: tuple[Any, ...] = (IUsernamePassword,)

    def __init__(
        self,
        path: str,
        clock: IReactorTime,
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
        problems: Problems = FIRST,
    ) -> None:
        self._path = path
        self._clock = clock
        self._in_thread = in_thread
        self._key = secrets.token_bytes(32)
        self._right = Recent(MAX_VERIFIED, KNOWN_SECONDS, clock)
        self._wrong = Recent(MAX_VERIFIED, VERIFIED_SECONDS, clock)
        self._gate = Gate(clock)
        self._turns = Turns(MAX_HASHING, MAX_WAITING)
        self._checks: dict[bytes, _Check] = {}
        self._users: Mapping[bytes, Hash] = {}
        self._identity: tuple[int, ...] | None = None
        try:
            self._read(problems.translated(self._explain))
        except (OSError, NotAllowed) as error:
            problems.note(self._explain(error))

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Check a name and a password.

        @param credentials: with C{username} and C{password}, both bytes, and C{client}, as L{ClientPassword} has them;
            all those without C{client} count as one client.
        @return: a Deferred that fires with the name, or fails with C{UnauthorizedLogin}, which is
            L{TooManyPasswords} if the password was not checked. Cancelling it gives up the turn, unless somebody else
            waits for the same password; a thread that has started is not stopped.
        """
        self.look()
        name, password = credentials.username, credentials.password
        if not name:
            return fail(UnauthorizedLogin("no name"))
        known, wanted, digest = self._look_up(name, password)
        if self._right.has(digest, VERIFIED_SECONDS):
            return succeed(name)
        if self._wrong.has(digest):
            return fail(UnauthorizedLogin("no such user and password"))

        def verify() -> Deferred[bool]:
            # For an unknown name there is no right password, even if it is that of the stand-in.
            return self._in_thread(wanted.verify, password).addCallback(lambda right: right and known is not None)

        def decide(right: bool) -> bytes:
            if not right:
                raise UnauthorizedLogin("no such user and password")
            return bytes(name)

        check = self._checks.get(digest)
        if check is None:
            network = network_of(getattr(credentials, "client", ""))
            try:
                admitted = self._gate.admit(network, self._digest(name), digest, self._right.has(digest))
            except TooManyPasswords:
                return fail()
            check = self._begin(network, digest, admitted, verify)
        return check.join().addCallback(decide)

    def verified(self, name: bytes, password: bytes) -> "Verified | None":
        """Recall that a password was right, without hashing it.

        @return: what tells whether it is still accepted; None: it has to be checked.
        """
        self.look()
        known, _, digest = self._look_up(name, password)  # for an unknown name as well: it takes as long
        if known is None or not self._right.has(digest, VERIFIED_SECONDS):
            return None
        return Verified(name, partial(self._accepts, self._users, digest))

    def line(self, name: str) -> str | None:
        """The password of a user, hashed, as the file has it now; None: there is no such user."""
        self.look()
        known = self._users.get(name.encode(errors="surrogateescape"))
        return None if known is None else known.text

    def _accepts(self, users: Mapping[bytes, Hash], digest: bytes) -> bool:
        """Whether a password that was right is still accepted: the users are the same, and it was hashed not long ago.

        @param users: those that were in the file when it was recalled.
        @param digest: of the user's line, the name and the password.
        """
        return users is self._users and self._right.has(digest, VERIFIED_SECONDS)

    def _begin(self, network: str, digest: bytes, admitted: Pass, verify: Callable[[], Deferred[bool]]) -> "_Check":
        """Have a password hashed when its turn comes."""
        check = self._checks[digest] = _Check()

        def begin() -> Deferred[bool]:
            check.begun = True
            return verify()

        def ended(outcome: bool | Failure) -> None:
            del self._checks[digest]
            if not check.begun or outcome is True:
                admitted.give_back()
            if isinstance(outcome, Failure):
                if outcome.check(TurnLost):
                    self._gate.turn_away(digest)
                    outcome = Failure(TooManyPasswords(1))
            elif outcome:
                self._right.add(digest)
            else:
                self._wrong.add(digest)
            check.end(outcome)

        check.turn = self._turns.run(network, begin, admitted.first).addBoth(ended)
        return check

    def reload(self) -> int:
        """Read the file again, whether it seems to have changed or not. Passwords that were right are still remembered,
        if their lines are the same.

        @return: how many users there are.
        @raise StartError: the file has an invalid line, and the former users stay; or it cannot be read, and nobody
            gets in.
        """
        try:
            self._read()
        except OSError as error:
            self._users, self._identity = {}, None
            raise self._explain(error) from None
        except NotAllowed as error:
            raise self._explain(error) from None
        return len(self._users)

    @property
    def names(self) -> list[str]:
        """The names of the users that were in the file when it was read."""
        return [name.decode() for name in self._users]

    def look(self) -> None:
        """Read the file, if it has changed since it was read."""
        try:
            if _identity(os.stat(self._path)) == self._identity:
                return
            self._read()
            _log.info("users reloaded from {path}", path=self._path)
        except OSError as error:
            if self._identity is not None:
                _log.error("nobody gets in: {reason}", reason=self._explain(error))
            self._users, self._identity = {}, None
        except NotAllowed as error:
            _log.error("the former users stay: {reason}", reason=self._explain(error))

    def _read(self, problems: Problems = FIRST) -> None:
        """Read the file, and remember its identity, so that an invalid one is read only once.

        @param problems: takes the bad lines.
        @raise OSError: it cannot be read.
        @raise NotAllowed: it has an invalid line, or is not a regular file.
        """
        self._identity = _identity(os.stat(self._path))  # what is not a regular file is also examined only once
        with open_regular(self._path) as file:
            status = os.fstat(file.fileno())
            self._identity = _identity(status)
            if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
                _log.warn("{path} can be read or written by everybody; allow only the server's user", path=self._path)
            weakness = weak_place(self._path)
            if weakness is not None:
                _log.warn("others could replace {path}: {weakness}", path=self._path, weakness=weakness)
            self._users = read_users(file.read(), problems)

    def _explain(self, error: Exception) -> StartError:
        if isinstance(error, NotAllowed):
            return StartError("http_users", self._path, error.reason, error.allowed, error.line)
        assert isinstance(error, OSError)
        allowed, consequence = "a file that can be read", "nobody gets in"
        return StartError("http_users", self._path, error.strerror, allowed, consequence=consequence)

    def _stand_in(self, name: bytes) -> Hash:
        """The hash that an unknown name is checked against: always the same one, with costs like the others'."""
        hashes = list(self._users.values())
        return hashes[int.from_bytes(self._digest(name)) % len(hashes)] if hashes else _NOBODY

    def _look_up(self, name: bytes, password: bytes) -> tuple[Hash | None, Hash, bytes]:
        """The hash of a user, or None; the hash that the password is checked against; and what is remembered of the
        password, right or wrong.
        """
        known = self._users.get(name)
        wanted = known or self._stand_in(name)
        return known, wanted, self._digest(b"known" if known else b"", wanted.text.encode(), name, password)

    def _digest(self, *parts: bytes) -> bytes:
        """A digest of some parts, which also depends on where each of them ends."""
        digest = hashlib.blake2b(digest_size=32, key=self._key)
        for part in parts:
            digest.update(len(part).to_bytes(8))
            digest.update(part)
        return digest.digest()


@attrs.frozen
class Verified:
    """A password that was right, without the password.

    @ivar name: the user's.
    @ivar counts: tells whether it is still accepted, as the file was when it was last looked at, see L{UsersFile.look}.
    """

    name: bytes
    counts: Callable[[], bool]


class _Check:
    """The check of a password, for all requests that came with it.

    @ivar turn: fires when it is over.
    @ivar begun: whether it is being hashed.
    """

    turn: Deferred[None]
    begun = False

    def __init__(self) -> None:
        self._asked: list[Deferred[bool]] = []
        self._outcome: bool | Failure | None = None

    def join(self) -> Deferred[bool]:
        """Wait for the outcome.

        @return: a Deferred of whether the password is right. Cancelling the last one gives up the turn.
        """
        asked: Deferred[bool] = Deferred(self._leave)
        self._asked.append(asked)
        if self._outcome is not None:
            self.end(self._outcome)
        return asked

    def end(self, outcome: bool | Failure) -> None:
        """Deliver the outcome to all that wait."""
        self._outcome = outcome
        asked, self._asked = self._asked, []
        for one in asked:
            one.errback(outcome) if isinstance(outcome, Failure) else one.callback(outcome)

    def _leave(self, asked: Deferred[bool]) -> None:
        if asked in self._asked:
            self._asked.remove(asked)
        if not self._asked and not self.begun:
            self.turn.cancel()


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Properties that change when a file is written or replaced."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
