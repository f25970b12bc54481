"""Requests that hide in others: HAProxy, nginx and Caddy in front of the server, as docs/howto-proxies.md sets them up.

A client that may call nothing sends each odd head of the tests, with a whole request in the place of a body or behind
it that says that it comes from an allowed client. No such request is run, and allowed clients get their own replies.
"""

import json
import re
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import PATIENCE, REPOSITORY, unverified
from tests.support.httpheads import HOST, REFUSED, SERVED, request
from tests.support.machine import Machine
from tests.support.pages import blocks
from tests.support.programs import need

pytestmark = pytest.mark.slow

PAGE = REPOSITORY / "docs" / "howto-proxies.md"
PROXIES = {"HAProxy": 8443, "HAProxy without TLS of its own": 8444, "nginx": 8445, "Caddy": 443}
ALLOWED, FORBIDDEN = "127.0.0.2", "127.0.0.3"
QUIET = 0.25
"""Seconds without another byte after which nothing more is expected: proxies keep waiting where we have answered."""
THREADS = 24
_TLS = unverified()


def hidden(name: str) -> bytes:
    """A request that says that it comes from an allowed client, and that it is one of an attack."""
    call = json.dumps({"jsonrpc": "2.0", "method": "core.echo", "params": [f"hidden: {name}"], "id": 666}).encode()
    return request(
        HOST,
        b"X-Forwarded-For: 127.0.0.2",
        b"Forwarded: for=127.0.0.2",
        b"Connection: close",
        b"Content-Length: %d" % len(call),
        body=call,
    )


def attacks() -> Iterator[tuple[str, bytes]]:
    """All odd heads, each with a hidden request behind what it has, and in the place of its body."""
    for name, data in {**{name: data for name, (_, data) in REFUSED.items()}, **SERVED}.items():
        if len(data) < 10_000:
            head, _, body = data.partition(b"\r\n\r\n")
            yield name, data + hidden(name)
            yield name, head + b"\r\n\r\n" + hidden(name)
            yield name, head + b"\r\n\r\n0\r\n\r\n" + hidden(name)
            for length in (b"0", b"%d" % len(body)):
                inside = hidden(name)
                yield name, head + b"\r\nContent-Length: " + length + b"\r\n\r\n" + body + inside
                yield name, head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0\r\n\r\n" + inside
    for fold in (b"\r\n Content-Length: 0", b"\n Transfer-Encoding: chunked", b"\r Content-Length: 0"):
        yield f"fold {fold!r}", request(HOST, b"X: y" + fold, body=hidden("fold"))


def send(port: int, data: bytes, source: str, until: bytes = b"") -> bytes:
    """What comes back for some bytes over TLS, until some text comes, or else until nothing more comes."""
    received = b""
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0)) as plain,
        _TLS.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        try:
            client.sendall(data)
            client.settimeout(PATIENCE if until else QUIET)
            while not (until and until in received) and (part := client.recv(65536)):
                received += part
        except OSError:
            pass
    return received


def attack(ports: list[int]) -> None:
    """Run in the machine: send all attacks, and after each few a call of an allowed client, who gets its reply."""

    def one(port: int, number: int, name: str, data: bytes) -> None:
        answer = send(port, data, FORBIDDEN)
        if b"hidden" in answer and b'"result"' in answer:
            sys.stdout.write(f"{port}: {name}: {answer!r}\n")
        if number % 10 == 0:
            call = b'{"jsonrpc":"2.0","method":"core.echo","params":["mine"],"id":%d}' % number
            good = request(HOST, b"Connection: close", b"Content-Length: %d" % len(call), body=call)
            own = b'"result":["mine"],"id":%d}' % number
            answer = send(port, good, ALLOWED, own)
            if own not in answer:
                sys.stdout.write(f"{port}: after {name} an allowed client got {answer!r}\n")

    with ThreadPoolExecutor(THREADS) as pool:
        jobs = [pool.submit(one, port, number, *case) for port in ports for number, case in enumerate(attacks())]
        for job in jobs:
            job.result()
    sys.stdout.write("done\n")


def test_hidden_requests(tmp_path: Path) -> None:
    """No request that hides in another is run, whichever proxy is in front, and no client gets another's reply."""
    for program, package in (
        ("haproxy", "haproxy"),
        ("nginx", "nginx-light"),
        ("caddy", "caddy"),
        ("openssl", "openssl"),
    ):
        need(program, package)
    (tmp_path / "machine").mkdir()
    with Machine(tmp_path / "machine") as machine:
        machine.run("mkdir -p /run/jsonrpcs /var/log/nginx")
        audited = 'audit = "/tmp/audit.log"\naudit_level = "all"\nEND\n'
        for block in blocks(PAGE):
            if block.language == "sh" and ("<<'END'" in block.text or "openssl req" in block.text):
                is_server = "jsonrpcs.toml <<" in block.text
                machine.run(block.text.replace("END\n", audited, 1) if is_server else block.text)
                if is_server:
                    machine.wait_for("serving ", "twistd.log")
        (caddyfile,) = (block.text for block in blocks(PAGE) if block.language == "caddyfile")
        own_authority = "{\n\tlocal_certs\n\tskip_install_trust\n}\n"
        machine.write("Caddyfile", own_authority + caddyfile.replace("rpc.example.com", "localhost"))
        machine.run("HOME=$PWD caddy start --config Caddyfile > caddy.log 2>&1")
        machine.run("until curl -s -k -o /dev/null https://localhost/; do sleep 0.1; done")
        program = f"from tests.real.test_smuggling import attack; attack({[*PROXIES.values()]})"
        said = machine.run(f"{sys.executable} -c '{program}'")
        assert said == "done\n"
        entries = [json.loads(line) for line in machine.path("/tmp/audit.log").read_text().splitlines()]
        ran = [one for one in entries if one["outcome"] == "result"]
        assert {one["address"] for one in ran} == {ALLOWED}
        assert {str(one["params"]) for one in ran} == {"['mine']"}
        refused = [one for one in entries if one["outcome"] == "refused" and one.get("method")]
        assert len(refused) > 100  # proxies pass on much of it
        assert {one["address"] for one in refused} == {FORBIDDEN}
        assert not re.search("Traceback|critical", machine.path("twistd.log").read_text())
