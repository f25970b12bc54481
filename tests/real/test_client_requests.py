"""The bytes that clients made for Kamailio send, and what each of them demands of the reply."""

import contextlib
import http.client
import json
import os
import re
import select
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support import DATAGRAM_TRANSPORTS, PATIENCE, Server, is_json, unverified
from tests.support.kamailio import Kamailio

pytestmark = pytest.mark.slow


@attrs.frozen
class Reply:
    """What came back; the status and the headers are of HTTP only."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = attrs.Factory(dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def result(self) -> Any:
        assert "error" not in self.json, self.body
        return self.json["result"]

    @property
    def error(self) -> Any:
        assert "result" not in self.json, self.body
        assert [type(self.json["error"][name]) for name in ("code", "message")] == [int, str]
        return self.json["error"]


Send = Callable[[Server, bytes], Reply]
Check = Callable[[Reply], object]


@attrs.frozen
class Case:
    """What a client sends, how, and what it demands; a check that returns False has failed as well.

    @ivar request: with C{HOST} for the address that it is sent to.
    """

    client: str
    send: Send
    request: bytes
    check: Check


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--pretty-format=1", "--http-path=/", "--htable=flushed=>size=4;", *Kamailio.OPTIONS)
    with Server(tmp_path_factory.mktemp("clients"), *options) as running:
        for key in ("kept", "deleted"):
            document = f'{{"jsonrpc":"2.0","method":"htable.sets","params":["a","{key}","v"],"id":1}}'
            assert b"Ok" in running.call("unix", document.encode())
        yield running


# How they send.


def over_http(server: Server, request: bytes, transport: str = "http") -> Reply:
    address = server.addresses[transport]
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(address, PATIENCE))
        if transport == "https":
            connection = stack.enter_context(unverified().wrap_socket(connection))
        connection.sendall(request.replace(b"HOST", b"%s:%d" % (address[0].encode(), address[1])))
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = response.read()
        if b"\r\nConnection: close\r\n" in request:
            assert connection.recv(1) == b""
        return Reply(body, response.status, {name.lower(): value for name, value in response.getheaders()})


def over_https(server: Server, request: bytes) -> Reply:
    return over_http(server, request, "https")


def over_unix(server: Server, request: bytes) -> Reply:
    """Connected, so that replies count from the bound socket only, and read once."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind(directory + "/siremis_rpc.sock")
        client.settimeout(PATIENCE)
        client.connect(server.addresses["unix"])
        client.send(request)
        return Reply(client.recv(65_536))


def over(transport: str) -> Send:
    """UDP sockets are connected as well."""
    return lambda server, request: Reply(server.call(transport, request))


def over_fifo(flags: int, mode: int, piece: int = 4096) -> Send:
    """The client's own FIFO is there before the request, and read until the JSON is whole.

    @param flags: with which the client opens it.
    @param mode: of its file.
    @param piece: bytes that are written at a time.
    """

    def send(server: Server, request: bytes) -> Reply:
        own = server.reply_dir / json.loads(request)["reply_name"]
        os.mkfifo(own, mode)
        reading = os.open(own, flags | os.O_NONBLOCK)
        try:
            writing = os.open(server.addresses["fifo"], os.O_WRONLY | os.O_NONBLOCK)  # ENXIO if nobody reads
            try:
                for start in range(0, len(request), piece):
                    os.write(writing, request[start : start + piece])
                return Reply(_whole_json(reading))
            finally:
                os.close(writing)
        finally:
            os.close(reading)
            own.unlink()

    return send


def _whole_json(reading: int) -> bytes:
    received = b""
    while True:
        assert select.select([reading], [], [], PATIENCE)[0], received
        data = os.read(reading, 65_536)
        assert data, received
        received += data
        if is_json(received):
            return received


# What they send: their headers, in their order.

GO = """\
POST {path} HTTP/1.1
Host: HOST
User-Agent: Go-http-client/1.1
Content-Length: {size}
Content-Type: application/json
Accept-Encoding: gzip"""
GO_CLOSE = GO.replace("Content-Length", "Connection: close\nContent-Length")
PGRTOOLS = """\
POST {path} HTTP/1.1
Host: HOST
User-Agent: pgrtools
Content-Length: {size}
Accept: application/json
Content-Type: application/json
Accept-Encoding: gzip"""
REQUESTS = """\
POST {path} HTTP/1.1
Host: HOST
User-Agent: python-requests/2.28.1
Accept-Encoding: gzip, deflate
Accept: */*
Connection: keep-alive
Content-Length: {size}
Content-Type: application/json"""
REQUESTS_GET = REQUESTS.replace("POST", "GET")
CURL_FORM = """\
GET {path} HTTP/1.1
Host: HOST
User-Agent: curl/7.88.1
Accept: */*
Content-Length: {size}
Content-Type: application/x-www-form-urlencoded"""
CURL_JSON = """\
GET {path} HTTP/1.1
Host: HOST
User-Agent: curl/7.88.1
Accept: */*
Content-Type: application/json
Content-Length: {size}"""
PHP_CURL = """\
POST {path} HTTP/1.1
Host: HOST
Authorization: Basic c2lyZW1pczpzZWNyZXQ=
Accept: */*
Content-Type: application/json
Content-Length: {size}"""
SPRING = """\
POST {path} HTTP/1.1
user-agent: ReactorNetty/1.1.13
host: HOST
accept: */*
Content-Type: application/json
Content-Length: {size}"""
AXIOS = """\
POST {path} HTTP/1.1
Accept: application/json, text/plain, */*
Content-Type: application/json
User-Agent: axios/1.21.1
Content-Length: {size}
Accept-Encoding: gzip, compress, deflate, br
Host: HOST
Connection: keep-alive"""


def case(client: str, head: str, path: str, body: str, check: Check, send: Send = over_http) -> Case:
    """A case over HTTP."""
    top = head.format(path=path, size=len(body.encode())).replace("\n", "\r\n")
    return Case(client, send, f"{top}\r\n\r\n{body}".encode(), check)


def cgrates(method: str, params: str, id: int, check: Check, send: Send = over_http) -> Case:
    body = f'{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":{id}}}'
    return case("cgrates/kamjsonrpc", GO, "/jsonrpc", body, check, send)


UUID = "0f7c5a4e-8d0e-4f0c-9d1b-6f8c9b4f1f7e"


def voipxswitch(method: str, params: str, check: Check) -> Case:
    body = f'{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":"{UUID}"}}'
    return case("voipxswitch/kamailio-jsonrpc-client", GO_CLOSE, "/RPC", body, check)


def pgkamtools(method: str, params: str, check: Check) -> Case:
    body = f'{{"jsonrpc":"2.0","method":"{method}",{params}"id":1}}'
    return case("palner/pgkamtools", PGRTOOLS, "/RPC", body, check)


def dsiprouter(method: str, params: str, check: Check, head: str = REQUESTS) -> Case:
    body = f'{{"method": "{method}", "jsonrpc": "2.0", "id": 1{params}}}'
    return case("dOpensource/dsiprouter", head, "/api/kamailio", body, check)


SIREMIS_ID = 5577006791947779410


def siremis(send: Send, params: str, check: Check) -> Case:
    document = f'{{"jsonrpc":"2.0","method":"stats.fetchn",{params}"id":{SIREMIS_ID}}}'
    return Case("asipto/siremis", send, document.encode(), check)


def tenants(method: str, params: list[str]) -> Case:
    document = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})
    return Case("FastAPI tenants", over("udp4"), document.encode(), answered(1))


def kamcli(transport: str) -> Case:
    document = '{\n  "jsonrpc": "2.0",\n  "method": "core.echo",\n  "params": ["a",\n"k1",\n10],\n  "id": 812\n}\n'
    return Case("kamcli", over(transport), document.encode(), answered(812, ["a", "k1", "10"]))  # all are text to it


# What they demand.


def same_id(reply: Reply, id: int | str) -> None:
    """The id has its value and its type: Go decodes it into a field of one type."""
    assert (type(reply.json["id"]), reply.json["id"]) == (type(id), id)


def answered(id: int | str, *results: Any) -> Check:
    """A 2xx status, the same id, a result and no error.

    @param results: the result, where the client knows it.
    """

    def check(reply: Reply) -> None:
        assert 200 <= reply.status <= 299
        assert reply.headers.get("content-type", "application/json") == "application/json"
        same_id(reply, id)
        assert not results or reply.result == results[0]
        assert reply.result is not None

    return check


def refused(id: int | str, code: int, message: str) -> Check:
    """An error that says so, whose code is the status over HTTP."""

    def check(reply: Reply) -> None:
        same_id(reply, id)
        assert reply.error["code"] == code
        assert re.search(message, reply.error["message"])
        assert not reply.headers or (reply.status, reply.headers["content-type"]) == (code, "application/json")

    return check


def typed(value: dict[str, Any], /, **types: type) -> bool:
    """Members have the types of a client's struct."""
    return {name: type(value[name]) for name in types} == types


def destinations(reply: Reply) -> list[dict[str, Any]]:
    records = [record["SET"] for record in reply.result["RECORDS"]]
    assert all(typed(record, ID=int, TARGETS=list) for record in records)
    return [target["DEST"] for record in records for target in record["TARGETS"]]


def voipxswitch_list(reply: Reply) -> None:
    answered(UUID)(reply)
    assert all(typed(destination, URI=str, FLAGS=str, PRIORITY=int) for destination in destinations(reply))


def voipxswitch_dump(reply: Reply) -> None:
    answered(UUID)(reply)
    slots = [slot for entry in reply.result if typed(entry, entry=int, size=int) for slot in entry["slot"]]
    assert "kept" in [slot["name"] for slot in slots if typed(slot, name=str, value=str, type=str)]


def voipxswitch_get(reply: Reply) -> None:
    answered(UUID)(reply)
    assert typed(reply.result["item"], name=str, value=str, flags=int, expire=str)
    assert (reply.result["item"]["name"], reply.result["item"]["value"]) == ("kept", "v")


def datadog(reply: Reply) -> None:
    answered(1)(reply)
    found = {}
    for statistic in reply.result:
        group, rest = statistic.split(":", 1)
        name, value = rest.split(" = ")
        found[group, name] = float(value)
    assert found["core", "rcv_requests"] > 0


ADDRESS = '"_group_":"1","_address_":"sip:127.0.0.1:5077"'

CASES = [
    *(cgrates("core.echo", '["a"]', id, answered(id, ["a"])) for id in (0, 1, 2**64 - 1)),
    cgrates("core.echo", '["a"]', 0, answered(0, ["a"]), over_https),
    cgrates("uac.reg_info", '["l_uuid","x"]', 3, refused(3, 500, "^Method Not Found$")),
    cgrates("dispatcher.list", "[]", 4, answered(4)),
    voipxswitch("dispatcher.add", f'{{{ADDRESS},"_flags_":"","_priority_":"0","_attrs_":""}}', answered(UUID)),
    voipxswitch("dispatcher.remove", '{"_group_":"2","_address_":"sip:127.0.0.1:5091"}', answered(UUID)),
    voipxswitch("dispatcher.list", '{"_rmode_":"full"}', voipxswitch_list),
    voipxswitch("htable.sets", '{"htable":"a","key":"set","value":"v1"}', answered(UUID)),
    voipxswitch("htable.delete", '{"htable":"a","key":"deleted"}', answered(UUID)),
    voipxswitch("htable.dump", '{"htable":"a"}', voipxswitch_dump),
    voipxswitch("htable.get", '{"htable":"a","key":"kept"}', voipxswitch_get),
    voipxswitch("htable.get", '{"htable":"a","key":"none"}', refused(UUID, 500, "doesn't exist")),
    voipxswitch("htable.flush", '{"htable":"flushed"}', answered(UUID)),
    case("arsperger/go-kamailio-api", GO, "/", '{"jsonrpc":"2.0","id":"1","method":"core.uptime"}', answered("1")),
    pgkamtools("core.uptime", "", lambda reply: typed(reply.result, uptime=int)),
    pgkamtools("core.version", "", lambda reply: "jsonrpcs_tx" in reply.result),
    pgkamtools("dispatcher.list", "", lambda reply: "sip:127.0.0.1:5080" in [d["URI"] for d in destinations(reply)]),
    pgkamtools("htable.dump", '"params":{"htable":"none"},', refused(1, 500, "No such htable")),
    pgkamtools("ul.dump", "", refused(1, 500, "^Method Not Found$")),
    *(dsiprouter("dispatcher.list", "", answered(1), head) for head in (REQUESTS, REQUESTS_GET, CURL_FORM)),
    *(dsiprouter("core.psx", ', "params": []', answered(1), head) for head in (REQUESTS, REQUESTS_GET)),
    dsiprouter("htable.dump", ', "params": ["a"]', answered(1)),
    dsiprouter("cfg.seti", ', "params": ["core", "debug", 2]', answered(1, {})),
    dsiprouter("dispatcher.list", ', "params": [""]', lambda reply: reply.result["NRSETS"] == 2, CURL_FORM),
    dsiprouter("core.psx", ', "params": [""]', lambda reply: typed(reply.result[0], IDX=int, PID=int), CURL_FORM),
    case(
        *("Datadog", REQUESTS, "/jsonrpc/"),
        '{"method": "stats.get_statistics", "jsonrpc": "2.0", "id": 1, "params": ["all"]}',
        datadog,
    ),
    *(
        case("kamailio-admin", SPRING, "/RPC", body, answered(7))
        for body in (
            '{"id":7,"params":[],"method":"core.uptime","jsonrpc":"2.0"}',
            '{"params":[],"jsonrpc":"2.0","id":7,"method":"core.uptime"}',
            '{"method":"core.uptime","id":7,"jsonrpc":"2.0","params":[]}',
        )
    ),
    case("curl", CURL_JSON, "/RPC", '{"jsonrpc": "2.0", "method": "core.psx", "id": 1}', answered(1)),
    case("siremis-php", PHP_CURL, "/RPC2", '{"jsonrpc":"2.0","method":"core.info","id":1}', answered(1)),
    *(
        Case("siremis-php", send, b'{"jsonrpc":"2.0","method":"core.info","id":1}', answered(1))
        for send in (over("udp4"), over_unix)
    ),
    case("axios", AXIOS, "/RPC", '{"jsonrpc":"2.0","method":"core.echo","params":["a"],"id":1}', answered(1, ["a"])),
    *(
        siremis(send, params, check)
        for send in (over_unix, over("udp4"))
        for params, check in (
            ("", refused(SIREMIS_ID, 400, "^Please provide which stats to retrieve$")),
            ('"params":["all"],', answered(SIREMIS_ID)),
            ('"params":["core:",5],', lambda reply: same_id(reply, SIREMIS_ID)),  # it shows whatever comes
        )
    ),
    tenants("htable.sets", ["a", "tenant", "1"]),
    tenants("htable.dump", ["a"]),
    Case(
        "phone11",
        over_fifo(os.O_RDONLY, 0o600, piece=20),
        b'{"id":2147483647,"jsonrpc":"2.0","method":"htable.get","params":["a","none"],"reply_name":"phone11-maint-1"}\n',
        refused(2**31 - 1, 500, "doesn't exist|not found"),
    ),
    Case(
        "README recipe",
        over_fifo(os.O_RDONLY, 0o600),
        b'{"jsonrpc": "2.0", "method": "core.psx", "reply_name": "R", "id": 1}\n',
        answered(1),
    ),
    *(kamcli(transport) for transport in (*DATAGRAM_TRANSPORTS, "tcp", "fifo")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.client)
def test_client(server: Server, case: Case) -> None:
    """A client gets from its own bytes what it demands."""
    assert case.check(case.send(server, case.request)) in (None, True)


# What takes more than one request.


def test_dsiprouter_ongoing_reload(tmp_path: Path) -> None:
    """dSIPRouter tries again on a 500 whose body says: ongoing reload."""
    reload = dsiprouter("dispatcher.reload", "", answered(1))
    with Server(tmp_path, "--http-path=/", *Kamailio.OPTIONS, "--reload-delta=5") as fresh:
        reload.check(over_http(fresh, reload.request))
        refused(1, 500, "(?i)^ongoing reload$")(over_http(fresh, reload.request))


def test_node_dashboard(server: Server) -> None:
    """A dashboard in JavaScript holds its FIFO open for reading and writing, and gets each reply in one go."""
    own = server.reply_dir / "kamailio_dashboard_reply_1"
    os.mkfifo(own, 0o660)
    held = os.open(own, os.O_RDWR | os.O_NONBLOCK)
    try:
        for id in range(1, 4):
            with open(server.addresses["fifo"], "w") as fifo:
                fifo.write(
                    f'{{"jsonrpc":"2.0","method":"core.uptime","reply_name":"{own.name}","id":{id},"params":[]}}\n'
                )
            assert select.select([held], [], [], PATIENCE)[0]
            answered(id)(Reply(os.read(held, 65_536)))
    finally:
        os.close(held)
        own.unlink()


def test_reply_name_with_a_dot(server: Server) -> None:
    """A reply FIFO with a dot in its name (kamcli's default, phone11's) is refused, and the log says why."""
    before = len(server.log)
    with open(server.addresses["fifo"], "w") as fifo:
        fifo.write('{"jsonrpc":"2.0","method":"core.pwd","reply_name":"kamailio_rpc_reply.fifo","id":1}\n')
    assert "forbidden character '.'" in server.wait_for_log("kamailio_rpc_reply.fifo", before)
