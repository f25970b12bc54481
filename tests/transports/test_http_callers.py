"""Who may call over HTTP: names of the server, web pages and their CORS, clients behind proxies."""

import base64
import contextlib
import socket
from pathlib import Path
from typing import Any
from unittest import mock

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.logger import formatEvent

from jsonrpcs_tx.access.passwords import make_hash
from jsonrpcs_tx.transports import tls
from jsonrpcs_tx.web import hosts
from jsonrpcs_tx.web.hosts import Hosts
from tests.support import ECHO, ECHO_REPLY, http_request
from tests.support.documents import request as document
from tests.support.http import Client, HttpCase, Response, repeat_everywhere
from tests.support.logs import observed

PAGE = "https://admin.example.com"
CORS = (b"access-control-allow-origin", b"vary", b"access-control-allow-credentials")


def request(host: str, *headers: str, body: bytes = ECHO, method: str = "POST") -> bytes:
    return http_request(body, *headers, method=method).replace(b"Host: 127.0.0.1", b"Host: " + host.encode())


class LoggedCase(HttpCase):
    """With what the server logs.

    @ivar logged: what was logged, in order.
    """

    def setUp(self) -> None:
        super().setUp()
        self.logged: list[str] = []
        self.enterContext(observed(self._note))

    def _note(self, event: Any) -> None:
        self.logged.append(formatEvent(event))


class HostTests(LoggedCase):
    """By which names the server may be called."""

    async def statuses(self, *names: str) -> dict[str, int]:
        return {name: (await self.ask(request(name))).status for name in names}

    async def test_own(self) -> None:
        """The server answers by its addresses, as localhost, and by the machine's name, with any port."""
        own = ("127.0.0.1", "127.0.0.1:1", "192.0.2.1", "[::1]:8080", "localhost", "LocalHost.", "a.localhost:80")
        names = (*own, socket.gethostname(), socket.gethostname().upper() + ":8080")
        assert await self.statuses(*names) == dict.fromkeys(names, 200)

    async def test_foreign(self) -> None:
        """Another name gets 403, whoever calls; the reply and the log say which setting allows it."""
        names = ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "notlocalhost", "127.1", "1")
        assert await self.statuses(*names) == dict.fromkeys(names, 403)
        response = await self.ask(request("evil.example"))
        assert b"http_host" in response.body
        assert any("http_host" in line for line in self.logged)

    async def test_rebinding(self) -> None:
        """A page that made its name point here does not get in, though to its browser it is of the same origin."""
        fetch = "Sec-Fetch-Site: same-origin"
        for headers in ((fetch,), (fetch, "Origin: http://evil.example"), ("Origin: http://evil.example",)):
            for method in ("POST", "GET"):
                assert (await self.ask(request("evil.example", *headers, method=method))).status == 403

    async def test_further(self) -> None:
        """Names of http_host are the server's own, and so are all below one with a star."""
        self.serve(http_host=["RPC.example.com", "*.example.net"])
        own = ("rpc.example.com", "rpc.example.com:8080", "RPC.EXAMPLE.COM.", "a.example.net", "a.b.example.net")
        assert await self.statuses(*own) == dict.fromkeys(own, 200)
        foreign = ("example.com", "a.rpc.example.com", "example.net", "example.net.evil.example", "aexample.net")
        assert await self.statuses(*foreign) == dict.fromkeys(foreign, 403)
        assert (await self.ask(request("rpc.example.com", "Origin: https://rpc.example.com"))).status == 200
        assert (await self.ask(request("rpc.example.com", "Origin: https://evil.example"))).status == 403

    async def test_any(self) -> None:
        """With http_host * every name is taken, but pages of such names may not call: they may have made them up."""
        self.serve(http_host="*")
        assert await self.statuses("evil.example", "localhost") == {"evil.example": 200, "localhost": 200}
        assert (await self.ask(request("evil.example", "Origin: http://evil.example"))).status == 403
        assert (await self.ask(request("evil/x"))).status == 400

    async def test_unix(self) -> None:
        """Over a Unix socket, where no browser comes, the name does not count."""
        if self.options.get("tls_self_signed"):
            return
        path = self.directory / "http"
        self.serve(http_listen=f"unix:{path}")
        client: Client = UnixClient()
        await connectProtocol(UNIXClientEndpoint(reactor, str(path)), client)
        client.write(request("anything"))
        assert (await client.response()).body == ECHO_REPLY
        await client.close()


class UnixClient(Client):
    def connectionMade(self) -> None:
        pass


class CertificateNameTests(HttpCase):
    """The names in the certificate."""

    options = {"tls_self_signed": True}

    async def test_certificate(self) -> None:
        """The server may be called by the names in its certificate, once that was read, and by no others."""
        with mock.patch("socket.gethostname", return_value="rpc.example.org"):
            tls.make_self_signed(str(self.directory / "tls.pem"))
        self.serve()
        assert (await self.ask(request("rpc.example.org"))).status == 200
        assert (await self.ask(request("example.org"))).status == 403
        (self.directory / "tls.pem").unlink()
        with mock.patch("socket.gethostname", return_value="example.org"):
            self.service.reload_tls()
        assert (await self.ask(request("example.org"))).status == 200


class PageTests(HttpCase):
    """Web pages: who may call, and who may read the reply."""

    async def test_fetch_sites(self) -> None:
        """A fetch of another site without Origin gets 403; one of no site, or of the same origin, its reply."""
        for value, status in (("none", 200), ("same-origin", 200), ("same-site", 403), ("cross-site", 403), ("x", 403)):
            for method in ("POST", "GET"):
                response = await self.ask(http_request(ECHO, f"Sec-Fetch-Site: {value}", method=method))
                assert response.status == status, value
        assert (await self.ask(http_request(ECHO, "Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"))).status == 403

    async def ask_as(self, origin: str, data: bytes = ECHO, *headers: str, method: str = "POST") -> Response:
        return await self.ask(http_request(data, f"Origin: {origin}", *headers, method=method))

    def cors(self, response: Response) -> list[bytes | None]:
        return [response.headers.get(name) for name in CORS]

    async def test_readable(self) -> None:
        """A page of a listed origin may read replies, be they faults or refusals; no other may."""
        self.serve(http_origin=[PAGE, "http://b.example:8080"], http_max_body=1000)
        readable = [PAGE.encode(), b"Origin", None]
        for body, status in ((ECHO, 200), (b"{", 400), (document("test.fault", 404, "No"), 404), (b" " * 1001, 413)):
            response = await self.ask_as(PAGE, body, "Sec-Fetch-Site: cross-site")
            assert (response.status, self.cors(response)) == (status, readable)
        response = await self.ask_as(PAGE, ECHO, method="PUT")
        assert (response.status, self.cors(response)) == (405, readable)
        response = await self.ask_as("HTTP://B.example:8080")
        assert (response.status, self.cors(response)[0]) == (200, b"HTTP://B.example:8080")
        for origin in ("http://evil.example", "null", "https://admin.example.com.evil.example", PAGE + ":8443"):
            response = await self.ask_as(origin)
            assert (response.status, self.cors(response)) == (403, [None] * 3)
        assert self.cors(await self.ask_as("http://127.0.0.1")) == [None] * 3
        assert self.cors(await self.ask(http_request(ECHO))) == [None] * 3

    async def test_rules(self) -> None:
        """What rules and networks refuse, a listed page may read."""
        self.serve(http_origin=PAGE, rule="any deny *")
        response = await self.ask_as(PAGE)
        assert (response.status, self.cors(response)[0]) == (403, PAGE.encode())

    async def test_preflight(self) -> None:
        """The browser of a listed page is told what the page may send; that of another, nothing."""
        self.serve(http_origin=PAGE)
        ask = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type,x-a")
        response = await self.ask_as(PAGE, b"", *ask, method="OPTIONS")
        assert (response.status, self.cors(response)) == (204, [PAGE.encode(), b"Origin", None])
        assert response.headers[b"access-control-allow-methods"] == b"POST, GET"
        assert response.headers[b"access-control-allow-headers"] == b"content-type,x-a"
        assert int(response.headers[b"access-control-max-age"]) > 0
        assert b"access-control-allow-private-network" not in response.headers
        response = await self.ask_as(PAGE, b"", *ask, "Access-Control-Request-Private-Network: true", method="OPTIONS")
        assert response.headers[b"access-control-allow-private-network"] == b"true"
        for origin, headers, status in (
            ("http://evil.example", ask, 403),
            ("http://127.0.0.1", ask, 405),
            (PAGE, (), 405),
        ):
            response = await self.ask_as(origin, b"", *headers, method="OPTIONS")
            assert response.status == status
            assert not any(name.startswith(b"access-control-allow-m") for name in response.headers)

    async def test_credentials(self) -> None:
        """Where users are set, a listed page may send their names and passwords, and read a 401."""
        users = self.directory / "users"
        users.write_text(f"ann:{make_hash(b'secret', n=2, r=1)}\n")
        users.chmod(0o600)
        self.serve(http_origin=PAGE, http_users="users")
        response = await self.ask_as(PAGE)
        assert (response.status, self.cors(response)) == (401, [PAGE.encode(), b"Origin", b"true"])
        known = "Authorization: Basic " + base64.b64encode(b"ann:secret").decode()
        response = await self.ask_as(PAGE, ECHO, known)
        assert (response.status, self.cors(response)) == (200, [PAGE.encode(), b"Origin", b"true"])
        response = await self.ask_as(PAGE, b"", "Access-Control-Request-Method: POST", method="OPTIONS")
        assert (response.status, self.cors(response)) == (204, [PAGE.encode(), b"Origin", b"true"])


class ProxyTests(LoggedCase):
    """Clients behind a proxy."""

    async def status(self, *headers: str, method: str = "jsonrpc.echo", host: str = "127.0.0.1") -> int:
        return (await self.ask(http_request(document(method, "x", 1), *headers), host=host)).status

    async def test_allowed(self) -> None:
        """http_allow is for the client that a proxy names, not for the proxy."""
        self.serve(http_proxy="127.0.0.1", http_allow=["192.0.2.0/24"])
        for headers, status in (
            (["X-Forwarded-For: 192.0.2.1"], 200),
            (["Forwarded: for=192.0.2.1"], 200),
            (["X-Forwarded-For: 192.0.2.1, 203.0.113.1"], 403),
            (["X-Forwarded-For: 203.0.113.1"], 403),
            (["X-Forwarded-For: unknown"], 403),
            (["X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.2"], 403),
            ([], 403),
        ):
            assert await self.status(*headers) == status, headers
        with contextlib.suppress(SSL.Error, ConnectionLost, ConnectionDone):  # a stranger is closed when it comes
            assert (await (await self.connect("127.0.0.2")).end())[:12] in (b"", b"HTTP/1.1 403")

    async def test_rules(self) -> None:
        """Rules are for the client of each request, though a proxy sends those of all over one connection."""
        transport = "https" if self.options.get("tls_self_signed") else "http"
        self.serve(
            http_proxy="127.0.0.1",
            http_allow=["0.0.0.0/0"],
            rule=[f"{transport} 192.0.2.1 allow jsonrpc.echo", f"{transport} 192.0.2.2 allow test.fault"],
        )
        client = await self.connect()
        for address, method, status in (
            ("192.0.2.1", "jsonrpc.echo", 200),
            ("192.0.2.2", "jsonrpc.echo", 403),
            ("192.0.2.2", "test.fault", 500),
            ("192.0.2.3", "jsonrpc.echo", 403),
            ("192.0.2.1", "jsonrpc.echo", 200),
        ):
            client.write(http_request(document(method, "1", 1), f"X-Forwarded-For: {address}"))
            assert (await client.response()).status == status, address

    async def test_told_once(self) -> None:
        """Headers that do not count are logged once, and change nothing."""
        client = await self.connect()
        for address in ("192.0.2.1", "192.0.2.2", "nonsense"):
            client.write(http_request(ECHO, f"X-Forwarded-For: {address}"))
            assert (await client.response()).body == ECHO_REPLY
        assert sum("http_proxy" in line for line in self.logged) == 1

    async def test_haproxy(self) -> None:
        """Behind the endpoint haproxy: networks and rules are for the client that the PROXY protocol names."""
        if self.options.get("tls_self_signed"):
            return  # TLS would have to come behind the line of the proxy
        self.serve(http_listen="haproxy:tcp:0:interface=127.0.0.1", http_allow=["192.0.2.0/24", "127.0.0.1"])
        for address, status in (("192.0.2.1", 200), ("203.0.113.1", 403), ("127.0.0.1", 200)):
            await self.assert_proxied(address, status)

    async def test_haproxy_outside(self) -> None:
        """So it is where the proxy itself is in none of the networks."""
        if self.options.get("tls_self_signed"):
            return
        self.serve(http_listen="haproxy:tcp:0:interface=127.0.0.1", http_allow=["192.0.2.0/24"])
        for address, status in (("192.0.2.1", 200), ("203.0.113.1", 403), ("127.0.0.1", 403)):
            await self.assert_proxied(address, status)

    async def assert_proxied(self, address: str, status: int) -> None:
        client = await self.connect()
        client.write(f"PROXY TCP4 {address} 127.0.0.1 4711 8080\r\n".encode())
        for _ in range(2 if status == 200 else 1):  # a stranger's connection is closed
            client.write(http_request(ECHO))
            assert (await client.response()).status == status, address

    async def test_own_use(self) -> None:
        """A client on the proxy's machine that names nobody calls for itself."""
        self.serve(http_proxy="127.0.0.1")
        assert await self.status() == 200


def test_machine_names(tmp_path: Path, monkeypatch: Any) -> None:
    """The machine's names are its host name, with and without the domain, and the aliases of it in /etc/hosts."""
    file = tmp_path / "hosts"
    file.write_text("127.0.1.1 pbx1.example.com Pbx1 # x\n192.0.2.1 other.example.com\n\n")
    monkeypatch.setattr(hosts, "_HOSTS_FILE", str(file))
    monkeypatch.setattr(socket, "gethostname", lambda: "pbx1")
    assert hosts.machine_names() == {"pbx1", "pbx1.example.com"}
    monkeypatch.setattr(socket, "gethostname", lambda: "other.example.com")
    assert hosts.machine_names() == {"other", "other.example.com"}
    monkeypatch.setattr(hosts, "_HOSTS_FILE", str(tmp_path / "none"))
    assert hosts.machine_names() == {"other", "other.example.com"}
    assert Hosts().accepts(b"other:80")
    assert not Hosts(["*"]).owns(b"x")


repeat_everywhere(globals(), HostTests, PageTests, ProxyTests)
