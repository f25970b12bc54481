"""Hashes of passwords, as in a file of users: scrypt in a form of our own, and bcrypt as C{htpasswd -B} makes it."""

import base64
import hashlib
import hmac
import importlib
import re
import secrets
from typing import Final

import attrs

from jsonrpcs_tx.errors import NotAllowed

MAX_SCRYPT: Final = 256 * 1024 * 1024
"""The most that 128 * n * r * p may be: the memory that hashing a password takes, in bytes, times p."""

MAX_BCRYPT_COST: Final = 16
"""The base-2 logarithm of the most rounds."""

ALLOWED: Final = "name:$scrypt$n=N,r=R,p=P$SALT$HASH or name:$2b$... or name:$2y$..."

_SCRYPT = re.compile(r"\$scrypt\$n=([0-9]{1,8}),r=([0-9]{1,2}),p=([0-9]{1,2})\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)")
_BCRYPT = re.compile(r"\$2[by]\$([0-9]{2})\$[./A-Za-z0-9]{53}")


@attrs.frozen
class Scrypt:
    """A hash by scrypt.

    @ivar text: the hash as written in the file.
    """

    text: str
    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def verify(self, password: bytes) -> bool:
        """Whether a password is the one that was hashed. Takes some 50 to 100 ms, on purpose."""
        return hmac.compare_digest(_scrypt(password, self.n, self.r, self.p, self.salt), self.digest)


@attrs.frozen
class Bcrypt:
    """A hash by bcrypt.

    @ivar text: the hash as written in the file.
    """

    text: str

    def verify(self, password: bytes) -> bool:
        """Whether a password is the one that was hashed; takes as long as its cost says."""
        # Only 72 bytes count. htpasswd drops the others; newer releases of the package refuse a longer password.
        return bool(importlib.import_module("bcrypt").checkpw(password[:72], self.text.encode()))


Hash = Scrypt | Bcrypt


def _scrypt(password: bytes, n: int, r: int, p: int, salt: bytes) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=2 * MAX_SCRYPT, dklen=32)


def make_hash(password: bytes, n: int = 32_768, r: int = 8, p: int = 1) -> str:
    """Hash a password by scrypt, with a new salt.

    @param n: the cost in time and memory, a power of 2.
    @param r: the size of a block; hashing takes 128 * n * r bytes.
    @param p: how many times in a row.
    @return: the hash, as a file of users has it.
    """
    salt = secrets.token_bytes(16)
    encoded = (base64.b64encode(part).decode() for part in (salt, _scrypt(password, n, r, p, salt)))
    return f"$scrypt$n={n},r={r},p={p}$" + "$".join(encoded)


def read_hash(text: str) -> Hash:
    """Read a hash, as written in a file of users.

    @raise NotAllowed: it is of another kind, its costs are out of range, or it is of bcrypt and that package is not
        installed.
    """
    if match := _SCRYPT.fullmatch(text):
        n, r, p = map(int, match.groups()[:3])
        if not (2 <= n == n & -n and 0 < 128 * n * r * p <= MAX_SCRYPT):
            raise NotAllowed(
                f"scrypt with n={n}, r={r}, p={p}",
                f"n a power of 2 above 1, r and p from 1, 128 * n * r * p at most {MAX_SCRYPT}",
            )
        try:
            salt, digest = (base64.b64decode(part, validate=True) for part in match.groups()[3:])
        except ValueError:
            salt = digest = b""
        if not salt or len(digest) != 32:
            raise NotAllowed("a broken scrypt hash", "a salt and 32 bytes of hash, in base64")
        return Scrypt(text, n, r, p, salt, digest)
    if match := _BCRYPT.fullmatch(text):
        if not 4 <= int(match[1]) <= MAX_BCRYPT_COST:
            raise NotAllowed(f"bcrypt with cost {match[1]}", f"04 to {MAX_BCRYPT_COST}")
        try:
            importlib.import_module("bcrypt")
        except ImportError:
            raise NotAllowed(
                "a bcrypt hash, but the Python package bcrypt is not installed",
                "without it $scrypt$, as python -m jsonrpcs_tx.credentials makes it",
            ) from None
        return Bcrypt(text)
    raise NotAllowed("not a known hash", ALLOWED)
