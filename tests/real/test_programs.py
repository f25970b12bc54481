"""Operators' tools work as they do beside the real Kamailio: kamctl, kamcli, netcat, socat, curl, a shell."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support import DATAGRAM_TRANSPORTS, ECHO, ECHO_REPLY, IPV6, PATIENCE, Server
from tests.support.kamailio import Kamailio
from tests.support.programs import need

pytestmark = pytest.mark.slow

_KAMCTL_REPLY_DIR = "/tmp/"
"""Where kamctl makes its FIFO; nothing changes that."""


@attrs.frozen
class Peer:
    """A server that the tools are pointed at.

    @ivar tcp: where it takes a TCP connection.
    """

    unix: str
    fifo: str
    tcp: tuple[str, int]
    directory: Path

    def run(self, *argv: str) -> str:
        """What a program prints, which must end with success."""
        environment = {**os.environ, "RPCFIFOPATH": self.fifo, "HOME": str(self.directory), "TERM": "xterm"}
        result = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert result.returncode == 0, (argv, result.stdout, result.stderr)
        return result.stdout

    def kamctl(self, *arguments: str) -> str:
        need("kamctl", "kamailio")
        return self.run("kamctl", *arguments)

    def kamcli(self, *arguments: str, outformat: str = "yaml") -> str:
        need("kamcli", "kamcli")
        settings = self.directory / "kamcli.ini"
        lines = ["[jsonrpc]", "transport=socket", f"srvaddr={self.unix}", f"rcvaddr={self.unix}.kamcli"]
        settings.write_text("\n".join([*lines, f"outformat={outformat}", ""]))
        return self.run("kamcli", "-c", str(settings), *arguments)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def running(directory: Path) -> Iterator[Server]:
    options = ("--pretty-format=1", "--compatibility=5.6", f"--fifo-reply-dir={_KAMCTL_REPLY_DIR}", *Kamailio.OPTIONS)
    with Server(directory, *options) as server:
        yield server


@pytest.fixture(scope="module")
def ours(running: Server) -> Peer:
    addresses = running.addresses
    return Peer(addresses["unix"], addresses["fifo"], addresses["http"], running.directory)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    directory = tmp_path_factory.mktemp("kamailio")
    with Kamailio(directory, pretty_format=1) as kamailio:
        yield Peer(kamailio.unix, kamailio.fifo, kamailio.http, directory)


def layout(output: str) -> set[str]:
    """The lines that kamctl printed, with V in place of each value."""
    line = re.compile(r'^( *(?:"[^"]*": +)?)("[^"]*"|[-0-9][^ ,]*)', re.MULTILINE)
    return set(line.sub(r"\1V", output).splitlines())


def shape(value: Any) -> Any:
    """What a JSON value is made of: names of members in their order, and types."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(item)) for item in value})
    return type(value).__name__


def by_set(reply: Any) -> Any:
    """A dispatcher list with its sets in order; Kamailio's order is that of a tree."""
    if isinstance(reply, dict) and isinstance(reply.get("result"), dict) and "RECORDS" in reply["result"]:
        reply["result"]["RECORDS"].sort(key=lambda record: record["SET"]["ID"])
    return reply


_OWN_VALUES = ("core.echo", "dispatcher", "htable")
"""Commands that answer the same everywhere, to the value."""


@pytest.mark.parametrize(
    "arguments",
    [
        "uptime",
        "ps",
        "stats",
        "stats core",
        "stats shmem",
        "stats nothing",
        "dispatcher dump",
        "dispatcher reload",
        "srv version",
        "srv sockets",
        "srv aliases",
        "srv rpclist",
        "srv modules",
        "rpc core.echo a b",
        "rpc core.echo s:1 2 i:4",
        "rpc core.psx",
        "rpc no.such",
        "rpc dispatcher.list",
        "rpc dispatcher.set_state ax 2 sip:127.0.0.1:5091",
        "rpc htable.sets a k v",
        "rpc htable.get a k",
        "rpc htable.get a nothing",
        "rpc htable.dump a",
        "rpc system.methodHelp core.uptime",
    ],
)
def test_kamctl(ours: Peer, theirs: Peer, arguments: str) -> None:
    """kamctl prints the same over the FIFO beside both servers, but for what each one's own facts are."""
    mine, real = (peer.kamctl(*arguments.split()) for peer in (ours, theirs))
    replies = [by_set(json.loads(output[output.index("{") :])) for output in (mine, real)]
    assert {type(reply.pop("id")) for reply in replies} == {int}
    if any(name in arguments for name in _OWN_VALUES):
        assert replies[0] == replies[1]
    assert shape(replies[0]) == shape(replies[1])
    assert layout(mine) - {"    }, {"} <= layout(real)  # Kamailio listens on one socket only


def test_kamctl_broken_document(ours: Peer) -> None:
    """A parameter that kamctl writes as a bare word makes no JSON; it is told so, where Kamailio leaves it waiting."""
    assert "Parse Error" in ours.kamctl("rpc", "core.echo", "0x1F")


def test_kamctl_monitor(ours: Peer, theirs: Peer) -> None:
    """kamctl's monitor gets its queries answered: version, uptime, and the statistics that this server has."""
    screens = [peer.kamctl("monitor", "1") for peer in (ours, theirs)]
    for screen in screens:
        assert re.search(r"(jsonrpcs_tx|kamailio) \d+\.\d+", screen)
        assert re.search(r"now: .*\n.*up_since: .*\n.*uptime: \d+\n", screen)
    sections = [[line for line in screen.splitlines() if line.endswith(": ")] for screen in screens]
    assert sections[0] == sections[1] != []


KAMCLI = [
    "uptime",
    "stats",
    "stats shmem",
    "stats core",
    "rpcmethods",
    "srv aliases",
    "srv info",
    "srv modules",
    "srv rpclist",
    "srv sockets",
    "srv version",
    "tcp list",
    "tcp info",
    "dispatcher list",
    "dispatcher reload",
    "jsonrpc core.echo text",
    "jsonrpc core.echo i:10",
    "jsonrpc core.psx",
    "jsonrpc dispatcher.hash i:4",
    "jsonrpc htable.listTables",
    "jsonrpc htable.dump a",
    "jsonrpc no.such",
]


@pytest.mark.parametrize("arguments", KAMCLI)
def test_kamcli(ours: Peer, theirs: Peer, arguments: str) -> None:
    """kamcli prints the same over the Unix socket beside both servers, but for what each one's own facts are."""
    with closing(socket.create_connection(ours.tcp)), closing(socket.create_connection(theirs.tcp)):
        replies = [by_set(json.loads(peer.kamcli(*arguments.split(), outformat="json"))) for peer in (ours, theirs)]
    assert {type(reply.pop("id")) for reply in replies} == {int}
    if any(name in arguments for name in _OWN_VALUES):
        assert replies[0] == replies[1]
    assert shape(replies[0]) == shape(replies[1])


def test_kamcli_ps(ours: Peer, theirs: Peer) -> None:
    """kamcli makes a table of the processes."""
    for peer in (ours, theirs):
        assert re.fullmatch(r" +0 +\d+ main process - attendant", peer.kamcli("ps").splitlines()[0])


def test_kamcli_raw(ours: Peer) -> None:
    """kamcli shows the bytes of a reply as they came."""
    output = ours.kamcli("jsonrpc", "core.echo", "a", outformat="raw")
    assert rb'{\n\t"jsonrpc":\t"2.0",\n\t"result":\t["a"],\n\t"id":\t'.decode() in output


@pytest.mark.parametrize("transport", DATAGRAM_TRANSPORTS)
def test_netcat(server: Server, transport: str) -> None:
    """netcat gets a reply over UDP and over the Unix socket."""
    need("nc", "netcat-openbsd")
    address = server.addresses[transport]
    where = ["-uU", address] if transport == "unix" else ["-u", *map(str, address)]
    assert run("nc", "-w", "1", *where, document=ECHO + b"\n") == ECHO_REPLY


def test_socat(server: Server, tmp_path: Path) -> None:
    """socat gets a reply over every kind of socket, where it names one of its own if that is Unix."""
    need("socat", "socat")
    addresses = server.addresses
    for there in (
        f"UNIX-SENDTO:{addresses['unix']},bind={tmp_path}/client",
        "UDP4:{}:{}".format(*addresses["udp4"]),
        *(["UDP6:[{}]:{}".format(*addresses["udp6"])] if IPV6 else []),
        "TCP:{}:{}".format(*addresses["tcp"]),
    ):
        assert run("socat", "-t", "1", "-", there, document=ECHO + b"\n").rstrip(b"\n") == ECHO_REPLY


def test_socat_without_address(server: Server) -> None:
    """A Unix client without an address of its own gets no reply, and does no harm."""
    need("socat", "socat")
    assert run("socat", "-t", "0.1", "-", f"UNIX-SENDTO:{server.addresses['unix']}", document=ECHO) == b""
    assert server.call("unix", ECHO) == ECHO_REPLY


@pytest.mark.parametrize(
    "arguments",
    [
        ["-d", "@-"],
        ["-X", "GET", "-d", "@-"],
        ["--data-binary", "@-", "-H", "Content-Type: application/json"],
        ["-d", "@-", "-H", "Content-Type:"],
        ["-d", "@-", "-H", "Transfer-Encoding: chunked"],
        ["-d", "@-", "-H", "Expect: 100-continue"],
        ["-d", "@-", "--http1.0"],
        ["-T", "-", "-X", "POST"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("transport", ["http", "https"])
def test_curl(server: Server, transport: str, arguments: list[str]) -> None:
    """curl gets a reply, however it sends the document."""
    need("curl", "curl")
    url = f"{transport}://localhost:{server.addresses[transport][1]}/RPC"
    trust = "--cacert", str(server.directory / "tls.pem")
    assert run("curl", "-sS", "--fail", "-m", str(PATIENCE), *trust, *arguments, url, document=ECHO) == ECHO_REPLY


def test_curl_form_characters(server: Server) -> None:
    """What curl's form type would have decoded stays as it is: plus, percent, ampersand, and text beyond ASCII."""
    need("curl", "curl")
    document = json.dumps({"jsonrpc": "2.0", "method": "core.echo", "params": ["a+b%20c&d=é"], "id": 1})
    url = "http://127.0.0.1:{}/RPC".format(server.addresses["http"][1])
    reply = json.loads(run("curl", "-sS", "-d", "@-", url, document=document.encode()))
    assert reply["result"] == ["a+b%20c&d=é"]


def test_curl_without_trust(server: Server) -> None:
    """curl that was not given the certificate refuses the server."""
    need("curl", "curl")
    url = "https://localhost:{}/RPC".format(server.addresses["https"][1])
    assert subprocess.run(["curl", "-s", "-d", "@-", url], input=ECHO, capture_output=True).returncode == 60


def test_shell(server: Server, tmp_path: Path) -> None:
    """A shell with mkfifo and cat gets a reply over the FIFO."""
    script = """
        mkfifo "$1/shell_reply"
        cat "$1/shell_reply" &
        echo '{"jsonrpc": "2.0", "method": "core.echo", "params": ["x"], "reply_name": "shell_reply", "id": 1}' > "$2"
        wait
        rm "$1/shell_reply"
    """
    assert run("sh", "-ec", script, "sh", str(server.reply_dir), server.addresses["fifo"]) == (
        b'{"jsonrpc":"2.0","result":["x"],"id":1}'
    )


def run(*argv: str, document: bytes = b"") -> bytes:
    """What a program prints that reads a document; it must end with success."""
    result = subprocess.run(argv, input=document, capture_output=True, timeout=PATIENCE)
    assert result.returncode == 0, (argv, result.stdout, result.stderr)
    return result.stdout
