"""The bytes that clients made for Kamailio send, and what each of them demands of the reply."""

import json
import os
import re
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.kamailio import Kamailio
from tests.support import PATIENCE, Server

Check = Callable[[Any], None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("clients")
    with Server(directory, "--pretty-format=1", "--http-path=/", *Kamailio.OPTIONS) as running:
        for number in (1, 2):
            document = b'{"jsonrpc":"2.0","method":"htable.sets","params":["a","k%d","v"],"id":1}' % number
            assert b"Ok" in running.call("unix", document)
        yield running


@attrs.frozen
class Response:
    """What came over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def exchange(server: Server, head: str, body: str) -> Response:
    """Send a request over HTTP byte for byte, with the Host and the Content-Length that it is due."""
    host, port = server.addresses["http"]
    first, *lines = head.strip().splitlines()
    lines = [line.strip().format(host=f"{host}:{port}", size=len(body.encode())) for line in lines]
    request = "\r\n".join([first, *lines, "", body]).encode()
    with socket.create_connection((host, port), PATIENCE) as connection:
        connection.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65_536)
        top, _, rest = received.partition(b"\r\n\r\n")
        status, *named = top.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in named)}
        while len(rest) < int(headers["content-length"]):
            rest += connection.recv(65_536)
        if "connection: close" in head.lower():
            assert connection.recv(1) == b""
    return Response(int(status.split()[1]), headers, rest)


GO_JSON = """
    POST PATH HTTP/1.1
    Host: {host}
    User-Agent: Go-http-client/1.1
    Content-Length: {size}
    Content-Type: application/json
    Accept-Encoding: gzip
"""
GO_CLOSE = GO_JSON.replace("Accept-Encoding: gzip", "Accept-Encoding: gzip\n    Connection: close")
PGRTOOLS = """
    POST PATH HTTP/1.1
    Host: {host}
    User-Agent: pgrtools
    Content-Length: {size}
    Accept: application/json
    Content-Type: application/json
    Accept-Encoding: gzip
"""
REQUESTS = """
    METHOD PATH HTTP/1.1
    Host: {host}
    User-Agent: python-requests/2.28.1
    Accept-Encoding: gzip, deflate
    Accept: */*
    Connection: keep-alive
    Content-Length: {size}
    Content-Type: application/json
"""
CURL_FORM = """
    GET /api/kamailio HTTP/1.1
    Host: {host}
    User-Agent: curl/7.88.1
    Accept: */*
    Content-Length: {size}
    Content-Type: application/x-www-form-urlencoded
"""
CURL_JSON = CURL_FORM.replace("x-www-form-urlencoded", "json").replace("/api/kamailio", "/RPC")
SPRING = """
    POST /RPC HTTP/1.1
    user-agent: ReactorNetty/1.1.13
    host: {host}
    accept: */*
    Content-Type: application/json
    Content-Length: {size}
"""
PHP = """
    POST /RPC2 HTTP/1.1
    Host: {host}
    Authorization: Basic c2lyZW1pczpzZWNyZXQ=
    Accept: */*
    Content-Type: application/json
    Content-Length: {size}
"""


def go(path: str, method: str, params: str, id: int) -> tuple[str, str]:
    """CGRateS (kamjsonrpc): compact, ids from 0 on, params always an array."""
    return GO_JSON.replace("PATH", path), f'{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":{id}}}'


@pytest.mark.parametrize("id", [0, 1, 2**64 - 1])
def test_kamjsonrpc(server: Server, id: int) -> None:
    """CGRateS wants a status up to 299, its id back as the same integer, from 0 on, and a result."""
    response = exchange(server, *go("/jsonrpc", "core.echo", '["a"]', id))
    assert response.status <= 299
    assert type(response.json["id"]) is int
    assert response.json["id"] == id
    assert response.json["result"] == ["a"]
    assert "error" not in response.json


def test_kamjsonrpc_error(server: Server) -> None:
    """CGRateS reads the body first, and of an error its message."""
    response = exchange(server, *go("/jsonrpc/", "uac.reg_info", '["l_uuid","x"]', 3))
    assert response.json["error"]["message"] == "Method Not Found"
    assert response.json["id"] == 3


UUID = "0f7c5a4e-8d0e-4f0c-9d1b-6f8c9b4f1f7e"


def by_name(method: str, params: str) -> tuple[str, str]:
    """voipxswitch's client: params as an object whose values are all text, a UUID for an id, Connection: close."""
    return GO_CLOSE.replace("PATH", "/RPC"), f'{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":"{UUID}"}}'


def test_kamailio_jsonrpc_client(server: Server) -> None:
    """voipxswitch's client wants 200, its id as text, and the fields of its Go structs with their types."""
    add = '{"_group_":"1","_address_":"sip:127.0.0.1:5077","_flags_":"","_priority_":"0","_attrs_":""}'
    for method, params in (
        ("dispatcher.add", add),
        ("dispatcher.remove", '{"_group_":"1","_address_":"sip:127.0.0.1:5077"}'),
        ("htable.sets", '{"htable":"a","key":"k1","value":"v1"}'),
        ("htable.delete", '{"htable":"a","key":"k2"}'),
    ):
        response = exchange(server, *by_name(method, params))
        assert (response.status, response.json["id"]) == (200, UUID), response.body
        assert isinstance(response.json["result"], str | dict)

    listed = exchange(server, *by_name("dispatcher.list", '{"_rmode_":"full"}'))
    assert listed.status == 200
    for record in listed.json["result"]["RECORDS"]:
        assert type(record["SET"]["ID"]) is int
        for target in record["SET"]["TARGETS"]:
            destination = target["DEST"]
            assert [type(destination[name]) for name in ("URI", "FLAGS", "PRIORITY")] == [str, str, int]

    dumped = exchange(server, *by_name("htable.dump", '{"htable":"a"}')).json["result"]
    for entry in dumped:
        assert [type(entry[name]) for name in ("entry", "size", "slot")] == [int, int, list]
        assert [type(entry["slot"][0][name]) for name in ("name", "value", "type")] == [str, str, str]

    got = exchange(server, *by_name("htable.get", '{"htable":"a","key":"k1"}')).json["result"]["item"]
    assert [type(got[name]) for name in ("name", "value", "flags")] == [str, str, int]
    assert (got["name"], got["value"]) == ("k1", "v1")


def test_kamailio_jsonrpc_client_error(server: Server) -> None:
    """voipxswitch's client takes any other status for an error, whose id is text."""
    response = exchange(server, *by_name("htable.get", '{"htable":"a","key":"nothing"}'))
    assert response.status != 200
    assert response.json["id"] == UUID
    assert isinstance(response.json["error"]["message"], str)


def test_go_kamailio_api(server: Server) -> None:
    """arsperger's client sends the id before the method, as text, and wants it so; any path will do."""
    body = '{"jsonrpc":"2.0","id":"1","method":"core.uptime"}'
    response = exchange(server, GO_JSON.replace("PATH", "/"), body)
    assert (response.status, response.json["id"]) == (200, "1")


def test_pgkamtools(server: Server) -> None:
    """pgrtools finds its values by path, whatever the status: errors, destinations, the time that the server is up."""

    def call(method: str, params: str = "") -> Any:
        body = f'{{"jsonrpc":"2.0","method":"{method}",{params}"id":1}}'
        return exchange(server, PGRTOOLS.replace("PATH", "/RPC"), body)

    assert call("core.uptime").json["result"]["uptime"] >= 0
    assert "jsonrpcs_tx" in call("core.version").json["result"]
    records = call("dispatcher.list").json["result"]["RECORDS"]
    found = [target["DEST"]["URI"] for record in records for target in record["SET"]["TARGETS"]]
    assert "sip:127.0.0.1:5080" in found
    assert call("htable.dump", '"params":{"htable":"none"},').json["error"]["message"]
    assert call("ul.dump").json["error"]["message"] == "Method Not Found"


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_dsiprouter_requests(server: Server, method: str) -> None:
    """dSIPRouter's Python raises for any status but 2xx, over POST and GET, and reads the result."""
    head = REQUESTS.replace("METHOD", method).replace("PATH", "/api/kamailio")
    for body in (
        '{"method": "dispatcher.list", "jsonrpc": "2.0", "id": 1}',
        '{"method": "core.psx", "jsonrpc": "2.0", "id": 1, "params": []}',
        '{"method": "htable.dump", "jsonrpc": "2.0", "id": 1, "params": ["a"]}',
    ):
        response = exchange(server, head, body)
        assert 200 <= response.status < 300
        assert response.json["result"]


def test_dsiprouter_ongoing_reload(tmp_path: Path) -> None:
    """dSIPRouter tries again on a 500 whose body says: ongoing reload."""
    with Server(tmp_path, *Kamailio.OPTIONS, "--reload-delta=5") as fresh:
        head = REQUESTS.replace("METHOD", "POST").replace("PATH", "/RPC")
        body = '{"method": "dispatcher.reload", "jsonrpc": "2.0", "id": 1}'
        assert exchange(fresh, head, body).status == 200
        again = exchange(fresh, head, body)
        assert again.status == 500
        assert again.json["error"]["message"].lower() == "ongoing reload"


def test_dsiprouter_curl(server: Server) -> None:
    """dSIPRouter's shell sends a form by GET, with one empty parameter where there are none."""
    for params in ("", ', "params": [""]'):
        body = f'{{"method": "dispatcher.list", "jsonrpc": "2.0", "id": 1{params}}}'
        assert exchange(server, CURL_FORM, body).json["result"]["NRSETS"] == 2


def test_datadog(server: Server) -> None:
    """Datadog's check takes each statistic apart at its colon and its equals sign, and wants numbers."""
    body = '{"method": "stats.get_statistics", "jsonrpc": "2.0", "id": 1, "params": ["all"]}'
    response = exchange(server, REQUESTS.replace("METHOD", "POST").replace("PATH", "/jsonrpc"), body)
    assert response.status == 200
    assert "error" not in response.json
    found = {}
    for statistic in response.json["result"]:
        group, rest = statistic.split(":", 1)
        name, value = rest.split(" = ")
        found[group, name] = float(value)
    assert found["core", "rcv_requests"] > 0


@pytest.mark.parametrize("order", ["id params method jsonrpc", "params jsonrpc id method", "method id jsonrpc params"])
def test_spring(server: Server, order: str) -> None:
    """A Java Map has no order: members come in any, params always as an array."""
    members = {"id": "7", "params": "[]", "method": '"core.uptime"', "jsonrpc": '"2.0"'}
    body = "{" + ",".join(f'"{name}":{members[name]}' for name in order.split()) + "}"
    response = exchange(server, SPRING, body)
    assert (response.status, response.json["id"]) == (200, 7)
    assert "result" in response.json


def test_documented_curl(server: Server) -> None:
    """The example of Kamailio's documents: GET with a body."""
    body = '{"jsonrpc": "2.0", "method": "core.psx", "id": 1}'
    assert exchange(server, CURL_JSON, body).json["result"][0]["IDX"] == 0


def test_siremis_php_http(server: Server) -> None:
    """Siremis in PHP sends a name and a password, which nobody has asked for, to a path of its own."""
    response = exchange(server, PHP, '{"jsonrpc":"2.0","method":"core.info","id":1}')
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    assert response.json["result"]["version"]


@pytest.mark.parametrize("params", ["", '"params":["all"],', '"params":["core:",5],'])
def test_siremis(server: Server, tmp_path: Path, params: str) -> None:
    """Siremis in Go connects its datagram socket, Unix or UDP, and so takes replies from the bound socket only, up to
    64 KiB, as they are.
    """
    document = f'{{"jsonrpc":"2.0","method":"stats.fetchn",{params}"id":5577006791947779410}}'.encode()
    for family, there in ((socket.AF_UNIX, server.addresses["unix"]), (socket.AF_INET, server.addresses["udp4"])):
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.bind(str(tmp_path / "siremis.sock") if family == socket.AF_UNIX else ("127.0.0.1", 0))
            client.settimeout(PATIENCE)
            client.connect(there)
            client.send(document)
            reply = client.recv(65_536)
        assert json.loads(reply)["id"] == 5577006791947779410


def test_asyncio_udp(server: Server) -> None:
    """A Python service over connected UDP, with json.dumps, wants a result."""
    for method, params in (
        ("htable.sets", ["a", "tenant", "1"]),
        ("htable.dump", ["a"]),
        ("htable.delete", ["a", "tenant"]),
    ):
        document = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})
        assert "result" in json.loads(server.call("udp4", document.encode()))


def test_phone11(server: Server, tmp_path: Path) -> None:
    """A Python controller over the FIFO: sorted members, its own FIFO of mode 0600, pieces; it reads until the JSON is
    whole, and checks the id.
    """
    own = server.reply_dir / "phone11-maint-1"
    os.mkfifo(own, 0o600)
    reading = os.open(own, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(server.addresses["fifo"], os.O_WRONLY | os.O_NONBLOCK)  # ENXIO if nobody reads
    id = 2**31 - 1
    document = b'{"id":%d,"jsonrpc":"2.0","method":"htable.get","params":["a","nokey"],"reply_name":"%b"}\n'
    document %= (id, own.name.encode())
    try:
        for start in range(0, len(document), 20):
            os.write(writing, document[start : start + 20])
        received = b""
        while True:
            select.select([reading], [], [], PATIENCE)
            received += os.read(reading, 4096)
            try:
                reply = json.loads(received)
                break
            except ValueError:
                continue
    finally:
        os.close(reading)
        os.close(writing)
        own.unlink()
    assert reply["id"] == id
    assert re.search("doesn't exist|not found", reply["error"]["message"])


def test_reply_name_with_a_dot(server: Server) -> None:
    """A reply FIFO with a dot in its name is refused, as Kamailio does, and the log says why."""
    before = len(server.log)
    writing = os.open(server.addresses["fifo"], os.O_WRONLY | os.O_NONBLOCK)
    os.write(writing, b'{"jsonrpc":"2.0","method":"core.pwd","reply_name":"kamailio_rpc_reply.fifo","id":1}\n')
    os.close(writing)
    assert "forbidden character '.'" in server.wait_for_log("kamailio_rpc_reply.fifo", before)


def test_node_dashboard(server: Server) -> None:
    """A dashboard in JavaScript holds its FIFO open for reading and writing, and uses it for every call."""
    own = server.reply_dir / "kamailio_dashboard_reply_1"
    os.mkfifo(own, 0o660)
    held = os.open(own, os.O_RDWR | os.O_NONBLOCK)
    try:
        for id in range(1, 4):
            document = f'{{"jsonrpc":"2.0","method":"core.uptime","reply_name":"{own.name}","id":{id},"params":[]}}\n'
            with open(server.addresses["fifo"], "w") as fifo:
                fifo.write(document)
            select.select([held], [], [], PATIENCE)
            assert json.loads(os.read(held, 65_536))["id"] == id  # whole, in one go
    finally:
        os.close(held)
        own.unlink()


def test_kamcli_bytes(server: Server, tmp_path: Path) -> None:
    """kamcli lays its document out by hand, with a line break at its end, and reads once."""
    document = '{\n  "jsonrpc": "2.0",\n  "method": "core.echo",\n  "params": ["a",\n"k1",\n10],\n  "id": 812\n}\n'
    for transport in ("unix", "udp4", "udp6", "tcp", "fifo"):
        reply = json.loads(server.call(transport, document.encode()))
        assert (reply["result"], reply["id"]) == (["a", "k1", "10"], 812)  # all are text to core.echo
