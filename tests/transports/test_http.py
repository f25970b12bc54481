"""HTTP and HTTPS: what each request gets, by the fast path and the general one, and asynchronous commands."""

import contextlib
import json

import pytest
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import deferLater

from jsonrpcs_tx.transports import connections, departures, httpsite, unread
from tests.support import ECHO, ECHO_REPLY, PATIENCE, http_request
from tests.support.documents import request as document
from tests.support.http import Client, HttpCase, repeat_everywhere
from tests.support.reactor import until

PARSE_ERROR = b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse Error"},"id":null}'
INVALID_REQUEST = b'{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"},"id":null}'
NOTIFICATION = b'{"jsonrpc":"2.0","method":"jsonrpc.echo","params":[1]}'
MAX_BODY = 300
USUAL_HEADERS = {b"server", b"date", b"content-type", b"content-length"}


def chunked_request(*chunks: bytes) -> bytes:
    parts = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b"")]
    return b"POST /RPC HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(parts)


class RequestTests(HttpCase):
    """Which requests are answered, and which are refused."""

    async def test_post(self) -> None:
        """A request by POST is answered with 200 and application/json, and no header more than needed."""
        response = await self.ask(http_request(ECHO))
        assert (response.status, response.reason, response.body) == (200, b"OK", ECHO_REPLY)
        assert response.headers[b"content-type"] == b"application/json"
        assert set(response.headers) == USUAL_HEADERS

    async def test_get_with_body(self) -> None:
        """A GET request with a body is answered as well."""
        response = await self.ask(http_request(ECHO, method="GET"))
        assert (response.status, response.body) == (200, ECHO_REPLY)

    async def test_content_types(self) -> None:
        """Whatever the Content-Type says, the body is the document, with its &, % and + as they are."""
        client = await self.connect()
        body = document("jsonrpc.echo", "a=1&b=%41+c;d")
        for content_type in (
            "application/json",
            "application/json-rpc; charset=utf-8",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
            "text/plain",
            "nonsense",
            "",
        ):
            client.write(http_request(body, f"Content-Type: {content_type}"))
            response = await client.response()
            assert (response.status, response.result) == (200, ["a=1&b=%41+c;d"]), content_type

    async def test_paths(self) -> None:
        """Every path that starts with http_path is answered, any other gets 404."""
        client = await self.connect()
        paths = {"/RPC": 200, "/RPC/": 200, "/RPC2": 200, "/RPC/a/b": 200, "/RPC?a=/b": 200}
        for path, status in {**paths, "/": 404, "/rpc": 404, "/RP": 404, "/a/RPC": 404, "/?/RPC": 404}.items():
            client.write(http_request(ECHO, path=path))
            assert (await client.response()).status == status, path

    async def test_http_path(self) -> None:
        """The prefix is the one of the setting."""
        self.serve(http_path="/manage/")
        assert [(await self.ask(http_request(ECHO, path=path))).status for path in ("/manage/x", "/RPC")] == [200, 404]

    async def test_other_methods(self) -> None:
        """Other methods get 405 and the methods that are allowed, and the connection is of further use."""
        client = await self.connect()
        for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "SPAM"):
            client.write(http_request(b"" if method == "HEAD" else ECHO, method=method))
            response = await client.response(has_body=method != "HEAD")
            assert (response.status, response.headers[b"allow"]) == (405, b"POST, GET"), method
        await self.assert_answers(client)

    async def test_no_requests(self) -> None:
        """An invalid request gets 400 and the JSON-RPC error as JSON."""
        client = await self.connect()
        form = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n{}\r\n--x--\r\n'
        for body in (b"", b"{", b"a=1&b=%41", form, b"\xff", b'{"jsonrpc":"2.0","method":"a'):
            client.write(http_request(body, "Content-Type: multipart/form-data; boundary=x"))
            response = await client.response()
            assert (response.status, response.reason, response.body) == (400, b"Parse Error", PARSE_ERROR), body
            assert response.headers[b"content-type"] == b"application/json"
        for body in (b"1", b'"x"', b"null", b"[]", b"{}", b'{"jsonrpc":"2.0","method":1}'):
            client.write(http_request(body))
            response = await client.response()
            assert (response.status, response.body) == (400, INVALID_REQUEST), body

    async def test_no_body(self) -> None:
        """A request without a body or its length is one with an empty document."""
        for method in ("GET", "POST"):
            response = await self.ask(b"%b /RPC HTTP/1.1\r\nHost: localhost\r\n\r\n" % method.encode())
            assert (response.status, response.body) == (400, PARSE_ERROR)

    async def test_batch(self) -> None:
        """A batch gets 200 and an array, whatever is in it."""
        response = await self.ask(http_request(b"[" + ECHO + b",1]"))
        assert (response.status, response.body) == (200, b"[%b,%b]" % (ECHO_REPLY, INVALID_REQUEST))

    async def test_chunks(self) -> None:
        """A chunked body is put together."""
        assert (await self.ask(chunked_request(ECHO[:9], ECHO[9:10], ECHO[10:]))).body == ECHO_REPLY

    async def test_pieces(self) -> None:
        """A request is answered wherever it is cut."""
        client = await self.connect()
        data = http_request(ECHO)
        for cut in range(1, len(data), 5):
            client.write(data[:cut])
            turn: Deferred[None] = Deferred()
            reactor.callLater(0, turn.callback, None)
            await turn
            client.write(data[cut:])
            assert (await client.response()).body == ECHO_REPLY, cut

    async def test_large(self) -> None:
        """A large document and a large reply arrive whole."""
        text = "0123456789" * 50_000
        client = await self.connect()
        client.write(http_request(document("jsonrpc.echo", text)))
        assert (await client.response()).result == [text]
        client.write(http_request(document("test.big", 5_000_000)))
        assert (await client.response()).result == "x" * 5_000_000
        await self.assert_answers(client)

    async def test_allowed_networks(self) -> None:
        """A client outside http_allow gets 403, one inside its reply."""
        self.serve(http_allow=["127.0.0.2/31", "192.0.2.0/24"])
        if not self.options.get("tls_self_signed"):  # over TLS the connection is closed before anything is said
            refused = await self.ask(http_request(ECHO))
            assert (refused.status, refused.headers[b"content-type"]) == (403, b"text/plain; charset=utf-8")
        for host in ("127.0.0.2", "127.0.0.3"):
            assert (await self.ask(http_request(ECHO), host=host)).status == 200

    async def test_origins(self) -> None:
        """A web page may call if its origin is the server itself, by address or as localhost, or is allowed."""
        self.serve(http_origin=["https://Admin.example.com"])
        for host, origin, status in (
            ("127.0.0.1:8080", "http://evil.example", 403),
            ("127.0.0.1:8080", "null", 403),
            ("127.0.0.1:8080", "", 403),
            ("127.0.0.1:8080", "http://127.0.0.1:8081", 403),
            ("127.0.0.1:8080", "http://127.0.0.1:8080.evil.example", 403),
            ("127.0.0.1:8080", "http://[", 403),
            ("127.0.0.1:8080", "http://evil.example\r\nOrigin: http://127.0.0.1:8080", 400),
            ("evil.example", "http://evil.example", 403),  # a name that somebody makes point here
            ("localhost.evil.example", "http://localhost.evil.example", 403),
            ("127.0.0.1:8080", "http://127.0.0.1:8080", 200),
            ("localhost:8080", "http://LOCALHOST:8080", 200),
            ("app.localhost", "http://app.localhost", 200),
            ("[::1]:8080", "http://[::1]:8080", 200),
            ("127.0.0.1:8080", "https://admin.example.com", 200),
            ("127.0.0.1:8080", "http://admin.example.com", 403),
        ):
            data = http_request(ECHO, f"Origin: {origin}").replace(b"Host: 127.0.0.1", b"Host: " + host.encode())
            assert (await self.ask(data)).status == status, (host, origin)
        assert (await self.ask(http_request(ECHO, "X: y").replace(b"X: y", b"Origin: \xff\xfe"))).status == 403


class BodyLimitTests(HttpCase):
    """Bodies beyond http_max_body."""

    def setUp(self) -> None:
        super().setUp()
        self.serve(http_max_body=MAX_BODY)

    async def test_at_the_limit(self) -> None:
        """A body of just the limit is answered; one byte more gets 413."""
        for size, status in ((MAX_BODY, 200), (MAX_BODY + 1, 413)):
            assert (await self.ask(http_request(ECHO.ljust(size)))).status == status
            assert (await self.ask(chunked_request(ECHO, b" " * (size - len(ECHO))))).status == status

    async def test_closed_after(self) -> None:
        """The connection of a body over the limit is closed after the 413, when the body has come."""
        for data in (http_request(b" " * 1000), chunked_request(b" " * 500, b" " * 500)):
            client = await self.connect()
            client.write(data)
            response = await client.response()
            assert (response.status, response.headers[b"connection"]) == (413, b"close")
            assert await client.end() == b""

    async def test_expect(self) -> None:
        """A client that asks first whether to send too large a body is not told to go on."""
        response = await self.ask(http_request(b"", "Expect: 100-continue").replace(b": 0", b": 301"))
        assert response.status == 413

    async def test_expect_within(self) -> None:
        """A client that asks first whether to send a body within the limit is told to go on, and answered."""
        client = await self.connect()
        head, body = http_request(ECHO, "Expect: 100-continue").split(b"\r\n\r\n")
        client.write(head + b"\r\n\r\n")
        assert (await client.response()).status == 100
        client.write(body)
        assert (await client.response()).body == ECHO_REPLY

    async def test_endless(self) -> None:
        """A client that goes on sending after a 413 is cut off."""
        for data in (http_request(b"").replace(b": 0", b": 99999999"), chunked_request(b" " * 301)[:-5]):
            client = await self.connect()
            client.write(data)
            assert (await client.response()).status == 413
            client.write((b"20000\r\n" + b" " * 0x20000 + b"\r\n") * 2)
            assert await client.end() == b""


class StatusTests(HttpCase):
    """How status and reason phrase tell of faults."""

    async def test_codes(self) -> None:
        """The code of a fault is the status where it is 400 to 599; else the status is 500."""
        client = await self.connect()
        for code in (400, 404, 418, 500, 503, 599, 399, 600, 0, 1, 100, 200, 204, 302, -1, -32000, 2**40):
            client.write(http_request(document("test.fault", code, "No")))
            response = await client.response()
            expected = code if 400 <= code <= 599 else 500
            assert (response.status, response.error) == (expected, (code, "No")), code

    async def test_reasons(self) -> None:
        """The text of a fault is the reason phrase, without control characters and cut; the body has it whole."""
        client = await self.connect()
        for text, reason in (
            ("Not There", b"Not There"),
            ("a\r\nSet-Cookie: b\r\n\r\nc", b"a  Set-Cookie: b    c"),
            ("\0\t\x1f\x7f\x85\x9fx", b"      x"),
            ("x" * 127, b"x" * 127),
            ("x" * 5000, b"x" * 127),
            ("\u00e9" * 100, "\u00e9".encode() * 63),
            ("\u560a\u560d", "\u560a\u560d".encode()),  # LF and CR, if somebody keeps the lower byte only
            ("", b""),
        ):
            client.write(http_request(document("test.fault", 404, text)))
            response = await client.response()
            assert (response.status, response.reason, response.error) == (404, reason, (404, text))
            assert set(response.headers) == USUAL_HEADERS

    async def test_unknown_method(self) -> None:
        """A method that is not there gets 500, as from Kamailio."""
        response = await self.ask(http_request(document("no.such")))
        assert (response.status, response.reason) == (500, b"Method Not Found")

    async def test_jsonrpc2(self) -> None:
        """In dialect jsonrpc2 the status is 200 whatever happens, even without a reply."""
        self.serve(dialect="jsonrpc2")
        client = await self.connect()
        for body in (document("test.fault", 404, "No"), document("no.such"), b"{", b"1", b""):
            client.write(http_request(body))
            response = await client.response()
            assert (response.status, response.reason) == (200, b"OK")
            assert "error" in json.loads(response.body)
        for body in (NOTIFICATION, b"[" + NOTIFICATION + b"]", NOTIFICATION.replace(b"echo", b"none")):
            client.write(http_request(body))
            response = await client.response()
            assert (response.status, response.body) == (200, b"")
            assert response.headers.keys() == {b"server", b"date", b"content-length"}
        await self.assert_answers(client)

    async def test_no_content(self) -> None:
        """With http_notification 204 that is the status if there is no reply."""
        self.serve(dialect="jsonrpc2", http_notification=204)
        client = await self.connect()
        for body in (NOTIFICATION, b"[" + NOTIFICATION + b"]"):
            client.write(http_request(body))
            response = await client.response()
            assert (response.status, response.reason) == (204, b"No Content")
            assert response.headers.keys() == {b"server", b"date"}
        await self.assert_answers(client)


class ConnectionTests(HttpCase):
    """Several requests on one connection, and connections that come to an end."""

    async def test_keep_alive(self) -> None:
        """A connection takes one request after the other."""
        client = await self.connect()
        for _ in range(3):
            await self.assert_answers(client)

    async def test_closed_on_request(self) -> None:
        """The connection is closed after the reply where the client wants it, as one of HTTP/1.0 does."""
        for data in (
            http_request(ECHO, "Connection: close"),
            http_request(ECHO, "Connection: close, x"),
            http_request(ECHO, "Connection: x", "Connection: CLOSE"),
            http_request(ECHO, version="1.0"),
            http_request(ECHO, "Connection: keep-alive, close", version="1.0"),
        ):
            client = await self.connect()
            client.write(data)
            assert (await client.response()).body == ECHO_REPLY
            assert await client.end() == b""

    async def test_keep_alive_of_http_1_0(self) -> None:
        """A client of HTTP/1.0 that asks for it, as ab -k does, keeps its connection, and is told so."""
        self.serve(dialect="jsonrpc2")
        client = await self.connect()
        for body in (ECHO, b"{", NOTIFICATION, b" " * 2_000_000, ECHO):
            client.write(http_request(body, "Connection: Keep-Alive", version="1.0"))
            response = await client.response()
            assert response.headers[b"connection"] == (b"keep-alive" if response.status == 200 else b"close")
            if response.status == 413:
                client = await self.connect()
        await self.assert_answers(client)

    async def test_pipelining(self) -> None:
        """Requests that come in one write are answered in their order, also after one that is refused."""
        client = await self.connect()
        bodies = [document("jsonrpc.echo", "x", number) for number in range(20)]
        client.write(b"".join(map(http_request, bodies)) + http_request(ECHO, path="/") + http_request(ECHO))
        assert [(await client.response()).result for _ in bodies] == [["x", number] for number in range(20)]
        assert [(await client.response()).status for _ in range(2)] == [404, 200]
        await self.assert_answers(client)

    async def test_pipelining_behind_a_slow_command(self) -> None:
        """A fast command's reply waits for that of a slow one before it."""
        client = await self.connect()
        client.write(http_request(document("test.wait")) + http_request(ECHO) + http_request(document("test.wait")))
        slow = await self.commands.started.get()
        await self.assert_answers(await self.connect())
        assert client.received == b""
        slow.callback("slow")
        assert (await client.response()).result == "slow"
        assert (await client.response()).body == ECHO_REPLY
        (await self.commands.started.get()).callback("last")
        assert (await client.response()).result == "last"
        await self.assert_answers(client)

    async def test_request_while_another_waits(self) -> None:
        """A request that comes while the command before it is in progress is answered after it."""
        client = await self.connect()
        client.write(http_request(document("test.wait")))
        slow = await self.commands.started.get()
        client.write(http_request(ECHO))
        await self.assert_answers(await self.connect())
        slow.callback("slow")
        assert (await client.response()).result == "slow"
        assert (await client.response()).body == ECHO_REPLY

    async def test_not_http(self) -> None:
        """What is not HTTP gets 400 or nothing, the connection is closed, and others are served."""
        for data in (b"\x16\x03\x01\0\0\0\0\r\n\r\n", ECHO + b"\r\n\r\n", b"POST\r\n\r\n"):
            client = await self.connect()
            client.write(data)
            assert (await client.end()).partition(b"\r\n")[0] in (b"", b"HTTP/1.1 400 Bad Request"), data
        await self.assert_answers(client=await self.connect())

    async def test_ambiguous_length(self) -> None:
        """A request whose length can be read in two ways is not answered, and its connection is closed."""
        for headers in (
            b"Content-Length: 64\r\nContent-Length: 0",
            b"Content-Length: 64\r\nTransfer-Encoding: chunked",
            b"Content-Length: +64",
            b"Content-Length: -1",
            b"Content-Length: 64, 64",
        ):
            client = await self.connect()
            client.write(b"POST /RPC HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n%b" % (headers, ECHO))
            assert (await client.end()).startswith(b"HTTP/1.1 400 "), headers

    @pytest.mark.slow
    async def test_idle(self) -> None:
        """A connection that is idle longer than http_timeout is closed, be it before, within or after a request."""
        self.serve(http_timeout=0.1)
        for data in (b"", b"POST /RPC HT", http_request(ECHO)[:-1], http_request(ECHO)):
            client = await self.connect()
            client.write(data)
            if data == http_request(ECHO):
                assert (await client.response()).body == ECHO_REPLY
            assert await client.end() == b""

    async def test_not_idle_while_in_progress(self) -> None:
        """A connection whose command is in progress is not idle."""
        self.serve(http_timeout=0.1)
        client = await self.connect()
        client.write(http_request(document("test.wait")))
        slow = await self.commands.started.get()
        await (await self.connect()).end()
        slow.callback("slow")
        assert (await client.response()).result == "slow"

    @pytest.mark.slow
    async def test_stop(self) -> None:
        """When the server stops it closes connections that are idle, and others when their commands are done."""
        idle, busy = await self.connect(), await self.connect()
        busy.write(http_request(document("test.wait")))
        slow = await self.commands.started.get()
        stopped = self.service.stopService()
        assert await idle.end() == b""
        slow.callback("slow")
        assert (await busy.response()).result == "slow"
        assert await busy.end() == b""
        await stopped

    async def test_stop_in_time(self) -> None:
        """When the server stops it cancels the commands that take longer than it can wait."""
        self.patch(connections, "CLOSE_TIME", 0.05)
        busy = await self.connect()
        busy.write(http_request(document("test.wait")))
        await self.commands.started.get()
        await self.service.stopService()
        assert await busy.end() == b""
        assert await self.commands.cancellation() == "test.wait"

    async def test_stopped_by_a_command(self) -> None:
        """A command that stops the server, and goes on, is cancelled like any other."""
        self.patch(connections, "CLOSE_TIME", 0.05)
        client = await self.connect()
        self.commands.stop = self.service.stopService
        client.write(http_request(document("test.stop")))
        assert await client.end() == b""
        assert await self.commands.cancellation() == "test.wait"


class AbuseTests(HttpCase):
    """Clients that want to use up the server; others are answered all the while."""

    async def drip(self, client: Client, data: bytes) -> None:
        """Send a byte at a time, until the server has enough of it."""
        for byte in data:
            if client.closed:
                return
            client.write(bytes([byte]))
            await deferLater(reactor, 0.01)

    @pytest.mark.slow
    async def test_slow_head(self) -> None:
        """A request whose head takes longer than http_timeout gets no answer, however steadily it drips."""
        self.serve(http_timeout=0.3)
        client = await self.connect()
        await self.drip(client, http_request(ECHO, "X: " + "y" * PATIENCE * 100))
        assert await client.end() == b""

    @pytest.mark.slow
    async def test_slow_body(self) -> None:
        """So does one whose body does, also if another was answered on the connection before."""
        self.serve(http_timeout=1)
        client = await self.connect()
        await self.assert_answers(client)
        await self.drip(client, http_request(b" " * PATIENCE * 100))
        assert await client.end() == b""

    @pytest.mark.slow
    async def test_slow_chunks(self) -> None:
        """So does one in chunks without end."""
        self.serve(http_timeout=0.3)
        client = await self.connect()
        await self.drip(client, chunked_request(*[b" "] * PATIENCE * 100))
        assert await client.end() == b""

    async def test_too_many(self) -> None:
        """A connection above max_connections takes the place of the one that was idle for the longest time."""
        self.patch(connections, "IDLE_GRACE", 0)
        self.serve(max_connections=3)
        first, second, third = [await self.connect() for _ in range(3)]
        for client in (second, first, third, second):
            await self.assert_answers(client)
        fourth = await self.connect()
        assert await first.end() == b""
        fifth = await self.connect()
        assert await third.end() == b""
        for client in (second, fourth, fifth):
            await self.assert_answers(client)

    async def test_too_many_at_once(self) -> None:
        """Many connections are never more than max_connections, and all are answered in their turn."""
        self.serve(max_connections=10)
        clients = [self.ask(http_request(ECHO)) for _ in range(45)]
        replies = await gatherResults([Deferred.fromCoroutine(client) for client in clients])
        assert {reply.body for reply in replies} == {ECHO_REPLY}
        (stream,) = [one for one in self.service.streams() if one.connections.accepted]
        assert stream.connections.accepted == len(replies)

    @pytest.mark.slow
    async def test_too_many_in_progress(self) -> None:
        """A newcomer waits while the command of another is in progress, and while another's reply is unread."""
        self.patch(connections, "IDLE_GRACE", 0)
        self.serve(max_connections=1)
        busy = await self.connect()
        busy.write(http_request(document("test.wait")))
        slow = await self.commands.started.get()
        newcomer = Deferred.fromCoroutine(self.ask(http_request(ECHO)))
        await deferLater(reactor, 0.02)
        assert not newcomer.called
        slow.callback("done")
        assert (await busy.response()).result == "done"
        assert (await newcomer).body == ECHO_REPLY

    @pytest.mark.slow
    async def test_unread_reply_is_not_cut(self) -> None:
        """A newcomer does not cut off a client in the middle of its reply, nor one in the middle of its request."""
        self.patch(connections, "IDLE_GRACE", 0)
        self.serve(max_connections=2)
        reader, sender = await self.connect(), await self.connect()
        await self.assert_answers(reader)
        request = http_request(ECHO)
        sender.write(request[:50])
        reader.transport.pauseProducing()
        reader.write(http_request(document("test.big", 9_000_000)))
        (stream,) = [one for one in self.service.streams() if one.connections.opened]
        await until(lambda: stream.connections.unread._waiting)
        await until(lambda: any(protocol._arrives for _, protocol in stream.connections))
        newcomer = Deferred.fromCoroutine(self.ask(http_request(ECHO)))
        await deferLater(reactor, 0.1)
        assert not newcomer.called
        sender.write(request[50:])
        assert (await sender.response()).body == ECHO_REPLY
        reader.transport.resumeProducing()
        assert len((await reader.response()).result) == 9_000_000
        assert (await newcomer).body == ECHO_REPLY

    async def test_lower_limit(self) -> None:
        """A lower max_connections closes idle connections at once, and others when they have been answered."""
        self.serve()
        idle, arriving, busy = [await self.connect() for _ in range(3)]
        for client in (idle, arriving, busy):
            await self.assert_answers(client)
        busy.write(http_request(document("test.wait")))
        slow = await self.commands.started.get()
        arriving.write(http_request(ECHO)[:50])
        (stream,) = [one for one in self.service.streams() if one.connections.opened]
        await until(lambda: sum(protocol.idle for _, protocol in stream.connections) == 1)
        self.service.change(max_connections=1)
        assert await idle.end() == b""
        arriving.write(http_request(ECHO)[50:])
        slow.callback("done")
        assert (await busy.response()).result == "done"
        assert (await arriving.response()).body == ECHO_REPLY
        assert await arriving.end() == b""
        await self.assert_answers(busy)

    async def test_strangers(self) -> None:
        """Clients outside http_allow are closed when they come, and take nobody's place."""
        self.patch(connections, "IDLE_GRACE", 0)
        self.serve(max_connections=2, http_allow="127.0.0.1/32")
        friends = [await self.connect() for _ in range(2)]
        for _ in range(20):
            with contextlib.suppress(SSL.Error, ConnectionLost, ConnectionDone):
                assert (await (await self.connect("127.0.0.2")).end())[:12] in (b"", b"HTTP/1.1 403")
        for friend in friends:
            await self.assert_answers(friend)
        (stream,) = [one for one in self.service.streams() if one.connections.accepted]
        assert (stream.connections.accepted, stream.connections.rejected) == (2, 20)

    @pytest.mark.slow
    async def test_never_read(self) -> None:
        """A client that does not take its reply in time is cut off, be it the last on its connection or not."""
        self.serve(http_timeout=0.3)
        self.patch(httpsite, "ABORT_TIME", 0.1)
        for headers in ((), ("Connection: close",)):
            client = await self.connect()
            await self.assert_answers(client)
            client.transport.pauseProducing()
            client.write(http_request(document("test.big", 20_000_000), *headers))
            await until(lambda: not any(stream.connections.opened for stream in self.service.streams()))
        assert sum(stream.connections.late for stream in self.service.streams()) == 2

    @pytest.mark.slow
    async def test_too_much_unread(self) -> None:
        """Where more is unread than all clients may leave, the slowest is cut off, and one that reads is not."""
        self.patch(unread, "MAX_UNREAD", 10_000_000)
        slow, good = await self.connect(), await self.connect()
        for client in (slow, good):
            await self.assert_answers(client)
        (stream,) = [one for one in self.service.streams() if one.connections.accepted]
        slow.transport.pauseProducing()
        slow.write(http_request(document("test.big", 12_000_000)))
        await until(lambda: stream.connections.unread._waiting)
        good.write(http_request(document("test.big", 12_000_000)))
        assert len((await good.response()).result) == 12_000_000
        assert stream.connections.unread.cut_off == 1
        await self.assert_answers(good)

    async def test_flood(self) -> None:
        """Requests that come by the thousand, without waiting, are answered in their order."""
        client = await self.connect()
        client.write(b"".join(http_request(document("jsonrpc.echo", id=id)) for id in range(3000)))
        for id in range(3000):
            assert json.loads((await client.response()).body)["id"] == id

    @pytest.mark.slow
    async def test_never_reads(self) -> None:
        """A client that sends and never reads is read no more when its replies fill the buffers, and then cut off."""
        self.patch(httpsite, "ABORT_TIME", 0.2)
        self.serve(http_timeout=2)
        client = await self.connect()
        await self.assert_answers(client)
        assert client.transport is not None
        client.transport.pauseProducing()
        request = http_request(document("test.big", 100_000))
        client.write(request * 2000)
        await self.assert_answers(await self.connect())
        streams = list(self.service.streams())
        while any(stream.connections.opened for stream in streams):
            await deferLater(reactor, 0.01)
        traffic = [self.service.dispatcher.traffic(stream.protocol) for stream in streams]
        assert 0 < sum(counter.bytes_sent.value for counter in traffic) < 60_000_000

    @pytest.mark.slow
    async def test_bare_line_feeds(self) -> None:
        """A line feed alone does not end a line: a head that never ends gets no answer."""
        self.serve(http_timeout=0.3)
        client = await self.connect()
        client.write(http_request(ECHO).replace(b"\r\n", b"\n"))
        assert await client.end() == b""

    async def test_bare_line_feeds_between(self) -> None:
        """A header cannot be hidden in another's value behind a line feed."""
        client = await self.connect()
        client.write(http_request(ECHO, "X: y\nContent-Length: 5"))
        assert (await client.end()).startswith(b"HTTP/1.1 400 ")

    async def test_large_head(self) -> None:
        """A head of more than 16 kB, or of more than 500 lines, gets 400 and an end."""
        for headers in (["X: " + "y" * 20_000], [f"X{number}: y" for number in range(501)], ["X: " + "y" * 1000] * 20):
            client = await self.connect()
            client.write(http_request(ECHO, *headers))
            assert (await client.end()).startswith(b"HTTP/1.1 400 "), headers[0][:20]

    async def test_forms(self) -> None:
        """A form is a document like any other, and is not parsed as a form."""
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data"):
            response = await self.ask(http_request(ECHO, f"Content-Type: {kind}"))
            assert response.body == ECHO_REPLY
        form = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'
        response = await self.ask(http_request(form, "Content-Type: multipart/form-data; boundary=x"))
        assert (response.status, response.body) == (400, PARSE_ERROR)


class AsynchronousTests(HttpCase):
    """Commands whose reply comes later."""

    async def test_results(self) -> None:
        """A command that returns a Deferred and one that is a coroutine are answered when they are done."""
        client = await self.connect()
        for method, result in (("test.wait", "done"), ("test.coroutine", ["awaited", "done"])):
            client.write(http_request(document(method)))
            (await self.commands.started.get()).callback("done")
            response = await client.response()
            assert (response.status, response.result, set(response.headers)) == (200, result, USUAL_HEADERS)
        await self.assert_answers(client)

    async def test_faults(self) -> None:
        """A fault of one has the status of its code; a bug in one says nothing of itself."""
        response = await self.ask(http_request(document("test.async_fault")))
        assert (response.status, response.reason, response.error) == (409, b"Not Now", (409, "Not Now"))
        response = await self.ask(http_request(document("test.async_bug")))
        assert (response.status, response.error) == (500, (-32603, "Internal Error"))
        assert len(self.flushLoggedErrors(RuntimeError)) == 1

    async def test_time_limit(self) -> None:
        """One that takes longer than it may is cancelled and gets 504, by its own limit or by that of the setting."""
        self.serve(async_timeout=0.03)
        for method, limit in (("test.limited", "0.02"), ("test.wait", "0.03"), ("test.coroutine", "0.03")):
            response = await self.ask(http_request(document(method)))
            assert response.status == 504
            assert response.error == (504, f"Command Timed Out After {limit} s")
            assert await self.commands.cancellation() == method.replace("limited", "wait")

    async def test_client_gone(self) -> None:
        """One whose client goes away is cancelled, and the server serves others."""
        self.patch(departures, "INTERVAL", 0.02)
        for method in ("test.wait", "test.coroutine"):
            for abort in (True, False):
                client = await self.connect()
                client.write(http_request(document(method)))
                await self.commands.started.get()
                await client.close(abort)
                assert await self.commands.cancellation() == method
        await self.assert_answers(await self.connect())

    async def test_client_gone_behind_a_backlog(self) -> None:
        """A command is also cancelled if its client has sent so much behind it that reading is paused, and then
        leaves."""
        self.patch(departures, "INTERVAL", 0.02)
        for abort in (True, False):
            client = await self.connect()
            client.write(http_request(document("test.wait")) + http_request(ECHO) * 2000)
            await self.commands.started.get()
            await deferLater(reactor, 0.05)
            await client.close(abort)
            assert await self.commands.cancellation() == "test.wait"
        assert self.service.dispatcher.traffic(self.protocol).requests.value == 2

    @pytest.mark.slow
    async def test_half_closed(self) -> None:
        """A client that closes its sending side gets the replies to all that it has sent, and then the end."""
        self.patch(departures, "INTERVAL", 0.02)
        for behind in (b"", http_request(ECHO), http_request(ECHO) + http_request(document("test.big", 3_000_000))):
            for seconds in (0, 0.1):
                client = await self.connect()
                client.write(http_request(document("test.wait")) + behind)
                slow = await self.commands.started.get()
                client.close_sending_side()
                await deferLater(reactor, seconds)
                slow.callback("done")
                response = await client.response()
                if seconds:
                    assert response.status == 100
                    response = await client.response()
                assert response.result == "done"
                for _ in range(behind.count(b"POST")):
                    assert (await client.response()).status == 200
                assert await client.end() == b""

    async def test_half_closed_at_once(self) -> None:
        """So does one whose commands are not asynchronous."""
        for data in (http_request(ECHO), http_request(ECHO) * 30, http_request(document("test.big", 3_000_000)) * 2):
            client = await self.connect()
            await self.assert_answers(client)
            client.write(data)
            client.close_sending_side()
            for _ in range(data.count(b"POST")):
                assert (await client.response()).status == 200
            assert await client.end() == b""

    async def test_begun_once(self) -> None:
        """One behind a reply that the client does not read is begun when it reads, and once."""
        for headers in ((), ("Cookie: a=b",)):
            client = await self.connect()
            await self.assert_answers(client)
            client.transport.pauseProducing()
            client.write(http_request(document("test.big", 8_000_000), *headers))
            for _ in range(3):  # records of their own, with TLS
                client.write(http_request(document("test.wait")))
                await deferLater(reactor, 0)
            await deferLater(reactor, 0.05)
            assert not self.commands.started.pending
            client.transport.resumeProducing()
            assert len((await client.response()).result) == 8_000_000
            for number in range(3):
                (await self.commands.started.get()).callback(str(number))
                assert (await client.response()).result == str(number)
            assert not self.commands.started.pending
            assert not self.commands.cancelled.pending

    async def test_nothing_is_begun_after_the_end(self) -> None:
        """What comes while the server closes a connection is not begun: its reply could not be sent."""
        client = await self.connect()
        await self.assert_answers(client)
        (stream,) = [one for one in self.service.streams() if one.connections.opened]
        ((_, protocol),) = stream.connections
        protocol.close()
        protocol.dataReceived(http_request(document("test.wait")))
        assert await client.end() == b""
        assert self.service.dispatcher.traffic(self.protocol).requests.value == 1

    async def test_batch(self) -> None:
        """A batch is answered in its order when the last command in it is done, and cancelled whole."""
        client = await self.connect()
        batch = b"[%b,%b,%b]" % (document("test.wait", id=2), ECHO, document("test.coroutine", id=3))
        client.write(http_request(batch))
        first, second = [await self.commands.started.get() for _ in range(2)]
        second.callback("second")
        first.callback("first")
        replies = json.loads((await client.response()).body)
        assert [reply["id"] for reply in replies] == [2, 1, 3]
        assert [reply["result"] for reply in replies] == ["first", ["x", 1], ["awaited", "second"]]
        client.write(http_request(batch))
        await self.commands.started.get()
        await client.close()
        assert {await self.commands.cancellation() for _ in range(2)} == {"test.wait", "test.coroutine"}

    async def test_notification(self) -> None:
        """In dialect jsonrpc2 a notification to one is answered without a body when it is done."""
        self.serve(dialect="jsonrpc2")
        client = await self.connect()
        client.write(http_request(b'{"jsonrpc":"2.0","method":"test.wait"}'))
        (await self.commands.started.get()).callback("done")
        response = await client.response()
        assert (response.status, response.body) == (200, b"")


repeat_everywhere(globals(), RequestTests, BodyLimitTests, StatusTests, ConnectionTests, AbuseTests, AsynchronousTests)
