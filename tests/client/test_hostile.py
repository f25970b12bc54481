"""Both clients beside servers that answer nonsense, too much, too slowly, or nothing: one clear error each."""

import base64
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.client.deferred import connect
from jsonrpcs_tx.client.errors import BadReply, NotReachable, Refused, TimedOut
from jsonrpcs_tx.client.targets import Target, parse_target
from tests.support.hostile import OWN, Answer, Hostile, http

pytestmark = pytest.mark.slow

LIMIT = 100_000
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


HEAD = b"HTTP/1.1 200 OK\r\n"
HTTP: list[tuple[str, Answer, type[Exception], str]] = [
    ("endless", itertools.repeat(b"x" * 65536, 1000), BadReply, "the reply is not HTTP"),
    ("endless body", HEAD + b"\r\n" + b" " * 10 * LIMIT, BadReply, "the reply is larger than 100000 bytes"),
    ("large length", HEAD + b"Content-Length: 999999999999999999\r\n\r\n", BadReply, "is larger than 100000 bytes"),
    (
        "large chunk",
        CHUNKED + b"fffffffffff\r\n",
        BadReply,
        "is larger than 100000 bytes",
    ),
    (
        "endless chunks",
        CHUNKED + b"1000\r\n" + b" " * 4096 + b"\r\n" + b"1\r\n \r\n" * 50_000,
        BadReply,
        "the head is larger|is larger than 100000 bytes",
    ),
    ("endless head", HEAD + b"X: y\r\n" * 20_000, BadReply, "the head is larger than 65536 bytes"),
    ("endless line", HEAD + b"X: " + b"y" * 100_000, BadReply, "the head is larger than 65536 bytes"),
    ("endless interim", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, BadReply, "the head is larger than 65536 bytes"),
    ("slow head", (HEAD[place : place + 1] or b"y" for place in range(10_000)), TimedOut, r"no reply within 0\.3 s"),
    (
        "slow body",
        itertools.chain([HEAD + b"\r\n"], itertools.repeat(b" ", 10_000)),
        TimedOut,
        r"no reply within 0\.3 s",
    ),
    ("nothing", b"", BadReply, "the connection was closed before the reply was whole"),
    ("half a head", HEAD + b"X: ", BadReply, "the connection was closed before the reply was whole"),
    ("half a body", http()[:-5], BadReply, "the connection was closed before the reply was whole"),
    (
        "half a chunk",
        CHUNKED + b"5\r\nab",
        BadReply,
        "closed before the reply was whole",
    ),
    ("not HTTP", b"220 smtp ready\r\n\r\n", BadReply, "the reply is not HTTP"),
    ("bad status", b"HTTP/1.1 2x0 OK\r\n\r\n", BadReply, "the reply is not HTTP"),
    ("bad header", HEAD + b"no colon\r\n\r\n", BadReply, "a header of the reply is malformed"),
    ("folded header", HEAD + b"A: b\r\n c\r\n\r\n", BadReply, "a header of the reply is malformed"),
    ("two lengths", HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", BadReply, "Content-Length of the reply"),
    ("bad length", HEAD + b"Content-Length: +1\r\n\r\n", BadReply, "the Content-Length of the reply is malformed"),
    ("bad chunk", CHUNKED + b"xyz\r\n", BadReply, "a chunk of the reply is malformed"),
    (
        "long chunk",
        CHUNKED + b"1\r\nab\r\n",
        BadReply,
        "a chunk of the reply is malformed",
    ),
    ("coding", HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", BadReply, "the transfer coding 'gzip, chunked'"),
    ("gzip", http(headers=b"Content-Encoding: gzip\r\n"), BadReply, r"the reply is compressed \(gzip\)"),
    (
        "redirect",
        http(b"", b"302 Found", b"Location: http://x/\x1b[2J\r\n"),
        BadReply,
        r"redirected to http://x/ \[2J; redirects",
    ),
    ("no user", http(OWN, b"401 Unauthorized"), Refused, "status 401 Unauthorized; set user and password"),
    (
        "forbidden",
        http(b"Host not allowed\n", b"403 Forbidden"),
        Refused,
        "status 403 Forbidden: Host not allowed; ask",
    ),
    ("no path", http(b"<html>", b"404 Not Found"), BadReply, "status 404 Not Found: <html>; check the path"),
    ("no JSON", http(b"hello"), BadReply, "the reply is not JSON"),
    ("no body", http(b"", b"204 No Content"), BadReply, "the reply is empty"),
    ("wrong id", http(OWN.replace(b"1}", b"2}")), BadReply, "the reply is to another request"),
    ("no id", http(b'{"jsonrpc":"2.0","result":{}}'), BadReply, "the reply is to another request"),
    ("deep", http(b"[" * 50_000), BadReply, "nested too deeply"),
    ("long number", http(b"1" * 50_000), BadReply, "the reply is not JSON"),
    ("not UTF-8", http(b'"\xff"'), BadReply, "the reply is not JSON"),
]
GOOD = [
    http(),
    http(headers=b"content-encoding: identity\r\n"),
    b"HTTP/1.1 100 Continue\r\n\r\n" + http(),
    HEAD + b"\r\n" + OWN,
    b"HTTP/1.0 200\r\n\r\n" + OWN,
    b"HTTP/1.1 200 OK\nContent-Length: %d\n\n%b" % (len(OWN), OWN),
    HEAD + b"Content-Length: %d\r\nContent-Length: %d\r\n\r\n%b" % (len(OWN), len(OWN), OWN),
    HEAD
    + b"Transfer-Encoding: Chunked\r\n\r\n5;x=y\r\n%b\r\n%X\r\n%b\r\n0\r\nA: b\r\n\r\n"
    % (OWN[:5], len(OWN) - 5, OWN[5:]),
    http(status=b"500 Server Error"),
]
TCP: list[tuple[str, Answer, type[Exception], str]] = [
    ("endless", b" " * 10 * LIMIT, BadReply, "the reply is larger than 100000 bytes"),
    ("slow", itertools.repeat(b" ", 10_000), TimedOut, r"no reply within 0\.3 s"),
    ("nothing", b"", BadReply, "the connection was closed before the reply was whole"),
    ("half", OWN[:-5], BadReply, "the reply is not JSON"),
    ("wrong id", OWN.replace(b"1}", b"2}"), BadReply, "the reply is to another request"),
]


class Both(TestCase):
    """What one client does, the other does."""

    timeout = 60

    async def ask(self, target: Target | str) -> list[Any]:
        """What becomes of a call by each client: the result or the error."""

        def wait() -> Any:
            with Client(target, timeout=0.3, max_reply=LIMIT) as client:
                return client.call("a.b")

        def ask() -> Any:
            client = connect(target, timeout=0.3, max_reply=LIMIT)
            self.addCleanup(client.close)
            return client.call("a.b")

        outcomes = []
        for how in (lambda: deferToThread(wait), ask):
            try:
                outcomes.append(await how())
            except Exception as error:
                outcomes.append(error)
        return outcomes

    async def check(self, make: Callable[[int], str], answer: Answer, kind: type[Exception], pattern: str) -> None:
        """Both clients fail in the same way, in time."""
        if not isinstance(answer, bytes):
            answer = list(itertools.islice(answer, 200))
        server = Hostile(answer)
        began = time.monotonic()
        try:
            waited, deferred = await self.ask(make(server.port))
        finally:
            server.close()
        for error in (waited, deferred):
            with pytest.raises(kind, match=pattern):
                raise error
            assert "\n" not in str(error)
            assert str(error).isprintable()
        assert str(waited) == str(deferred)
        assert time.monotonic() - began < 3

    async def test_tcp(self) -> None:
        """Over TCP."""
        for name, answer, kind, pattern in TCP:
            with self.subTest(name):
                await self.check(lambda port: f"tcp:127.0.0.1:{port}", answer, kind, pattern)

    async def test_no_tls(self) -> None:
        """A server that does not speak TLS is not asked."""
        await self.check(
            lambda port: f"https://127.0.0.1:{port}/", http(), NotReachable, "a.b: TLS: wrong version number; try http:"
        )

    async def test_good(self) -> None:
        """Whatever form a good response has, its reply is found."""
        for answer in GOOD:
            server = Hostile(answer)
            assert await self.ask(f"http://127.0.0.1:{server.port}/") == ["own", "own"]
            server.close()

    async def test_user(self) -> None:
        """User and password go with each request, and only then is the advice another one."""
        server = Hostile(http(b"", b"401 Unauthorized"))
        waited, deferred = await self.ask(parse_target(f"http://127.0.0.1:{server.port}", user="mé", password="s:e"))
        server.close()
        expected = b"Authorization: Basic " + base64.b64encode("mé:s:e".encode()) + b"\r\n"
        assert [expected in request for request in server.requests] == [True, True]
        assert str(waited) == str(deferred)
        assert str(waited).endswith("401 Unauthorized; the user or the password is wrong")


def _test(answer: Answer, kind: type[Exception], pattern: str) -> Any:
    async def test(self: Both) -> None:
        await self.check(lambda port: f"http://127.0.0.1:{port}/RPC", answer, kind, pattern)

    return test


for _name, _answer, _kind, _pattern in HTTP:
    setattr(Both, f"test_http_{_name.replace(' ', '_')}", _test(_answer, _kind, _pattern))
