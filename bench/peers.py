"""The servers that are measured: this one, Kamailio, Twisted without JSON, a bare socket loop, and Python peers."""

import contextlib
import json
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from bench.processes import Process
from jsonrpcs_tx.client.errors import ClientError
from tests.support import ECHO, call, http_call, twistd

OURS = "jsonrpcs_tx"
KAMAILIO = "kamailio"
LARGE = "x" * 50_000
SERVERS = Path(__file__).resolve().parent / "servers"

KAMAILIO_MODULES = "/usr/lib/x86_64-linux-gnu/kamailio/modules/"


def request(method: str, *params: Any) -> bytes:
    document = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
    return json.dumps(document, separators=(",", ":")).encode()


@attrs.frozen
class Kind:
    """A kind of call, and how its first reply is checked; later ones must be the same.

    @ivar document: the request for a server.
    @ivar right: whether a decoded reply is right.
    @ivar peers: those that can answer it; None: all.
    @ivar transports: those over which it is sent; None: all.
    """

    name: str
    document: Callable[[str], bytes]
    right: Callable[[Any], bool]
    peers: tuple[str, ...] | None = None
    transports: tuple[str, ...] | None = None


KINDS = (
    Kind("echo", lambda peer: ECHO, lambda reply: reply.get("result", reply.get("params")) == ["x", 1]),
    Kind(
        "500 bytes",
        lambda peer: request("core.psx" if peer == KAMAILIO else "bench.psx"),
        lambda reply: isinstance(reply["result"][0]["PID"], int),
        (OURS, KAMAILIO),
    ),
    Kind(
        "50 kB",
        lambda peer: request("core.prints", LARGE),
        lambda reply: reply["result"] == [LARGE],
        (OURS, KAMAILIO),
        ("unix", "udp4", "http", "https"),  # Kamailio accepts 8 kB over its FIFO
    ),
    Kind("error", lambda peer: request("no.such"), lambda reply: reply["error"]["code"] == 500, (OURS, KAMAILIO)),
    Kind(
        "asynchronous",
        lambda peer: request("bench.later"),
        lambda reply: reply["result"] == ["later"],
        (OURS,),
        ("http", "https"),
    ),
)


@attrs.frozen
class Target:
    """A transport of a server that is up.

    @ivar peer: whose it is.
    @ivar address: as tests.support.call takes it.
    @ivar path: of the URL.
    """

    peer: str
    transport: str
    address: Any
    process: Process
    path: str = "/RPC"

    @property
    def url(self) -> str:
        host, port = self.address
        return f"{self.transport}://{host}:{port}{self.path}"


def free_port() -> int:
    """A port that nobody listens on, neither over TCP nor UDP."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                udp.bind(tcp.getsockname())
                return int(tcp.getsockname()[1])


def answers(transport: str, address: Any, directory: Path, path: str = "/RPC") -> bool:
    """Whether a server answers an echo."""
    try:
        if transport in ("http", "https"):
            reply = http_call(transport, address, ECHO, path=path, headers={"Content-Type": "application/json"}).body
        else:
            reply = call(transport, address, ECHO, directory)
    except (OSError, ClientError):
        return False
    return bool(reply)


def start_ours(directory: Path, *arguments: str, name: str = OURS) -> list[Target]:
    """Our server on all transports, as an operator starts it."""
    udp, http, https = free_port(), free_port(), free_port()
    unix, fifo = str(directory / f"{name}.sock"), str(directory / f"{name}.fifo")
    addresses = {
        "unix": unix,
        "udp4": ("127.0.0.1", udp),
        "fifo": fifo,
        "http": ("127.0.0.1", http),
        "https": ("127.0.0.1", https),
    }
    argv = [
        *(twistd(), "-n", f"--pidfile={directory / name}.pid", "jsonrpcs", "--transport=7", "--debug=0"),
        *(f"--dgram-socket={unix}", f"--dgram-socket=udp:127.0.0.1:{udp}"),
        *(f"--fifo-name={fifo}", f"--fifo-reply-dir={directory}", f"--run-dir={directory}", "--tls-self-signed"),
        *(f"--http-listen=tcp:{http}:interface=127.0.0.1", f"--https-listen=tcp:{https}:interface=127.0.0.1"),
        *("--commands=bench.commands", *arguments),
    ]
    process = Process(name, argv, directory, lambda: answers("https", addresses["https"], directory))
    return [Target(OURS, transport, address, process) for transport, address in addresses.items()]


def start_kamailio(directory: Path, pem: Path) -> list[Target]:
    """Kamailio with all its transports; a second one for UDP, since it opens one datagram socket only."""
    targets: list[Target] = []
    for kind in ("unix", "udp4"):
        home = directory / f"{KAMAILIO}_{kind}"
        home.mkdir()
        http, https, udp = free_port(), free_port(), free_port()
        unix, fifo = str(home / "rpc.sock"), str(home / "rpc.fifo")
        dgram: Any = unix if kind == "unix" else ("127.0.0.1", udp)
        modules = ["kex", "corex", "tm", "sl", "pv", "tls", "xhttp", "jsonrpcs"]
        lines = [
            "#!KAMAILIO",
            "debug=-1",
            "log_stderror=yes",
            "children=2",
            "tcp_children=1",  # with more it dies in TLS
            "enable_tls=yes",
            "auto_aliases=no",
            "tcp_accept_no_cl=yes",
            "tcp_rd_buf_size=131072",
            f"listen=tcp:127.0.0.1:{http}",
            f"listen=tls:127.0.0.1:{https}",
            f"listen=udp:127.0.0.1:{free_port()}",  # for two processes more, as a SIP server has them
            f'mpath="{KAMAILIO_MODULES}"',
            *(f'loadmodule "{module}.so"' for module in modules),
            'modparam("tls", "tls_method", "TLSv1.2+")',
            f'modparam("tls", "certificate", "{pem}")',
            f'modparam("tls", "private_key", "{pem}")',
            'modparam("jsonrpcs", "transport", 7)',
            'modparam("jsonrpcs", "pretty_format", 0)',
            f'modparam("jsonrpcs", "fifo_name", "{fifo}")',
            f'modparam("jsonrpcs", "fifo_reply_dir", "{directory}/")',
            f'modparam("jsonrpcs", "dgram_socket", "{unix if kind == "unix" else f"udp:127.0.0.1:{udp}"}")',
            "request_route { exit; }",
            "event_route[xhttp:request] { jsonrpc_dispatch(); }",
        ]
        config = home / "kamailio.cfg"
        config.write_text("\n".join(lines) + "\n")
        argv = ["kamailio", "-DD", "-E", "-f", str(config), "-P", str(home / "pid"), "-Y", str(home)]
        process = Process(home.name, argv, home, partial(answers, kind, dgram, directory))
        targets.append(Target(KAMAILIO, kind, dgram, process))
        if kind == "unix":
            targets.append(Target(KAMAILIO, "fifo", fifo, process))
            targets.append(Target(KAMAILIO, "http", ("127.0.0.1", http), process))
            targets.append(Target(KAMAILIO, "https", ("127.0.0.1", https), process))
    return targets


def start_twisted(directory: Path, pem: Path) -> list[Target]:
    """Twisted's own protocols and resource, without JSON."""
    udp, http, https = free_port(), free_port(), free_port()
    addresses: dict[str, Any] = {
        "udp4": ("127.0.0.1", udp),
        "unix": str(directory / "twisted.sock"),
        "http": ("127.0.0.1", http),
        "https": ("127.0.0.1", https),
    }
    argv = [sys.executable, str(SERVERS / "twisted_echo.py")]
    argv += [str(udp), addresses["unix"], str(http), str(https), str(pem)]
    process = Process("twisted", argv, directory, lambda: answers("https", addresses["https"], directory))
    return [Target("twisted", transport, address, process) for transport, address in addresses.items()]


def start_socket_loops(directory: Path) -> list[Target]:
    """The lower bound: what receiving and sending cost in Python."""
    targets = []
    for transport, address in (("unix", str(directory / "loop.sock")), ("udp4", ("127.0.0.1", free_port()))):
        argument = address if isinstance(address, str) else str(address[1])
        argv = [sys.executable, str(SERVERS / "socket_loop.py"), argument]
        process = Process(f"loop_{transport}", argv, directory, partial(answers, transport, address, directory))
        targets.append(Target("socket loop", transport, address, process))
    return targets


def start_python_peers(directory: Path) -> list[Target]:
    """Other JSON-RPC servers in Python, over HTTP, as their documentation starts them."""
    targets = []
    for name, module, path in (
        ("txjsonrpc-ng", "txjsonrpc_site.py", "/"),
        ("pjrpc on aiohttp", "pjrpc_aiohttp.py", "/RPC"),
        ("jsonrpclib-pelix", "pelix_pool.py", "/"),
    ):
        address = ("127.0.0.1", free_port())
        argv = [sys.executable, str(SERVERS / module), str(address[1])]
        process = Process(module, argv, directory, partial(answers, "http", address, directory, path))
        targets.append(Target(name, "http", address, process, path))
    return targets


@contextlib.contextmanager
def all_up(directory: Path) -> Iterator[list[Target]]:
    """All servers at once; a peer that is not installed is left out, with a message."""
    targets = start_ours(directory)
    pem = directory / "tls.pem"
    try:
        if shutil.which("kamailio"):
            targets += start_kamailio(directory, pem)
        else:
            print("kamailio is not installed (apt-get install kamailio kamailio-tls-modules): left out")
        targets += start_twisted(directory, pem)
        targets += start_socket_loops(directory)
        try:
            targets += start_python_peers(directory)
        except RuntimeError as error:
            print(f"Python peers are left out (pip install -e '.[bench]'): {error}")
        yield targets
    finally:
        for process in dict.fromkeys(target.process for target in targets):
            process.stop()
