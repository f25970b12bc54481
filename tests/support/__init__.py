"""Shared by the tests: a real server in a process of its own, and a client for each transport."""

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any, Self

import attrs

from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.client.errors import BadReply
from jsonrpcs_tx.client.targets import parse_target
from tests.support import forking

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "tests" / "data"
PATIENCE = 60
"""Seconds after which what should happen at once counts as not happening."""


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False


IPV6 = _has_ipv6()
"""Whether the machine has the loopback address of IPv6, which many containers lack."""
DATAGRAM_SOCKETS = ("rpc.sock", "udp:127.0.0.1:0", *(["udp:[::1]:0"] if IPV6 else []))
"""The usual values of the setting C{dgram_socket}."""
UNIX_AND_UDP = DATAGRAM_SOCKETS[:2]
"""The same with UDP over IPv4 only."""
DATAGRAM_TRANSPORTS = ("unix", "udp4", *(["udp6"] if IPV6 else []))
TRANSPORTS = (*DATAGRAM_TRANSPORTS, "fifo", "tcp", "http", "https")
ECHO = b'{"jsonrpc":"2.0","method":"jsonrpc.echo","params":["x",1],"id":1}'
ECHO_REPLY = b'{"jsonrpc":"2.0","result":["x",1],"id":1}'

_LISTENING = re.compile(r"""(?:#info\] |"message":")listening on (\w+) (?:\[([^\]]+)\]|(\S+?))(?::(\d+))?(?:$|",")""")
_SERVING = re.compile(r"""\[jsonrpcs_tx\.service#info\] serving|"module":"jsonrpcs_tx\.service","message":"serving""")
"""Lines of the log in the formats text and json."""


@attrs.frozen
class HttpReply:
    """A reply over HTTP(S)."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes


class Server:
    """C{twistd -n jsonrpcs} in a process of its own, with all transports on free ports unless told otherwise.

    @param directory: where it runs; its files are made there.
    @param arguments: further options; given after the usual ones, which they override or add to.
    @param sockets: its datagram sockets; each costs a process for each worker.
    @param command: the whole command line after C{twistd}, in place of the usual one.
    @ivar arguments: of the command line, after C{twistd}.
    @ivar log: the lines that it has logged so far.
    @ivar addresses: what each transport of L{TRANSPORTS} listens on.
    """

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        sockets: tuple[str, ...] = DATAGRAM_SOCKETS,
        command: tuple[str, ...] | None = None,
    ) -> None:
        self.directory = directory
        self.reply_dir = directory / "replies"
        self.reply_dir.mkdir(exist_ok=True)
        self.log: list[str] = []
        self.addresses: dict[str, Any] = {}
        usual = (
            *("-n", "jsonrpcs", "--transport=0", *(f"--dgram-socket={value}" for value in sockets)),
            *("--fifo-name=rpc.fifo", f"--fifo-reply-dir={self.reply_dir}"),
            *("--tcp-socket=tcp:127.0.0.1:0", "--http-listen=tcp:0:interface=127.0.0.1", "--tls-self-signed"),
            *("--https-listen=tcp:0:interface=127.0.0.1", *arguments),
        )
        self.arguments = list(command or usual)
        output, theirs = os.pipe()
        self._output = open(output)  # noqa: SIM115 # it is closed when the process has ended
        with open(theirs, "w") as stream:
            self.process = forking.start([twistd(), *self.arguments], directory, environment(), stream, stream)
        self._started = threading.Event()
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        if not self._started.wait(PATIENCE) or self.process.poll() is not None:
            self.stop()
            raise AssertionError("the server did not start:\n" + "\n".join(self.log))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it with a signal.

        @return: its exit status.
        """
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(PATIENCE)
        self._output.close()
        return status

    def wait_for_log(self, pattern: str, after: int = 0) -> str:
        """The first line that matches, now or later.

        @param after: how many lines at the beginning to skip.
        """
        with self._news:
            found: list[str] = []

            def look() -> bool:
                found.extend(line for line in self.log[after:] if re.search(pattern, line))
                return bool(found)

            if not self._news.wait_for(look, PATIENCE):
                raise AssertionError(f"nothing like {pattern!r} in the log:\n" + "\n".join(self.log))
            return found[0]

    def children(self) -> list[int]:
        """The process ids of its worker processes."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def call(self, transport: str, document: bytes) -> bytes:
        """Send a document and return the reply; empty where there is none."""
        return call(transport, self.addresses[transport], document, self.reply_dir)

    def http(self, document: bytes, transport: str = "http", **options: Any) -> HttpReply:
        """Send a document over HTTP or HTTPS; see L{http_call} for the options."""
        return http_call(transport, self.addresses[transport], document, **options)

    def _read_log(self) -> None:
        for line in self._output:
            line = line.rstrip("\n")
            match = _LISTENING.search(line)
            if match:
                self._note_address(match)
            with self._news:
                self.log.append(line)
                self._news.notify_all()
            if _SERVING.search(line):
                self._started.set()
        self._started.set()

    def _note_address(self, match: re.Match[str]) -> None:
        protocol, ipv6, host, port = match.groups()
        if port is None:
            self.addresses[protocol] = host
        else:
            name = {"udp": "udp6" if ipv6 else "udp4"}.get(protocol, protocol)
            self.addresses[name] = (ipv6 or host, int(port))


def twistd() -> str:
    """The twistd of this Python."""
    return str(Path(sys.executable).with_name("twistd"))


def run_twistd(directory: Path, *arguments: str, inherits: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run twistd in a directory to its end, or until it has become a daemon.

    @param inherits: descriptors that it inherits.
    """
    command, wide = [twistd(), *arguments], {**environment(), "COLUMNS": "1000"}
    if inherits:
        return subprocess.run(
            command, cwd=directory, env=wide, capture_output=True, text=True, timeout=PATIENCE, pass_fds=inherits
        )
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = forking.start(command, directory, wide, output, errors)
        try:
            status = process.wait(PATIENCE)
        finally:
            process.kill()
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(command, status, output.read(), errors.read())


def environment() -> dict[str, str]:
    """The environment in which a process finds this source tree's package and plugin."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}


def call(transport: str, address: Any, document: bytes, reply_dir: Path = Path("/tmp")) -> bytes:
    """Send a document over a transport and return the reply; empty where there is none.

    Over the FIFO the document must have no reply_name of its own; see L{with_reply_name}.
    """
    if transport in ("http", "https"):
        return http_call(transport, address, document).body
    target = target_text(transport, address)
    options = {"reply_dir": str(reply_dir)} if transport == "fifo" else {}
    with Client(parse_target(target, **options), PATIENCE) as client:
        try:
            return client.raw(document)
        except BadReply:
            return b""


def target_text(transport: str, address: Any) -> str:
    """An address of a transport as a target of the client."""
    scheme = transport.rstrip("46")
    if isinstance(address, str):
        return f"{scheme}:{address}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    path = "//" if scheme in ("http", "https") else ""
    return f"{scheme}:{path}{host}:{address[1]}"


@contextlib.contextmanager
def datagram_client(address: Any) -> Iterator[socket.socket]:
    """A connected client: it accepts replies only from the server's bound socket. Over a Unix socket it has a path."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with tempfile.TemporaryDirectory() as directory, socket.socket(family, socket.SOCK_DGRAM) as client:
        if family == socket.AF_UNIX:
            client.bind(directory + "/client")
        client.settimeout(PATIENCE)
        client.connect(address)
        yield client


def datagram_call(address: Any, document: bytes) -> bytes:
    """Send a document to the path of a Unix socket, or over UDP, and return the reply."""
    return call("unix" if isinstance(address, str) else "udp", address, document)


def with_reply_name(document: bytes, name: str) -> bytes:
    """Put a reply_name into a document, broken or not, as its first member, in a batch into the first request."""
    return document.replace(b"{", b'{"reply_name":"%s",' % name.encode(), 1)


def write_fifo(path: str, data: bytes) -> None:
    """Write to the server's FIFO, which must have a reader."""
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.set_blocking(fd, True)
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


class ReplyFifo:
    """A client's FIFO, with a thread that reads it to its first end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._data = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.path.unlink()

    def read(self) -> bytes:
        """What the server wrote before it closed the FIFO."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "no reply over the FIFO"
        return self._data

    def _read(self) -> None:
        with open(self.path, "rb") as file:
            self._data = file.read()


def is_json(data: bytes) -> bool:
    """Whether a reply is complete."""
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def unverified() -> ssl.SSLContext:
    """The TLS context of a client that does not check the server's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # ssl.create_default_context would read the system's certificates
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def http_request(body: bytes, *headers: str, method: str = "POST", path: str = "/RPC", version: str = "1.1") -> bytes:
    """A request with a Content-Length, as it goes over the wire."""
    head = [f"{method} {path} HTTP/{version}", "Host: 127.0.0.1", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


def http_connection(transport: str, address: Any) -> HTTPConnection:
    """A connection to be made to an address, or over HTTP to the path of a Unix socket."""
    if not isinstance(address, str):
        host, port = address
        if transport == "https":
            return HTTPSConnection(host, port, timeout=PATIENCE, context=unverified())
        return HTTPConnection(host, port, timeout=PATIENCE)
    connection = HTTPConnection("localhost", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(PATIENCE)
    connection.sock.connect(address)
    return connection


def http_call(
    transport: str,
    address: Any,
    document: bytes,
    method: str = "POST",
    path: str = "/RPC",
    headers: dict[str, str] | None = None,
) -> HttpReply:
    """One request over a connection of its own; the server's certificate is not checked."""
    connection = http_connection(transport, address)
    try:
        connection.request(method, path, document, headers or {})
        response = connection.getresponse()
        body = response.read()
        lower = {name.lower(): value for name, value in response.getheaders()}
        return HttpReply(response.status, response.reason, lower, body)
    finally:
        connection.close()
