"""GET /openrpc.json and rpc.discover over HTTP: who is told what."""

import base64
import contextlib
import json
from http.client import HTTPSConnection
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from jsonrpcs_tx import Fault, SettingError, Settings, command, makeService
from jsonrpcs_tx.openrpc.discovery import AT_ONCE
from jsonrpcs_tx.openrpc.document import write
from tests.support import PATIENCE, http_request, unverified
from tests.support.http import HttpCase, Response
from tests.support.openrpc import methods_of
from tests.support.tls import make_identity
from tests.support.users import write as write_users

DISCOVER = b'{"jsonrpc":"2.0","method":"rpc.discover","id":1}'
PAGE = "/openrpc.json"


def user(name: str) -> str:
    return f"Authorization: Basic {base64.b64encode(f'{name}:{name}'.encode()).decode()}"


class PageCase(HttpCase):
    options = {"load": ["system", "jsonrpc", "htable"], "htable": ["t=>size=4;"]}

    async def get(self, *headers: str, path: str = PAGE, method: str = "GET") -> Response:
        return await self.ask(http_request(b"", *headers, method=method, path=path), method != "HEAD")

    async def document(self, *headers: str) -> Any:
        """The document for a client, which the page and the command give alike."""
        page = await self.get(*headers)
        assert page.status == 200, page.body
        called = await self.ask(http_request(DISCOVER, *headers))
        document = json.loads(page.body)
        assert document.pop("servers") == [{"name": "server", "url": f"{self.protocol}://127.0.0.1/RPC"}]
        assert called.result == document
        return document

    async def told(self, *headers: str) -> set[str]:
        """The methods that a client sees. Each of them is checked."""
        return set(methods_of(await self.document(*headers)))


class Page(PageCase):
    """What the page says, and to whom."""

    async def test_everything(self) -> None:
        """Without rules, a client on this machine is told of all commands."""
        self.serve()
        assert await self.told() == {*self.service.registry}
        response = await self.get()
        assert response.headers[b"content-type"] == b"application/json"
        assert response.headers[b"cache-control"] == b"no-store"

    async def test_head(self) -> None:
        """HEAD gets the headers of GET; other methods, and documents for the path, get what they get elsewhere."""
        body = (await self.get()).body
        head = await self.get(method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers[b"content-length"] == b"%d" % len(body)
        assert (await self.get(method="DELETE")).status == 405
        assert (await self.ask(http_request(DISCOVER, path=PAGE))).status == 405

    async def test_rules(self) -> None:
        """Each user is told of what that user may call, with whichever parameters, and nobody else of anything."""
        users = self.directory / "users"
        write_users(users, "ann", "bob", "eve", "ida", "kim")
        rules = [
            "http user=ann allow *",
            "http user=ann deny htable.sets htable.seti(*, ...) htable.get(secret, *)",
            "http user=bob allow rpc.discover htable.get(t, *)",
            "http user=eve allow jsonrpc.echo",
            "http user=ida role read",
        ]
        self.serve(http_users=str(users), rule=rules)
        everything = {*self.service.registry}
        assert await self.told(user("ann")) == everything - {"htable.sets", "htable.seti"}
        assert await self.told(user("bob")) == {"rpc.discover", "htable.get"}
        reading = {name for name in everything if not self.service.registry[name].changes}
        assert await self.told(user("ida")) == reading
        for name in ("eve", "kim"):
            assert (await self.get(user(name))).status == 403
            assert (await self.ask(http_request(DISCOVER, user(name)))).error == (403, "Forbidden")
        assert (await self.get()).status == 401
        assert (await self.get("Authorization: Basic YW5uOng=")).status == 401
        self.service.change(rule=["http user=kim allow rpc.*"])
        assert await self.told(user("kim")) == {"rpc.discover"}
        assert (await self.get(user("ann"))).status == 403

    async def test_networks(self) -> None:
        """Rules for networks decide as well."""
        self.serve(rule=["http 127.0.0.2 allow rpc.*", "http 127.0.0.3 allow system.*"])
        request = http_request(b"", method="GET", path=PAGE)
        told = await self.ask(request, host="127.0.0.2")
        assert set(methods_of(json.loads(told.body))) == {"rpc.discover"}
        assert (await self.ask(request, host="127.0.0.3")).status == 403

    async def test_other_checks(self) -> None:
        """The page passes the checks of a call: networks, names of the server, web pages."""
        self.serve(http_allow=["127.0.0.1"], http_host=["localhost", "127.0.0.1"])
        assert (await self.get("Origin: http://evil.example")).status == 403
        assert (await self.get("Sec-Fetch-Site: cross-site")).status == 403
        request = b"GET /openrpc.json HTTP/1.1\r\nHost: evil.example\r\n\r\n"
        assert (await self.ask(request)).status in (403, 421)

    async def test_refused_network(self) -> None:
        """A client outside of the networks is told nothing."""
        self.serve(http_allow=["127.0.0.1"])
        client = await self.connect("127.0.0.2")
        client.write(http_request(b"", method="GET", path=PAGE))
        assert (await client.end())[:12] in (b"", b"HTTP/1.1 403")

    async def test_changed_commands(self) -> None:
        """Commands that come, change or go are in the next document."""
        self.serve()
        before = await self.told()

        @command("own.count", changes=False)
        def count() -> int:
            """Counts."""
            return 1

        self.service.registry.add(count)
        assert await self.told() == before | {"own.count"}

        @command("own.count", changes=False)
        def count_again() -> str:
            """Counts anew."""
            return "1"

        self.service.registry.add(count_again, replace=True)
        method = methods_of(json.loads((await self.get()).body))["own.count"]
        assert (method["summary"], method["result"]["schema"]) == ("Counts anew.", {"type": "string"})
        self.service.registry.remove("own.count")
        assert await self.told() == before

    @pytest.mark.slow
    async def test_many_commands(self) -> None:
        """With very many commands, others are answered while the document is written."""
        self.serve()

        def make(number: int) -> Any:
            @command(f"many.{number:05}")
            def own(value: int = number) -> int:
                return value

            return own

        for number in range(AT_ONCE * 3):
            self.service.registry.add(make(number))
        asking = await self.connect()
        other = await self.connect()
        asking.write(http_request(b"", method="GET", path=PAGE))
        await self.assert_answers(other)
        assert asking.received == b""
        document = json.loads((await asking.response()).body)
        assert [method["name"] for method in document["methods"]] == sorted(self.service.registry)
        reply = self.service.jsonrpc_exec(DISCOVER)
        assert (reply.code, reply.text) == (500, "rpc.discover is asynchronous: it needs HTTP or HTTPS")

    @pytest.mark.slow
    async def test_client_that_leaves(self) -> None:
        """A client that leaves while its document is written does no harm."""
        self.serve()
        for number in range(AT_ONCE + 1):
            self.service.registry.add(command(f"many.{number}")(lambda: None))
        client = await self.connect()
        client.write(http_request(b"", method="GET", path=PAGE))
        await client.close()
        methods = (await self.document())["methods"]
        assert [method["name"] for method in methods] == sorted(self.service.registry)

    async def test_other_path(self) -> None:
        """The setting says where the page is, also below the path of JSON-RPC; empty: there is no page."""
        self.serve(openrpc="/RPC/describe")
        assert (await self.get(path="/RPC/describe")).status == 200
        assert (await self.get()).status == 404

    async def test_disabled(self) -> None:
        """Without the page, the command still answers."""
        self.serve(openrpc="")
        assert (await self.get()).status == 404
        assert set(methods_of((await self.ask(http_request(DISCOVER))).result)) == {*self.service.registry}

    async def test_no_such_node(self) -> None:
        """A server without nodes has none."""
        assert (await self.get(path=f"{PAGE}?node=a")).body == b"404 Not Found: Node Not Found: a\n"
        document = DISCOVER.replace(b',"id"', b',"params":["a"],"id"')
        assert (await self.ask(http_request(document))).error == (404, "Node Not Found: a")


class HttpsPage(PageCase):
    """The same over HTTPS, where certificates say who calls."""

    options = {"tls_self_signed": True, **PageCase.options}

    async def test_everything(self) -> None:
        """The document says that the server is called over HTTPS."""
        self.serve()
        assert await self.told() == {*self.service.registry}

    async def test_certificates(self) -> None:
        """Who has a client certificate is told of what rules allow its names."""
        ca = make_identity("ca", is_ca=True)
        (self.directory / "ca.pem").write_bytes(ca.pem)
        for name in ("ann", "bob"):
            identity = make_identity(name, ca)
            (self.directory / f"{name}.pem").write_bytes(identity.key_pem() + identity.pem)
        rules = ["https tls=ann allow rpc.* htable.*", "https tls=bob allow htable.*", "https allow system.*"]
        self.serve(tls_ca=str(self.directory / "ca.pem"), rule=rules)
        listener = next(one for one in self.service.listeners() if one.protocol == "https")

        def get(name: str) -> tuple[int, bytes]:
            context = unverified()
            context.load_cert_chain(self.directory / f"{name}.pem")
            connection = HTTPSConnection("127.0.0.1", int(listener.port or 0), timeout=PATIENCE, context=context)
            with contextlib.closing(connection):
                connection.request("GET", PAGE)
                response = connection.getresponse()
                return response.status, response.read()

        status, body = await deferToThread(get, "ann")
        assert status == 200
        told = {*methods_of(json.loads(body))}
        assert told == {name for name in self.service.registry if name.startswith(("rpc.", "htable.", "system."))}
        assert (await deferToThread(get, "bob"))[0] == 403


def test_same_path() -> None:
    """Two pages cannot have one path."""
    with pytest.raises(SettingError, match="openrpc"):
        makeService(Settings(openrpc="/health"))


def test_hostile_names() -> None:
    """What a client sends as Host, and a node as its version, cannot leave their places in the document."""
    written = write('t","x":"', 'v\n"', 'http://x","y":"', ())
    with pytest.raises(StopIteration) as end:
        next(written)
    assert json.loads(end.value.value) == {
        "openrpc": "1.3.2",
        "info": {"title": 't","x":"', "version": 'v\n"'},
        "servers": [{"name": "server", "url": 'http://x","y":"'}],
        "methods": [],
        "components": {"schemas": {}},
    }


def test_fault_is_a_fault() -> None:
    """The program's own call gets the document as a value, or the fault."""
    service = makeService(Settings())
    found: list[Any] = []
    service.call("rpc.discover").addCallback(found.append)
    service.call("rpc.discover", "x").addErrback(lambda failure: found.append(failure.value))
    assert set(methods_of(found[0])) == {*service.registry}
    assert isinstance(found[1], Fault)
    assert (found[1].code, found[1].text) == (404, "Node Not Found: x")
