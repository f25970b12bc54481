"""The fast path of HTTP and twisted.web's own parser give the same bytes for the same connection, however it is cut."""

import base64
import itertools
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from math import inf
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jsonrpcs_tx import command
from jsonrpcs_tx.reactor import slices
from jsonrpcs_tx.transports.httpdirect import DirectSite
from jsonrpcs_tx.transports.httpsite import JsonRpcSite
from jsonrpcs_tx.web.hosts import Hosts
from jsonrpcs_tx.web.proxies import Proxies
from tests.support import ECHO
from tests.support.examples import examples
from tests.support.httpheads import REFUSED, SERVED
from tests.support.httpmemory import MAX_BODY, PAGE, TIMEOUT, Commands, Connection


@pytest.fixture(autouse=True, scope="module")
def unsliced() -> Iterator[None]:
    """Calls of a group are made at once, however long a busy machine takes: the clock of these tests stands still."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE", inf)
        yield


def post(body: bytes = ECHO, *headers: bytes, path: bytes = b"/RPC", method: bytes = b"POST") -> bytes:
    """A request; without headers an ordinary one."""
    lines = headers or (b"Content-Length: %d" % len(body),)
    if not any(line.startswith(b"Host:") for line in lines):
        lines = (b"Host: localhost", *lines)
    return b"%s %s HTTP/1.1\r\n%s\r\n\r\n%s" % (method, path, b"\r\n".join(lines), body)


def basic(user: bytes, password: bytes) -> bytes:
    return b"Authorization: Basic " + base64.b64encode(user + b":" + password)


LENGTH = b"Content-Length: %d" % len(ECHO)
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(ECHO), ECHO)
FAULT = b'{"jsonrpc":"2.0","method":"test.fault","params":[%d,"%s"],"id":1}'

REQUESTS = {
    "ordinary": post(),
    "longer path": post(path=b"/RPC/x?y=1"),
    "wrong path": post(path=b"/other"),
    "another type": post(ECHO, b"content-type: text/plain; charset=x", b"ACCEPT: */*", LENGTH),
    "keep-alive": post(ECHO, b"Connection: keep-alive", LENGTH),
    "close": post(ECHO, b"Connection: close", LENGTH),
    "origin": post(ECHO, b"Origin: http://evil.example", LENGTH),
    "own origin": post(ECHO, b"Host: localhost:1", b"Origin: http://localhost:1", LENGTH),
    "expect": post(ECHO, b"Expect: 100-continue", LENGTH),
    "chunked": post(b"%x\r\n%s\r\n0\r\n\r\n" % (len(ECHO), ECHO), b"Transfer-Encoding: chunked"),
    "both lengths": post(ECHO, LENGTH, b"Transfer-Encoding: chunked"),
    "two lengths": post(ECHO, LENGTH, LENGTH),
    "signed length": post(ECHO, b"Content-Length: +%d" % len(ECHO)),
    "negative length": post(ECHO, b"Content-Length: -1"),
    "no length": post(b"", b"Host: localhost"),
    "length zero": post(b""),
    "folded": post(ECHO, b"X: a\r\n b", LENGTH),
    "blank before colon": post(ECHO, b"X : a", LENGTH),
    "odd name": post(ECHO, b"X[]: a", LENGTH),
    "no colon": post(ECHO, b"nonsense", LENGTH),
    "not ASCII": post(ECHO, b"X: \xe4", LENGTH),
    "NUL": post(ECHO, b"X: \0", LENGTH),
    "tab": post(ECHO, b"X:\ta\tb\t", LENGTH),
    "cookie": post(ECHO, b"Cookie: a=b", LENGTH),
    "blank line first": b"\r\n" + post(),
    "bare LF": post().replace(b"\r\n", b"\n"),
    "GET": post(method=b"GET"),
    "HEAD": post(b"", b"Host: localhost", method=b"HEAD"),
    "PUT": post(method=b"PUT"),
    "lower case": post(method=b"post"),
    "HTTP/1.0": post().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/2": post().replace(b"HTTP/1.1", b"HTTP/2.0"),
    "absolute URI": post(path=b"http://localhost/RPC"),
    "too large": post(b"x" * (MAX_BODY + 1)),
    "large": post(b"x" * MAX_BODY),
    "many headers": post(ECHO, *(b"X-%d: y" % number for number in range(600)), LENGTH),
    "long header": post(ECHO, b"X: " + b"y" * 20_000, LENGTH),
    "not JSON": post(b"{"),
    "unknown method": post(b'{"jsonrpc":"2.0","method":"no","id":1}'),
    "notification": post(b'{"jsonrpc":"2.0","method":"jsonrpc.echo"}'),
    "batch": post(b"[%s,%s]" % (ECHO, ECHO)),
    "fault": post(FAULT % (404, b"Not here")),
    "fault with a line break": post(FAULT % (500, b"a\\r\\nX: y")),
    "fault of code 200": post(FAULT % (200, b"x")),
    "fault, not ASCII": post(FAULT % (499, "ä€".encode() * 60)),
    "garbage": b"\x16\x03\x01\x02\x00\x01",
    "foreign host": post(ECHO, b"Host: evil.example", LENGTH),
    "further host": post(ECHO, b"Host: rpc.example.com:80", LENGTH),
    "listed origin": post(ECHO, b"Origin: " + PAGE.encode(), LENGTH),
    "preflight": post(b"", b"Origin: " + PAGE.encode(), b"Access-Control-Request-Method: POST", method=b"OPTIONS"),
    "fetch of another site": post(ECHO, b"Sec-Fetch-Site: cross-site", LENGTH),
    "fetch of no site": post(ECHO, b"Sec-Fetch-Site: none", LENGTH),
    "forwarded for": post(ECHO, b"X-Forwarded-For: 198.51.100.1", LENGTH),
    "forwarded": post(ECHO, b"Forwarded: for=198.51.100.2", LENGTH),
    "forwarded for a stranger": post(ECHO, b"x-forwarded-for: 192.0.2.1", LENGTH),
    "forwarded for nobody": post(ECHO, b"Forwarded: for=unknown", LENGTH),
    "ann": post(ECHO, basic(b"ann", b"ann"), LENGTH),
    "ann again": post(ECHO, basic(b"ann", b"ann"), LENGTH),
    "ann with another body": post(FAULT % (404, b"x"), basic(b"ann", b"ann"), b"Content-Length: 71"),
    "bob": post(ECHO, basic(b"bob", b"bob"), LENGTH),
    "ann with bob's password": post(ECHO, basic(b"ann", b"bob"), LENGTH),
    "nobody": post(ECHO, basic(b"nobody", b"x"), LENGTH),
    "no name": post(ECHO, basic(b"", b"ann"), LENGTH),
    "two names": post(ECHO, basic(b"ann", b"ann"), basic(b"bob", b"bob"), LENGTH),
    "ann in capitals": post(ECHO, basic(b"ann", b"ann").replace(b"Basic", b"BASIC"), LENGTH),
    "ann in blanks": post(ECHO, basic(b"ann", b"ann").replace(b"Basic ", b"\tBasic  ") + b" ", LENGTH),
    "ann with noise in the base64": post(ECHO, basic(b"ann", b"ann").replace(b"YW5u", b"YW.5u"), LENGTH),
    "no base64": post(ECHO, b"Authorization: Basic ann:ann", LENGTH),
    "bearer": post(ECHO, b"Authorization: Bearer YW5uOmFubg==", LENGTH),
    "ann, GET": post(ECHO, basic(b"ann", b"ann"), LENGTH, method=b"GET"),
    "ann, expect": post(ECHO, basic(b"ann", b"ann"), b"Expect: 100-continue", LENGTH),
    "bob, chunked": post(
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(ECHO), ECHO), basic(b"bob", b"bob"), b"Transfer-Encoding: chunked"
    ),
    "ann from a page": post(ECHO, basic(b"ann", b"ann"), b"Origin: " + PAGE.encode(), LENGTH),
    "expect nothing": post(b"", b"Expect: 100-continue", b"Content-Length: 0"),
    "expect twice": post(ECHO, b"Expect: 100-continue", b"Expect: x", LENGTH),
    "expect something else": post(ECHO, b"Expect: x", LENGTH),
    "expect chunks": post(CHUNKS, b"Expect: 100-continue", b"Transfer-Encoding: chunked"),
    "expect too much": post(b"x" * (MAX_BODY + 1), b"Expect: 100-continue", b"Content-Length: %d" % (MAX_BODY + 1)),
    "many chunks": post(b"1\r\n \r\n" * 40 + CHUNKS, b"Transfer-Encoding: chunked"),
    "two chunks": post(b"2\r\n  \r\n" + CHUNKS, b"Transfer-Encoding: chunked"),
    "too many bytes in chunks": post(b"400\r\n%b\r\n" % (b"x" * 1024) * 2, b"Transfer-Encoding: chunked"),
    "last chunk 00": post(CHUNKS.replace(b"\r\n0\r\n", b"\r\n00\r\n"), b"Transfer-Encoding: chunked"),
    "no chunk but the last": post(b"0\r\n\r\n", b"Transfer-Encoding: chunked"),
    "GET in chunks": post(CHUNKS, b"Transfer-Encoding: chunked", method=b"GET"),
    "GET of no bytes": post(b"", b"Content-Length: 0", method=b"GET"),
    "GET of the health": post(b"", b"Host: localhost", path=b"/health", method=b"GET"),
    "GET of the health with a body": post(ECHO, path=b"/health", method=b"GET"),
    "keep-alive of HTTP/1.0": post(ECHO, b"Connection: keep-alive", LENGTH).replace(b"HTTP/1.1", b"HTTP/1.0"),
}

LATER_DOCUMENT = b'{"jsonrpc":"2.0","method":"test.later","id":1}'
NOTED = b'{"jsonrpc":"2.0","method":"jsonrpc.echo","params":[1.10]}'

NODES = {
    "node": post(path=b"/RPC/n"),
    "node again": post(path=b"/RPC/n"),
    "node, read": post(ECHO.replace(b"jsonrpc.echo", b"core.echo"), path=b"/RPC/n"),
    "another node": post(path=b"/RPC/m"),
    "node, another spelling": post(path=b"/RPC/%6e"),
    "node, longer path": post(path=b"/RPC/n/"),
    "node, empty names": post(path=b"/RPC//"),
    "node with a time limit": post(path=b"/RPC/n?timeout=5"),
    "node with a bad query": post(path=b"/RPC/n?timeout=never"),
    "own command with a query": post(path=b"/RPC?timeout=never"),
    "unknown node": post(path=b"/RPC/other"),
    "unknown node, not UTF-8": post(path=b"/RPC/%ff"),
    "unknown node, notification": post(NOTED, path=b"/RPC/other"),
    "unknown node, expect": post(ECHO, b"Expect: 100-continue", LENGTH, path=b"/RPC/other"),
    "node, expect": post(ECHO, b"Expect: 100-continue", LENGTH, path=b"/RPC/n"),
    "node, chunked": post(CHUNKS, b"Transfer-Encoding: chunked", path=b"/RPC/n"),
    "node, GET": post(path=b"/RPC/n", method=b"GET"),
    "node, PUT": post(path=b"/RPC/n", method=b"PUT"),
    "node, close": post(ECHO, b"Connection: close", LENGTH, path=b"/RPC/n"),
    "node, fault": post(FAULT % (404, b"Not here"), path=b"/RPC/n"),
    "node, notification": post(NOTED, path=b"/RPC/n"),
    "node, not JSON": post(b"{", path=b"/RPC/n"),
    "node, batch": post(b"[%s,%s,%s,1]" % (ECHO, NOTED, FAULT % (500, b"x")), path=b"/RPC/n"),
    "node, ann": post(ECHO, basic(b"ann", b"ann"), LENGTH, path=b"/RPC/n"),
    "node, bob": post(ECHO, basic(b"bob", b"bob"), LENGTH, path=b"/RPC/n"),
    "another node, ann": post(ECHO, basic(b"ann", b"ann"), LENGTH, path=b"/RPC/m"),
    "unknown node, in chunks": post(CHUNKS, b"Transfer-Encoding: chunked", path=b"/RPC/other/%ff"),
    "not below": post(path=b"/RPC2/n"),
    "unknown node, ann": post(ECHO, basic(b"ann", b"ann"), LENGTH, path=b"/RPC/other"),
    "node, forbidden to ann": post(
        FAULT % (404, b"x"), basic(b"ann", b"ann"), b"Content-Length: %d" % len(FAULT % (404, b"x")), path=b"/RPC/n"
    ),
    "group": post(path=b"/RPC/g"),
    "all nodes": post(path=b"/RPC/*"),
    "first node": post(path=b"/RPC/*?first"),
    "group, fault": post(FAULT % (404, b"Not here"), path=b"/RPC/g"),
}
"""Requests for nodes, which are like others to servers without nodes."""
REQUESTS |= NODES

ALL_REQUESTS = {**REQUESTS, **{name: data for name, (_, data) in REFUSED.items() if len(data) < 10_000}, **SERVED}

RESOURCES: list[dict[str, Any]] = [
    {},
    {"proxies": Proxies(["127.0.0.1/32"]), "rule": "http 127.0.0.1 198.51.100.1 allow *"},
    {"hosts": Hosts(["*.example.com"]), "notification": 204, "dialect": "jsonrpc2"},
    {"hosts": Hosts(["*"]), "proxies": Proxies(["127.0.0.0/8"])},
    {"users": "default"},
    {"users": "default", "rule": "http user=ann allow jsonrpc.* test.*"},
    {"users": "default", "rule": "http user=b* 198.51.100.2 allow *", "proxies": Proxies(["127.0.0.1/32"])},
    {"certificate": "ops.example.com", "rule": "https tls=*.example.com allow jsonrpc.* deny test.fault"},
    {"certificate": "dev.example.org", "rule": "https tls=*.example.com allow *"},
    {"certificate": "ops.example.com", "users": "default", "rule": "https tls=ops.* user=ann allow *"},
    {"nodes": True},
    {"nodes": True, "notification": 204, "dialect": "jsonrpc2"},
    {"nodes": True, "users": "default", "rule": "http user=ann node=n allow jsonrpc.*"},
    {"nodes": True, "users": "default", "rule": "http user=* node=g allow *"},
]
"""Options of servers."""


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["kamailio", "jsonrpc2"])
@pytest.mark.parametrize("name", REQUESTS)
def test_cut_anywhere(name: str, dialect: str) -> None:
    """A request between two ordinary ones, cut in two in or around it, ends the same on both paths: at every third
    place, of the long ones at fewer, and in the other dialect, where only the replies differ, at every twelfth.
    """
    stream = post() + REQUESTS[name] + post()
    begin, end = len(post()) - 2, len(stream) - len(post()) + 2
    step = max(3, (end - begin) // 130) * (1 if dialect == "kamailio" else 4)
    for place in range(begin, end, step):
        pieces = stream[:place], stream[place:]
        general, fast = (
            Connection(site, dialect, nodes=name in NODES).feed(*pieces) for site in (JsonRpcSite, DirectSite)
        )
        assert fast.end() == general.end(), f"cut at {place}"


@pytest.mark.slow
@given(
    st.lists(st.sampled_from(list(ALL_REQUESTS)), max_size=4),
    st.lists(st.integers(0, 3000), max_size=6),
    st.sampled_from(RESOURCES),
)
@examples(400)
def test_any_connection(names: list[str], places: list[int], options: dict[str, Any]) -> None:
    """Any requests in a row, cut anywhere, end the same on both paths."""
    stream = b"".join(ALL_REQUESTS[name] for name in names)
    bounds = sorted({0, len(stream), *(place for place in places if place < len(stream))})
    pieces = [stream[start:end] for start, end in itertools.pairwise(bounds)]
    general, fast = (Connection(site, **options).feed(*pieces) for site in (JsonRpcSite, DirectSite))
    assert fast.end() == general.end()


@pytest.mark.slow
@pytest.mark.parametrize("options", RESOURCES)
def test_each_between_others(options: dict[str, Any]) -> None:
    """Every request between two ordinary ones, each in a piece of its own, ends the same on both paths."""
    for name, data in ALL_REQUESTS.items():
        general, fast = (Connection(site, **options).feed(post(), data, post()) for site in (JsonRpcSite, DirectSite))
        assert fast.end() == general.end(), name


LATER = post(LATER_DOCUMENT)
AWAITED = post(LATER_DOCUMENT.replace(b"test.later", b"test.awaited"))
PROMPT = post(LATER_DOCUMENT.replace(b"test.later", b"test.prompt"))
NODE_LATER = post(LATER_DOCUMENT.replace(b"test.later", b"core.uptime"), path=b"/RPC/n")


@pytest.mark.parametrize("later", [LATER, AWAITED, NODE_LATER])
@pytest.mark.parametrize(
    "behind", [b"", post(), PROMPT, post()[:30], LATER, post() * 2, post(method=b"GET"), LATER[:-1]]
)
def test_asynchronous(behind: bytes, later: bytes) -> None:
    """A command that answers later is answered in its turn on both paths, and cancelled when the client leaves."""
    rest = {post()[:30]: post()[30:], LATER[:-1]: LATER[-1:]}.get(behind, post())
    fates = []
    for site in (JsonRpcSite, DirectSite):
        connection = Connection(site, nodes=True).feed(post(), later, behind)
        before = connection.fate()
        connection.commands.later[0].callback("now")
        connection.turn().feed(rest)
        fates.append((before, connection.fate(), len(connection.commands.later)))
    assert fates[0] == fates[1]

    for site in (JsonRpcSite, DirectSite):
        connection = Connection(site, nodes=True).feed(later, behind)
        connection.channel.connectionLost(ConnectionError())
        assert (connection.commands.cancelled, len(connection.commands.later)) == (1, 1)


STEPS = {
    name: REQUESTS[name]
    for name in (
        *(
            "ordinary",
            "wrong path",
            "GET",
            "close",
            "chunked",
            "fault",
            "garbage",
            "expect",
            "ann",
            "bob",
            "two chunks",
        ),
        *("ann with bob's password", "ann, expect"),
        *("node", "another node, ann", "unknown node", "node, expect", "node, batch"),
    )
} | {"pipelined": REQUESTS["ann"] * 3 + REQUESTS["bob"], "prompt": PROMPT}
LATERS = {
    "later": LATER,
    "awaited": AWAITED,
    "later at a node": NODE_LATER,
    "later for ann": post(LATER_DOCUMENT, basic(b"ann", b"ann"), b"Content-Length: %d" % len(LATER_DOCUMENT)),
}


@pytest.mark.slow
@example(steps=["later", "ordinary", "pause", "answer"], places=[], options={})
@given(
    st.lists(st.sampled_from([*STEPS, *LATERS, "answer", "turn", "half-close", "pause", "resume", "cut"]), max_size=10),
    st.lists(st.integers(0, 400), max_size=5),
    st.sampled_from([{}, *RESOURCES[-10:]]),
)
@examples(400)
def test_any_life(steps: list[str], places: list[int], options: dict[str, Any]) -> None:
    """Whatever a client sends around commands that answer later, and however it leaves, is the same on both paths."""
    fates = []
    for site in (JsonRpcSite, DirectSite):
        connection = Connection(site, **options)
        channel = connection.channel
        events = {
            "turn": connection.turn,
            "half-close": channel.readConnectionLost,
            "pause": channel.pauseProducing,
            "resume": channel.resumeProducing,
            "cut": partial(connection.feed, post()[:40]),
        }
        for step in steps:
            waiting = [later for later in connection.commands.later if not later.called]
            data = LATERS.get(step) or STEPS.get(step)
            if data is not None:
                bounds = sorted({0, len(data), *(place for place in places if place < len(data))})
                connection.feed(*(data[start:end] for start, end in itertools.pairwise(bounds)))
            elif step == "answer" and waiting:
                waiting[0].callback("now")
            elif (
                step in events and not connection.transport.disconnecting
            ):  # else it tells the channel nothing any more
                events[step]()
        fate = connection.fate()
        begun = len(connection.commands.later)
        connection.channel.connectionLost(ConnectionError())
        fates.append((fate, begun, connection.commands.cancelled, len(connection.commands.later)))
        assert begun == len(connection.commands.later)
    assert fates[0] == fates[1]


@pytest.mark.parametrize("stream", [b"", post()[:10], post()[:-5], post(), post() + post()[:-5]])
def test_idle(stream: bytes) -> None:
    """An idle connection, with or without a piece of a request, is cut off after the same time on both paths."""
    for site in (JsonRpcSite, DirectSite):
        connection = Connection(site)
        connection.clock.advance(TIMEOUT - 10)
        connection.feed(stream)
        connection.clock.advance(TIMEOUT - 10 if stream else 9)
        assert not connection.transport.disconnecting
        connection.clock.advance(11)
        assert connection.transport.disconnecting


def test_idle_since_the_last_reply() -> None:
    """The time-out counts from the last reply, and what else is done with the connection does not prolong it."""
    for site in (JsonRpcSite, DirectSite):
        connection = Connection(site)
        for _ in range(5):
            connection.feed(post())
            connection.clock.advance(TIMEOUT - 1)
            assert not connection.transport.disconnecting
            connection.channel.site.connections.used(connection.channel)  # as if others needed its place
        connection.clock.advance(0.9)
        assert not connection.transport.disconnecting
        connection.clock.advance(0.2)
        assert connection.transport.disconnecting


def test_idle_after_the_reply_to_a_piece() -> None:
    """A request that arrives in pieces has the whole time-out, however long the connection was idle before."""
    for site in (JsonRpcSite, DirectSite):
        connection = Connection(site).feed(post())
        connection.clock.advance(TIMEOUT - 1)
        connection.feed(post()[:-5])
        connection.clock.advance(TIMEOUT - 1)
        assert not connection.transport.disconnecting
        connection.feed(post()[-5:])
        connection.clock.advance(TIMEOUT - 1)
        assert not connection.transport.disconnecting
        connection.clock.advance(2)
        assert connection.transport.disconnecting


def test_outside() -> None:
    """A client outside the allowed networks gets 403 on both paths, for each of its requests."""
    general, fast = (Connection(site, host="192.0.2.1").feed(post(), post()) for site in (JsonRpcSite, DirectSite))
    assert fast.fate() == general.fate()
    assert fast.fate()[0].count(b"HTTP/1.1 403 ") == 2


DIRECT: list[tuple[dict[str, Any], bytes]] = [
    ({}, post()),
    ({}, REQUESTS["GET"]),
    ({}, REQUESTS["chunked"]),
    ({}, REQUESTS["expect"]),
    ({}, REQUESTS["two chunks"]),
    ({"users": "default"}, REQUESTS["ann"]),
    ({"users": "default", "rule": "http user=ann allow jsonrpc.*"}, REQUESTS["ann"]),
    ({"certificate": "ops.example.com", "rule": "https tls=ops.* allow jsonrpc.*"}, post()),
    ({"nodes": True}, REQUESTS["node"]),
    ({"nodes": True}, REQUESTS["node with a time limit"]),
    ({"nodes": True}, REQUESTS["node, expect"]),
    ({"nodes": True}, post()),
    ({"nodes": True, "users": "default", "rule": "http user=ann node=n allow jsonrpc.*"}, REQUESTS["node, ann"]),
]


@pytest.mark.parametrize(("options", "request_"), DIRECT)
def test_direct_path_is_taken(options: dict[str, Any], request_: bytes) -> None:
    """An ordinary request does not reach twisted.web's parser, one by one, in pieces, or several at once; but a user's
    first one does.
    """
    connection = Connection(DirectSite, **options).feed(request_)
    connection.channel._leave = None
    connection.feed(request_, request_[:-1], request_[-1:], request_ * 3)
    assert connection.transport.value().count(b" 200 OK") == 6
    assert connection.transport.value().count(b'"result":["x",1]') == 6
    for other in (b"PUT", b"HEAD"):
        with pytest.raises(TypeError):
            connection.feed(post(method=other))


SEEN: ContextVar[int] = ContextVar("SEEN", default=0)


class Relay(Commands):
    """Commands that end each other: what waits goes on within the command that ends it."""

    @command("relay.go")
    async def go(self) -> int:
        """Ends the wait of the next client, in a context of its own."""
        seen = SEEN.get()
        SEEN.set(1)
        if self.later:
            self.later.pop(0).callback("now")
        return seen


RELAY = post(LATER_DOCUMENT.replace(b"test.later", b"relay.go"))


@pytest.mark.slow
@pytest.mark.parametrize("site", [JsonRpcSite, DirectSite])
@pytest.mark.parametrize("later", [LATER, AWAITED])
def test_clients_that_end_the_wait_of_each_other(site: type[JsonRpcSite], later: bytes) -> None:
    """However many clients wait for one another, all are answered, and no command sees the context of another's."""
    relay = Relay()
    connections = [Connection(site, commands=relay).feed(later, RELAY, RELAY) for _ in range(200)]
    relay.later.pop(0).callback("now")
    for connection in connections:
        connection.turn()
    for connection in connections:
        assert connection.transport.value().count(b'"result":"now"') == 1
        assert connection.transport.value().count(b'"result":0') == 2


@pytest.mark.parametrize("site", [JsonRpcSite, DirectSite])
@pytest.mark.parametrize("first", ["ordinary", "wrong path", "GET", "fault"])
def test_behind_what_is_not_taken(site: type[JsonRpcSite], first: str) -> None:
    """A request behind one whose reply the client does not take is answered as soon as it does."""
    connection = Connection(site)
    write = connection.transport.write

    def full(data: bytes) -> None:
        connection.transport.write = write  # type: ignore[method-assign] # as it was
        write(data)
        connection.channel.pauseProducing()

    connection.transport.write = full  # type: ignore[method-assign] # for one reply
    connection.feed(REQUESTS[first] + post())
    assert connection.transport.value().count(b"HTTP/1.1") == 1
    connection.channel.resumeProducing()
    assert connection.transport.value().count(b"HTTP/1.1") == 2


@pytest.mark.parametrize("amount", [1, 40])
def test_much_behind_a_later_reply(amount: int) -> None:
    """However much has arrived behind a command, and in the turn in which it is answered, all of it is answered, and
    reading goes on.
    """
    connection = Connection(DirectSite).feed(LATER, post() * 100 * amount)
    connection.commands.later[0].callback("now")
    connection.feed(post() * 100 * amount).turn()
    assert connection.transport.value().count(b" 200 OK") == 1 + 200 * amount
    assert connection.transport.producerState == "producing"


def test_command_between_pipelined_requests() -> None:
    """What is read behind a command that answers later waits for it, in order."""
    connection = Connection(DirectSite).feed(post() + LATER + post() + LATER + post())
    for answered in (1, 3, 5):
        assert connection.transport.value().count(b"200 OK") == answered
        waiting = [later for later in connection.commands.later if not later.called]
        assert len(waiting) == (answered < 5)
        if waiting:
            waiting[0].callback("now")
            connection.turn()
