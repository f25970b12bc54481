"""Which passwords are worth hashing, and when: limits by the client's network, and by the name that it gives.

A password takes long to hash, as it is meant to, and anybody may send one. So a flooding client must neither keep the
processor busy, nor keep out others who send the right one:

  - A token bucket for each network, and one for each name from there, limit how many are hashed. A right password
    gives its tokens back, and so does one that was not hashed after all. Without a token it is turned away at once.
  - Networks take turns.
  - A password that comes again after it was turned away has tokens of its own, and is hashed next: an attacker who
    guesses sends another password each time, a user who knows the right one sends it again.
  - A password that was right before needs no token, and is hashed next.
"""

import ipaddress
import math
from collections.abc import Hashable
from typing import Final

import attrs
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.access.limits import Recent
from jsonrpcs_tx.addresses import address_of
from jsonrpcs_tx.buckets import TokenBuckets

NETWORK_TOKENS: Final = (100, 5.0)
"""Passwords from one network that are hashed: in a burst, and per second in the long run."""

NAME_TOKENS: Final = (10, 1.0)
"""The same for one name from one network."""

AGAIN_TOKENS: Final = (10, 2.0)
"""The same for passwords from one network that were turned away before."""

MAX_TURNED_AWAY: Final = 16_384
"""The most passwords that are remembered as turned away, by their digests."""

TURNED_AWAY_SECONDS: Final = 60
"""How long they are remembered."""


class ClientPassword(UsernamePassword):
    """A name and a password, and who has sent them.

    @ivar client: the IP address, or any other text that says which client it is.
    """

    def __init__(self, username: bytes, password: bytes, client: str) -> None:
        super().__init__(username, password)
        self.client = client


class TooManyPasswords(UnauthorizedLogin):
    """A password was not checked: too many came before.

    @ivar seconds: whole seconds after which it may be sent again.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds: int = max(1, math.ceil(seconds))
        super().__init__(f"too many passwords; allowed: again after {self.seconds} s")


def network_of(client: str) -> str:
    """What counts as one client: an IPv4 address, the /64 of an IPv6 address, or any other text unchanged."""
    try:
        address = address_of(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


@attrs.define
class Pass:
    """Permission to hash a password.

    @ivar first: whether it goes before all others.
    """

    first: bool
    _taken: list[tuple[TokenBuckets, Hashable]]

    def give_back(self) -> None:
        """Give the tokens back, once."""
        while self._taken:
            buckets, key = self._taken.pop()
            buckets.take(key, -1)


class Gate:
    """Decides whether passwords may be hashed.

    @param clock: tells the time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._networks = TokenBuckets(*NETWORK_TOKENS, clock.seconds)
        self._names = TokenBuckets(*NAME_TOKENS, clock.seconds)
        self._again = TokenBuckets(*AGAIN_TOKENS, clock.seconds)
        self._turned_away = Recent(MAX_TURNED_AWAY, TURNED_AWAY_SECONDS, clock)

    def admit(self, network: str, name: bytes, digest: bytes, was_right: bool) -> Pass:
        """Permit a password to be hashed.

        @param network: of the client, as L{network_of} has it.
        @param name: a digest of the user's name, so that long names do not fill the memory.
        @param digest: of name and password.
        @param was_right: whether it was hashed before and was right.
        @raise TooManyPasswords: it may not be hashed now.
        """
        if was_right:
            return Pass(first=True, taken=[])
        ordinary: list[tuple[TokenBuckets, Hashable]] = [(self._networks, network), (self._names, (network, name))]
        again = self._turned_away.has(digest)
        ways = [ordinary]
        if again:
            ways.append([(self._again, network)])
        for buckets in ways:
            seconds = max(bucket.wait(key) for bucket, key in buckets)
            if not seconds:
                for bucket, key in buckets:
                    bucket.take(key)
                return Pass(again, buckets)
        self.turn_away(digest)
        raise TooManyPasswords(seconds)

    def turn_away(self, digest: bytes) -> None:
        """Remember that a password was not hashed."""
        self._turned_away.add(digest)
