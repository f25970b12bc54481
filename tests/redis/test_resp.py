"""Redis's protocol, without a Redis."""

import itertools
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.redis.errors import RedisError
from jsonrpcs_tx.redis.resp import MAX_DEPTH, MAX_LINE, NotRedis, Reply, ReplyReader, encode, encode_words

LINES = st.binary(max_size=20).filter(lambda line: b"\r" not in line and b"\n" not in line)
ERRORS = st.from_regex(r"[A-Z]{2,9} [a-z]{1,9}", fullmatch=True).map(lambda text: RedisError(*text.split(" ")))
SIMPLE = st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1), st.binary(max_size=40), ERRORS)
REPLIES: st.SearchStrategy[Any] = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=5), max_leaves=20)


def written(reply: Reply, status: bool = False) -> bytes:
    """A reply as Redis sends it."""
    if reply is None:
        return b"*-1\r\n" if status else b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, RedisError):
        return f"-{reply.code} {reply.text}\r\n".encode()
    if isinstance(reply, list):
        return b"*%d\r\n%b" % (len(reply), b"".join(written(one, status) for one in reply))
    if status and not {*b"\r\n"} & {*reply}:
        return b"+%b\r\n" % reply
    return b"$%d\r\n%b\r\n" % (len(reply), reply)


def plain(reply: Reply) -> Any:
    """A reply in which errors are equal if they say the same."""
    if isinstance(reply, list):
        return [plain(one) for one in reply]
    return (reply.code, reply.text) if isinstance(reply, RedisError) else reply


@given(st.lists(REPLIES, max_size=5), st.booleans(), st.data())
def test_any_cuts(replies: list[Any], status: bool, data: st.DataObject) -> None:
    """Replies come out as they went in, wherever the bytes are cut, and each as soon as it is complete."""
    reader = ReplyReader()
    found: list[Any] = []
    for reply in replies:
        document = written(reply, status)
        cuts = sorted({*data.draw(st.lists(st.integers(0, len(document)), max_size=8)), 0, len(document)})
        for begin, end in itertools.pairwise(cuts):
            assert plain(found) == plain(replies[: len(found)])
            found += reader.feed(document[begin:end])
        assert len(found) == replies.index(reply) + 1 or replies.count(reply) > 1
    assert plain(found) == plain(replies)


@given(st.lists(REPLIES, max_size=8), st.booleans(), st.integers(1, 50))
def test_pieces(replies: list[Any], status: bool, size: int) -> None:
    """The same in pieces of one size, each of which may have the end of one reply and the beginning of the next."""
    document = b"".join(written(reply, status) for reply in replies)
    reader = ReplyReader()
    found = [one for at in range(0, len(document), size) for one in reader.feed(document[at : at + size])]
    assert plain(found) == plain(replies)


@given(
    st.lists(st.binary(max_size=30) | st.sampled_from([b"$5\r\n", b"*3\r\n", b":1\r\n", b"+", b"-1\r\n", b"$-1\r\n"]))
)
def test_garbage(pieces: list[bytes]) -> None:
    """Whatever arrives, the reader finds replies, or says that it is not RESP."""
    reader = ReplyReader(1000, 100)
    try:
        for piece in pieces:
            reader.feed(piece)
    except NotRedis:
        pass


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "a reply begins with b'H'"),
        (b"?", "a reply begins with b'\\?'"),
        (b"%1\r\n", "a reply begins with b'%'"),
        (b"\r\n", "a reply begins with b'\\\\r'"),
        (b"$x\r\n", "a number is missing or invalid"),
        (b"*\r\n", "a number is missing or invalid"),
        (b":1.5\r\n", "a number is missing or invalid"),
        (b"$-2\r\n", "a length is negative"),
        (b"*-2\r\n", "a length is negative"),
        (b"$3\r\nabcd\r\n", "longer than announced"),
        (b"$100000000000\r\n", "more than 67108864 bytes"),
        (b"*2\r\n$40000000\r\n" + b"x" * 40000000 + b"\r\n$40000000\r\n", "more than 67108864 bytes"),
        (b"*2147483647\r\n", "more than 1000000 elements"),
        (b"*600000\r\n*600000\r\n", "more than 1000000 elements"),
        (b"*1\r\n" * (MAX_DEPTH + 1), "more than 32 levels of arrays"),
        (b"+" + b"x" * (MAX_LINE + 1), "a line has more than 65536 bytes"),
        (b"$" + b"1" * 5000 + b"\r\n", "a number is missing or invalid"),
    ],
)
def test_not_redis(data: bytes, reason: str) -> None:
    """Data that no Redis sends, and data that is too large, is refused at once, with the reason."""
    with pytest.raises(NotRedis, match=reason):
        ReplyReader().feed(data)


def test_limits_are_for_each_reply() -> None:
    """The sizes of earlier replies do not count."""
    reader = ReplyReader(100, 10)
    for _ in range(10):
        assert reader.feed(b"*8\r\n" + b":1\r\n" * 8) == [[1] * 8]
        assert reader.feed(b"$80\r\n" + b"x" * 80 + b"\r\n") == [b"x" * 80]


def test_arrays_may_be_as_deep_as_allowed() -> None:
    """An array of the greatest depth is read."""
    (reply,) = ReplyReader().feed(b"*1\r\n" * MAX_DEPTH + b":1\r\n")
    for _ in range(MAX_DEPTH):
        (reply,) = reply  # type: ignore[misc]
    assert reply == 1


def test_announcements_take_no_memory() -> None:
    """An array takes memory when its elements arrive, a bulk string when its bytes do."""
    tracemalloc.start()
    try:
        reader = ReplyReader()
        reader.feed(b"*1000000\r\n$67000000\r\nx")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_large_strings_are_joined_once() -> None:
    """A string of many chunks is not copied for each of them: that would take minutes."""
    reader = ReplyReader()
    reader.feed(b"$60000000\r\n")
    for _ in range(59999):
        assert reader.feed(b"x" * 1000) == []
    assert reader.feed(b"x" * 1000 + b"\r\n") == [b"x" * 60000000]


def test_error_text() -> None:
    """An error has a code and a text, which is short and printable whatever the server sends."""
    (error,) = ReplyReader().feed(b"-ERR \x1b[31m\xff" + b"x" * 5000 + b"\r\n")
    assert isinstance(error, RedisError)
    assert error.code == "ERR"
    assert len(error.text) <= 200
    assert str(error).isprintable()
    assert plain(ReplyReader().feed(b"-unknown\r\n-\r\n-WRONGPASS x y\r\n")) == [
        ("ERR", "unknown"),
        ("ERR", ""),
        ("WRONGPASS", "x y"),
    ]


@given(st.lists(st.binary(max_size=10) | st.text(max_size=10) | st.integers(), max_size=5))
def test_commands(words: list[bytes | str | int]) -> None:
    """A command is an array of strings."""
    (read,) = ReplyReader().feed(encode(words))
    assert read == [word if isinstance(word, bytes) else str(word).encode() for word in words]


def test_text_that_is_not_utf8() -> None:
    """Lone surrogates that do not stand for a byte cannot be sent."""
    with pytest.raises(UnicodeEncodeError):
        encode(["\ud800"])


@given(st.lists(st.one_of(st.binary(max_size=9), st.text(max_size=9), st.integers()), max_size=9), st.integers(0, 9))
def test_words_encoded_before(words: list[Any], cut: int) -> None:
    """Words that are encoded once are sent as those that are not, wherever they stand."""
    words = [word for word in words if not isinstance(word, str) or word.isascii()]
    first, second = encode_words(words[:cut]), encode_words(words[cut:])
    assert encode([first, second]) == encode([first, *words[cut:]]) == encode(words)
    with pytest.raises(TypeError):
        encode([first, (1, b"x")])  # type: ignore[list-item] # that is what is tested
