"""A cache of parsed request heads: a client sends the same head with each request.

If users have to authenticate, a head contains a name and a password. Then only its digest is kept, with a key that is
known to this process alone, so that neither the memory nor the time of a lookup reveals anything about a password. A
digest is kept only if the password was right, and is valid only as long as the password is. A head that is not in the
cache is parsed, so a dropped entry costs only time.

The file of users is checked before each request, but only once in a turn in which many connections are read: the data
read in a turn was there when the turn began, or came in the few milliseconds since.
"""

import hashlib
import secrets
from time import monotonic
from typing import Final

import attrs

from jsonrpcs_tx.access.authentication import user_of
from jsonrpcs_tx.access.usersfile import UsersFile, Verified
from jsonrpcs_tx.transports.readgroup import Turns
from jsonrpcs_tx.web.ordinary import MAX_HEAD, OWN, Head, Place, basic_credentials

MAX_HEADS: Final = 1024
"""The most heads in the cache."""

UNUSUAL: Final = -2
"""Stands for the size of the body if the head is not ordinary."""


@attrs.define
class KnownHead:
    """A head in the cache.

    @ivar size: the size of the body, see L{Head}; or L{UNUSUAL}.
    @ivar expects: see L{Head}.
    @ivar verified: its name and password, which were right; None: users are not needed, or it is unusual.
    @ivar user: the name, as rules have it.
    @ivar place: see L{Head}.
    @ivar counted: the turn in which the password was last found to count, see L{Turns}.
    """

    size: int
    expects: bool = False
    verified: Verified | None = None
    user: str | None = None
    place: Place = OWN
    counted: float = 0.0


_UNUSUAL: Final = KnownHead(UNUSUAL)


class OpenHeads(dict[bytes, KnownHead]):
    """The cache if users need not authenticate."""

    def learn(self, text: bytes, head: Head | None) -> KnownHead:
        """Add a head.

        @param head: the parsed head; None: it is not ordinary.
        """
        known = _UNUSUAL if head is None else KnownHead(head.size, head.expects, place=head.place)
        if len(text) > MAX_HEAD:
            return known
        if len(self) >= MAX_HEADS:
            self.clear()
        self[text] = known
        return known


class UsersHeads:
    """The cache if users have to authenticate.

    @param users: tells whether a name and a password have been verified, and are still valid.
    @param turns: the turns in which the connections are read.
    """

    def __init__(self, users: UsersFile, turns: Turns) -> None:
        self._users = users
        self._turns = turns
        self._looked = 0.0  # the turn in which the file was last checked
        self._keyed = hashlib.blake2b(digest_size=32, key=secrets.token_bytes(32))
        self._heads: dict[bytes, KnownHead] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def get(self, text: bytes) -> KnownHead | None:
        """Look up a head; None if it has to be parsed, for the first time or again."""
        digest = self._digest(text)
        known = self._heads.get(digest)
        if known is None or known.verified is None:
            return known
        turn = self._turns.end
        if known.counted == turn and monotonic() < turn:
            return known
        if self._looked != turn or monotonic() >= turn:
            self._users.look()
            self._looked = turn
        if known.verified.counts():
            known.counted = turn
            return known
        del self._heads[digest]
        return None

    def learn(self, text: bytes, head: Head | None) -> KnownHead:
        """Add a head if it is unusual, or if its name and password are right.

        @param head: the parsed head; None: it is not ordinary.
        """
        known = _UNUSUAL
        if head is not None:
            named = None if head.authorization is None else basic_credentials(head.authorization)
            verified = None if named is None else self._users.verified(*named)
            if verified is None:
                return _UNUSUAL
            known = KnownHead(head.size, head.expects, verified, user_of(verified.name), head.place)
        if len(text) > MAX_HEAD:
            return known
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        self._heads[self._digest(text)] = known
        return known

    def _digest(self, text: bytes) -> bytes:
        digest = self._keyed.copy()
        digest.update(text)
        return digest.digest()
