"""What stands in the stream of a fleet: entries, each signed by its sender.

Whoever can write to Redis alone cannot make one: it carries an HMAC with a key that only the nodes have. Nor can an old
one be made to count again: it is numbered by its sender, and says when it was made.
"""

from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final, NamedTuple

import attrs
import msgspec

from jsonrpcs_tx.errors import JsonRpcsError

VERSION: Final = 1
"""The version of what is written here."""

MAX_SIZE: Final = 8 * 1024 * 1024
"""Bytes of the largest entry."""

_VERSION: Final = b"%d" % VERSION

_MAX_ID: Final = 41
"""Characters of the longest id: two numbers of 64 bits, and what is between them."""


class Id(NamedTuple):
    """The place of an entry in the stream.

    @ivar ms: when Redis has added it, in milliseconds since 1970.
    @ivar number: counts those of the same millisecond.
    """

    ms: int
    number: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}"

    @classmethod
    def read(cls, text: bytes) -> "Id":
        """@raise ValueError: it is not one."""
        ms, _, number = text.partition(b"-")
        if not (ms.isdigit() and number.isdigit() and len(text) <= _MAX_ID):
            raise ValueError(f"{text!r:.60} is not the id of an entry")
        return cls(int(ms), int(number))


BEGINNING: Final = Id(0, 0)
"""The place before the first entry."""


class Change(msgspec.Struct, array_like=True, frozen=True):
    """A change of something that is shared.

    @ivar thing: its name, C{htable:ban} for instance; empty: the fleet itself.
    @ivar operation: see L{Shareable<jsonrpcs_tx.state.sharing.Shareable>}.
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
    @ivar epoch: which founding of the fleet its sender knew last.
    @ivar changes: what it changes, all at once.
    """

    node: str
    run: str
    number: int
    at: int
    epoch: int
    changes: list[Change]


class Forged(JsonRpcsError):
    """It does not carry the right HMAC, or is not what it has to be."""


class UnknownVersion(JsonRpcsError):
    """It is of a version that is not known here."""


class _Hmac:
    """HMAC-SHA256 (RFC 2104) with one key, whose two blocks are hashed once for all: that takes a third of the time of
    C{hmac.digest}.
    """

    def __init__(self, key: bytes) -> None:
        block = (key if len(key) <= _BLOCK else sha256(key).digest()).ljust(_BLOCK, b"\0")
        self._inner = sha256(block.translate(_INNER))
        self._outer = sha256(block.translate(_OUTER))

    def digest(self, data: bytes) -> bytes:
        """The HMAC of something."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()


_BLOCK: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


@attrs.frozen
class Seals:
    """Signs what a fleet keeps in Redis, and checks that.

    @ivar secret: of the fleet, shared by its nodes alone.
    @ivar fleet: the name of the fleet: what is signed for one counts in no other with the same secret.
    """

    secret: bytes = attrs.field(repr=False)
    fleet: str
    _keyed: dict[str, _Hmac] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def seal(self, purpose: str, data: bytes) -> bytes:
        """The HMAC of something.

        @param purpose: what it is for; it counts for nothing else.
        """
        keyed = self._keyed.get(purpose)
        if keyed is None:
            words = b"\0".join((b"jsonrpcs_tx fleet", self.fleet.encode(), purpose.encode()))
            keyed = self._keyed[purpose] = _Hmac(_Hmac(self.secret).digest(words))
        return keyed.digest(data)

    def check(self, purpose: str, data: bytes, seal: bytes) -> None:
        """@raise Forged: it is not the HMAC."""
        if not compare_digest(self.seal(purpose, data), seal):
            raise Forged("the HMAC is wrong")

    def wrap(self, purpose: str, data: bytes) -> bytes:
        """Something with its version and its HMAC before it."""
        versioned = _VERSION + b" " + data
        return self.seal(purpose, versioned) + versioned

    def unwrap(self, purpose: str, data: bytes) -> bytes:
        """What L{wrap} has wrapped.

        @raise Forged: it was not wrapped with the same secret for the same purpose.
        @raise UnknownVersion: it is of another version.
        """
        self.check(purpose, data[32:], data[:32])
        version, _, content = data[32:].partition(b" ")
        if version != _VERSION:
            raise UnknownVersion(f"version {version!r:.20}")
        return content


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Entry).decode


def encode(entry: Entry, seals: Seals) -> list[bytes]:
    """The fields of an entry, names and values in turn, as XADD takes them."""
    body = _encode(entry)
    return [b"v", _VERSION, b"e", body, b"m", seals.seal("entry", _VERSION + b" " + body)]


def decode(fields: Mapping[bytes, bytes], seals: Seals) -> Entry:
    """Read an entry. All versions are signed in the same way.

    @raise UnknownVersion: it is of a version that is not known here.
    @raise Forged: it is not signed, or is no entry.
    """
    version, body = fields.get(b"v", b""), fields.get(b"e", b"")
    seals.check("entry", version + b" " + body, fields.get(b"m", b""))
    if version != _VERSION:
        raise UnknownVersion(f"version {version!r:.20}")
    try:
        return _decode(body)
    except msgspec.MsgspecError as error:
        raise Forged(f"it is no entry: {error}") from None
