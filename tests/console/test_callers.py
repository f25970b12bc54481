"""Who calls through the console besides users: client certificates, proxies; and calls on nodes."""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from jsonrpcs_tx import Settings, makeService
from tests.support import PATIENCE, Server, http_call, unverified
from tests.support.console import ConsoleCase, call
from tests.support.programs import need
from tests.support.tls import make_identity
from tests.support.users import write


class Certificates(ConsoleCase):
    options = {**ConsoleCase.options, "tls_self_signed": True}

    def certify(self, *names: str) -> None:
        """Make certificates that the server accepts."""
        ca = make_identity("ca", is_ca=True)
        (self.directory / "ca.pem").write_bytes(ca.pem)
        for name in names:
            identity = make_identity(name, ca)
            (self.directory / f"{name}.pem").write_bytes(identity.key_pem() + identity.pem)

    async def as_client(
        self, name: str, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, Any, str]:
        """What a client with a certificate gets: status, document, cookie."""
        listener = next(one for one in self.service.listeners() if one.protocol == "https")

        def ask() -> tuple[int, Any, str]:
            context = unverified()
            context.load_cert_chain(self.directory / f"{name}.pem")
            connection = HTTPSConnection("127.0.0.1", int(listener.port or 0), timeout=PATIENCE, context=context)
            with contextlib.closing(connection):
                connection.request(method, f"/console/{path}", body, {"Content-Type": "application/json", **headers})
                response = connection.getresponse()
                read = response.read()
                document = json.loads(read) if response.getheader("Content-Type") == "application/json" else read
                return response.status, document, (response.getheader("Set-Cookie") or "").partition(";")[0]

        found: tuple[int, Any, str] = await deferToThread(ask)
        return found

    async def test_rules(self) -> None:
        """Rules for the names in a certificate decide what its browser is shown and may call."""
        self.certify("ann", "bob", "eve")
        rules = ["https tls=ann allow *", "https tls=bob allow core.*"]
        self.serve(tls_ca=str(self.directory / "ca.pem"), rule=rules)
        assert (await self.as_client("ann", "GET", "session"))[1]["may"] == {"audit": True, "call": True}
        assert (await self.as_client("bob", "GET", "session"))[1]["may"] == {"audit": False, "call": True}
        told = (await self.as_client("eve", "GET", "session"))[1]
        assert told == {"user": None, "needs": "nothing", "expires": None, "may": {"audit": False, "call": False}}
        body = call("htable.sets", "t", "k", "v")
        assert [(await self.as_client(name, "POST", "RPC", body))[0] for name in ("ann", "bob", "eve")] == [
            200,
            403,
            403,
        ]

    async def test_users_as_well(self) -> None:
        """Where users are set, a certificate alone is not enough; rules may ask for both."""
        self.certify("ann", "bob")
        self.serve(
            tls_ca=str(self.directory / "ca.pem"),
            http_users=self.users("carl"),
            rule=["https tls=ann user=carl allow core.*"],
        )
        assert (await self.as_client("ann", "GET", "session"))[1]["needs"] == "password"
        body = b'{"user":"carl","password":"carl"}'
        status, _, cookie = await self.as_client("ann", "POST", "session", body)
        assert status == 204
        assert (await self.as_client("ann", "POST", "RPC", call("core.echo"), Cookie=cookie))[0] == 200
        assert (await self.as_client("bob", "POST", "RPC", call("core.echo"), Cookie=cookie))[0] == 403
        assert (await self.as_client("bob", "POST", "session", body))[0] == 403


class Nodes(ConsoleCase):
    """Calls on nodes, and what callers get to know of these."""

    def with_nodes(self, **options: Any) -> None:
        """Start a server with two nodes: two other servers of this kind."""
        nodes = []
        for name, group in (("a", "edge"), ("b", "core")):
            directory = self.directory / name
            directory.mkdir()
            settings = Settings(
                transport=4, dgram_socket=[str(directory / "s")], load=["core", "system"], run_dir=str(directory)
            )
            node = makeService(settings, reactor)
            node.startService()
            self.addCleanup(node.stopService)
            nodes.append(f"{name}=unix:{directory / 's'} group={group}")
        self.serve(node=nodes, node_interval=0.05, **options)

    async def test_calls(self) -> None:
        """Calls on a node, a group and all go where those at the path of JSON-RPC go."""
        self.with_nodes()
        browser = self.browser()
        told = await browser.session()
        assert (told["nodes"], told["groups"]) == (["a", "b"], ["edge", "core"])
        for path, result in (("RPC/a", ["x"]), ("RPC/edge", {"a": {"result": ["x"]}})):
            assert (await browser.call("core.echo", "x", path=path)).result == result
        assert {*(await browser.call("core.echo", "x", path="RPC/*")).result} == {"a", "b"}
        assert (await browser.call("core.echo", "x", path="RPC/none")).status == 404
        document = json.loads((await browser.get("openrpc.json?node=a")).body)
        assert "core.echo" in {one["name"] for one in document["methods"]}

    async def test_panel(self) -> None:
        """A caller of the command sees all nodes; others see those that they may call, but not where they are."""
        rules = [
            "http 127.0.0.1 allow gateway.nodes",
            "http 127.0.0.2 node=edge allow core.*",
            "http 127.0.0.3 allow core.*",
        ]
        self.with_nodes(rule=rules)
        events = await self.browser().events("nodes")
        nodes = await events.data("nodes")
        while [one["state"] for one in nodes] != ["up", "up"]:
            nodes = await events.data("nodes")
        assert all(one["target"].startswith("unix:") for one in nodes)
        some = self.browser(via="127.0.0.2")
        told = await some.session()
        assert (told["nodes"], told["groups"]) == (["a"], ["edge"])
        (node,) = await (await some.events("nodes")).data("nodes")
        assert node["name"] == "a"
        assert node.keys().isdisjoint(("target", "reason"))
        other = self.browser(via="127.0.0.3")
        assert (await other.session())["nodes"] == []
        assert await (await other.events("nodes")).data("nodes") == {"forbidden": True}


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The address of a proxy with TLS, which has the console of a server at another path."""
    need("haproxy", "haproxy")
    write(tmp_path / "users", "ann")
    identity = make_identity("pbx.example.com")
    (tmp_path / "proxy.pem").write_bytes(identity.key_pem() + identity.pem)
    arguments = ("--http-users=users", "--http-proxy=127.0.0.1", "--http-host=pbx.example.com", "--rule=http allow *")
    with Server(tmp_path, f"--run-dir={tmp_path}", *arguments, "--http-allow=127.0.0.0/8", sockets=()) as server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        host, backend = server.addresses["http"]
        (tmp_path / "haproxy.cfg").write_text(
            f"""
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend f
  bind 127.0.0.1:{port} ssl crt {tmp_path}/proxy.pem
  option forwardfor
  http-request replace-path /pbx(/.*)?$ \\1
  default_backend b
backend b
  server s {host}:{backend}
"""
        )
        proxy = subprocess.Popen(["haproxy", "-f", str(tmp_path / "haproxy.cfg"), "-db"])
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert time.monotonic() < deadline
            yield "127.0.0.1", port
        finally:
            proxy.terminate()
            proxy.wait()


@pytest.mark.slow
def test_prefix(proxied: tuple[str, int]) -> None:
    """Behind a proxy with TLS and a prefix, the place of the page and the path of the cookie are relative."""
    names = {"Host": "pbx.example.com", "Origin": "https://pbx.example.com", "Content-Type": "application/json"}
    moved = http_call("https", proxied, b"", "GET", "/pbx/console", {"Host": "pbx.example.com"})
    assert (moved.status, moved.headers["location"]) == (302, "console/")
    page = http_call("https", proxied, b"", "GET", "/pbx/console/", {"Host": "pbx.example.com"})
    assert page.status == 200
    body = b'{"user":"ann","password":"ann"}'
    signed = http_call("https", proxied, body, "POST", "/pbx/console/session", names)
    assert signed.status == 204
    cookie = signed.headers["set-cookie"]
    assert "Path" not in cookie
    names["Cookie"] = cookie.partition(";")[0]
    answer = http_call("https", proxied, call("core.echo", "x"), "POST", "/pbx/console/RPC", names)
    assert json.loads(answer.body)["result"] == ["x"]
    foreign = {**names, "Origin": "https://evil.example"}
    assert http_call("https", proxied, call("core.echo"), "POST", "/pbx/console/RPC", foreign).status == 403
