"""What stands in the stream of a fleet: entries, each signed by its sender.

Somebody who can only write to Redis cannot make an entry: it carries an HMAC with a key that only the nodes have. Nor
can an old entry be made to count again: its sender has numbered it, and it says when it was made.
"""

from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final, NamedTuple

import attrs
import msgspec

from jsonrpcs_tx.errors import JsonRpcsError

VERSION: Final = 1
"""The version of entries, snapshots and cards."""

MAX_SIZE: Final = 8 * 1024 * 1024
"""Bytes of the largest entry."""

_VERSION: Final = b"%d" % VERSION

_MAX_ID: Final = 41
"""Characters of the longest id: two numbers of 64 bits, and what is between them."""


class Id(NamedTuple):
    """The place of an entry in the stream.

    @ivar ms: when Redis added it, in milliseconds since 1970.
    @ivar number: counts those of the same millisecond.
    """

    ms: int
    number: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}"

    @classmethod
    def read(cls, text: bytes) -> "Id":
        """@raise ValueError: the text is not an id."""
        ms, _, number = text.partition(b"-")
        if not (ms.isdigit() and number.isdigit() and len(text) <= _MAX_ID):
            raise ValueError(f"{text!r:.60} is not the id of an entry")
        return cls(int(ms), int(number))


BEGINNING: Final = Id(0, 0)
"""The place before the first entry."""


class Change(msgspec.Struct, array_like=True, frozen=True):
    """A change of something that is shared.

    @ivar thing: the name of what is changed, such as C{htable:ban}; empty: the fleet itself.
    @ivar operation: one of L{Shareable.OPERATIONS<jsonrpcs_tx.state.sharing.Shareable.OPERATIONS>}, or of
        L{jsonrpcs_tx.fleet.replica}.
    @ivar arguments: of the operation.
    """

    thing: str
    operation: str
    arguments: list[Any]


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """What a node has sent.

    @ivar node: its name.
    @ivar run: identifies this run of it.
    @ivar number: counts its entries, from 1.
    @ivar at: when it was made, in milliseconds of the stream's time.
    @ivar epoch: the last epoch that its sender knew.
    @ivar changes: made all at once.
    """

    node: str
    run: str
    number: int
    at: int
    epoch: int
    changes: list[Change]


class Forged(JsonRpcsError):
    """Something in Redis does not carry the right HMAC, or is not what it must be."""


class UnknownVersion(JsonRpcsError):
    """Something in Redis is of a version that this release cannot read."""


class _Hmac:
    """HMAC-SHA256 (RFC 2104) with one key, whose two blocks are hashed once and for all. This takes a third of the time
    of C{hmac.digest}.

    @param key: of any length.
    """

    def __init__(self, key: bytes) -> None:
        block = (key if len(key) <= _BLOCK else sha256(key).digest()).ljust(_BLOCK, b"\0")
        self._inner = sha256(block.translate(_INNER))
        self._outer = sha256(block.translate(_OUTER))

    def digest(self, data: bytes) -> bytes:
        """The HMAC of some data."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()


_BLOCK: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


@attrs.frozen
class Seals:
    """Signs what a fleet keeps in Redis, and checks what it finds there.

    @ivar secret: of the fleet, shared by its nodes alone.
    @ivar fleet: the name of the fleet. What is signed for one fleet does not count in another with the same secret.
    """

    secret: bytes = attrs.field(repr=False)
    fleet: str
    _keyed: dict[str, _Hmac] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def seal(self, purpose: str, data: bytes) -> bytes:
        """The HMAC of some data.

        @param purpose: what the data is for; the HMAC counts for nothing else.
        """
        keyed = self._keyed.get(purpose)
        if keyed is None:
            words = b"\0".join((b"jsonrpcs_tx fleet", self.fleet.encode(), purpose.encode()))
            keyed = self._keyed[purpose] = _Hmac(_Hmac(self.secret).digest(words))
        return keyed.digest(data)

    def check(self, purpose: str, data: bytes, seal: bytes) -> None:
        """@raise Forged: C{seal} is not the HMAC of the data."""
        if not compare_digest(self.seal(purpose, data), seal):
            raise Forged("the HMAC is wrong")

    def wrap(self, purpose: str, data: bytes) -> bytes:
        """Data with its HMAC and version before it, for L{unwrap}.

        @param purpose: see L{seal}.
        """
        versioned = _VERSION + b" " + data
        return self.seal(purpose, versioned) + versioned

    def unwrap(self, purpose: str, data: bytes) -> bytes:
        """The data that L{wrap} has wrapped.

        @raise Forged: it was not wrapped with the same secret for the same purpose.
        @raise UnknownVersion: it is of another version.
        """
        self.check(purpose, data[32:], data[:32])
        version, _, content = data[32:].partition(b" ")
        if version != _VERSION:
            raise UnknownVersion(f"it is of version {version!r:.20}, not {VERSION}")
        return content


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Entry).decode


def encode(entry: Entry, seals: Seals) -> list[bytes]:
    """The fields of an entry, names and values in turn, as XADD takes them."""
    body = _encode(entry)
    return [b"v", _VERSION, b"e", body, b"m", seals.seal("entry", _VERSION + b" " + body)]


def decode(fields: Mapping[bytes, bytes], seals: Seals) -> Entry:
    """Read an entry. All versions are signed in the same way.

    @param fields: as Redis gives them, by name.
    @raise UnknownVersion: it is of another version.
    @raise Forged: it is not signed, or not an entry.
    """
    version, body = fields.get(b"v", b""), fields.get(b"e", b"")
    seals.check("entry", version + b" " + body, fields.get(b"m", b""))
    if version != _VERSION:
        raise UnknownVersion(f"it is of version {version!r:.20}, not {VERSION}")
    try:
        return _decode(body)
    except msgspec.MsgspecError as error:
        raise Forged(f"it is not an entry: {error}") from None
