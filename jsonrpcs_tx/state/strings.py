"""What tables, variables and destinations need of strings: whether one can be written in UTF-8, and its hash."""

from collections.abc import Iterable
from struct import unpack_from


def is_utf8(text: str) -> bool:
    """Whether a text can be written in UTF-8: whether it has no surrogates."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def words_of(data: bytes) -> tuple[int, ...]:
    """The words that Kamailio hashes: big-endian groups of four bytes, and then the remaining ones as one group."""
    count, left = divmod(len(data), 4)
    return (*unpack_from(f">{count}I", data), int.from_bytes(data[len(data) - left :], "big"))


def hash_words(words: Iterable[int]) -> int:
    """Kamailio's 32-bit hash of some 32-bit words, by which it finds slots of tables and destinations."""
    total = sum([word ^ word >> 3 for word in words]) & 0xFFFFFFFF
    return (total + (total >> 11) + (total >> 13) + (total >> 23)) & 0xFFFFFFFF
