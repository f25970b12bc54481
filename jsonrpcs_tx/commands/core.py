"""The commands ``core.*``: facts of this process, and what can be done to it."""

import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import attrs
import msgspec
import OpenSSL
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

import twisted
from jsonrpcs_tx._version import __version__
from jsonrpcs_tx.catalogue.compatibility import Compatibility
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.rpc.binding import Text
from jsonrpcs_tx.rpc.faults import Fault, InvalidParams
from jsonrpcs_tx.rpc.registry import command
from jsonrpcs_tx.state.memory import memory
from jsonrpcs_tx.transports.base import Listener
from jsonrpcs_tx.transports.stream import StreamService
from jsonrpcs_tx.transports.unread import MAX_UNREAD, unsent_bytes

NAME = "jsonrpcs_tx"
KILL_DELAY = 0.1
"""Seconds from the reply of C{core.kill} to the signal, so that the reply goes out first."""

_UNITS = {"b": 0, "k": 10, "m": 20, "g": 30}


class Server(Protocol):
    """The facts of a server that these commands report; L{jsonrpcs_tx.service.JsonRpcService} has them.

    @ivar settings: its current settings.
    @ivar compatibility: the version of Kamailio that it answers like.
    @ivar reactor: the reactor that it runs in.
    @ivar started: when it was made, in seconds since 1970.
    """

    settings: Settings
    compatibility: Compatibility
    reactor: Any
    started: float

    def change(self, **values: Any) -> None:
        """Change live settings."""

    @property
    def families(self) -> list[str]:
        """The names of the families of commands that are loaded, in order."""

    def processes(self) -> list[tuple[int, str]]:
        """The ids of its processes, and what each does."""

    def listeners(self) -> list[Listener]:
        """The addresses that it listens on."""

    def streams(self) -> Iterable[StreamService]:
        """The services that take connections."""


class Core:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._reactor = server.reactor

    @command("core.version", stateless=True, changes=False)
    def version(self) -> str:
        """Returns the name and version of the server."""
        return f"{NAME} {__version__} ({platform.machine()}/{sys.platform})"

    @command("core.flags", stateless=True, changes=False)
    def flags(self) -> str:
        """Returns what the server was built with and runs on."""
        return _flags(self._reactor)

    @command("core.info", stateless=True, changes=False)
    def info(self) -> dict[str, str]:
        """Returns the version and how the server was built."""
        return {
            "version": f"{NAME} {__version__}",
            "id": "unknown",
            "compiler": _compiler(),
            "compiled": platform.python_build()[1],
            "flags": _flags(self._reactor),
        }

    @command("core.runinfo", changes=False)
    def runinfo(self) -> dict[str, Any]:
        """Returns the version and how long the server has been running."""
        seconds = self._uptime()
        hours, rest = divmod(seconds % 86400, 3600)
        return {
            "name": NAME,
            "version": __version__,
            "sourceid": "unknown",
            "compiler": _compiler(),
            "compiled": platform.python_build()[1],
            "time_now": time.ctime(),
            "time_started": time.ctime(self._server.started),
            "uptime_secs": seconds,
            "utime_days": f"{seconds // 86400}d {hours}h {rest // 60}m {rest % 60}s",
        }

    @command("core.uptime", changes=False)
    def uptime(self) -> dict[str, Any]:
        """Returns the time, when the server was started, and how many seconds ago that was."""
        return {"now": time.ctime(), "up_since": time.ctime(self._server.started), "uptime": self._uptime()}

    @command("core.ps", changes=False)
    def ps(self) -> list[Any]:
        """Lists the processes of the server, each as its process id and what it does."""
        return [field for pid, description in self._server.processes() for field in (pid, description)]

    @command("core.psx", changes=False)
    def psx(self) -> list[dict[str, Any]]:
        """Lists the processes of the server with their numbers."""
        return [
            {"IDX": number, "PID": pid, "DSC": description}
            for number, (pid, description) in enumerate(self._server.processes())
        ]

    @command("core.psa", changes=False)
    def psa(self) -> list[dict[str, Any]]:
        """Lists the processes of the server with their numbers, states and ranks."""
        return [
            {"index": number, "pid": pid, "status": 1, "rank": number, "description": description}
            for number, (pid, description) in enumerate(self._server.processes())
        ]

    @command("core.ppdefines", changes=False)
    def defines(self) -> list[str]:
        """Lists what a kamailio.cfg could test with ifdef: the version that is answered like, and what is loaded."""
        major, minor = self._server.compatibility.version.split(".")
        versions = [f"KAMAILIO_{major}", f"KAMAILIO_{major}_{minor}"]
        return [*versions, "JSONRPCS_TX", *(f"MOD_{name}" for name in self._server.families)]

    @command("core.ppdefines_full", changes=False)
    def defines_in_full(self) -> list[dict[str, Any]]:
        """Lists the same with types and values; they have none."""
        return [{"name": name, "type": 0, "value": "none"} for name in self.defines()]

    @command("core.pwd", changes=False)
    def pwd(self) -> list[str]:
        """Returns the working directory."""
        return [os.getcwd()]

    @command("core.arg", changes=False)
    def arg(self) -> list[str]:
        """Lists the arguments that the server was started with."""
        return list(sys.argv)

    @command("core.modules", changes=False)
    def modules(self) -> list[str]:
        """Lists the families of commands that are loaded, the last one first."""
        return [*reversed(self._server.settings.commands), *reversed(self._server.families)]

    @command("core.echo", stateless=True, changes=False)
    def echo(self, *strings: Text) -> list[str]:
        """Returns its parameters as strings."""
        return list(strings)

    @command("core.echo_delta", exec_delta=True, changes=False)
    def echo_delta(self, *strings: Text) -> list[str]:
        """Returns its parameters as strings, but not again within rpc_exec_delta seconds."""
        return list(strings)

    @command("core.prints", stateless=True, changes=False)
    def prints(self, *strings: str) -> list[str]:
        """Returns its parameters, which are strings."""
        return list(strings)

    @command("core.printi", stateless=True, changes=False)
    def printi(self, *numbers: int) -> list[int]:
        """Returns its parameters, which are integers."""
        return list(numbers)

    @command("core.sleep", changes=False)
    def sleep(self, seconds: float) -> Deferred[dict[str, float]]:
        """Returns after a number of seconds: an example of an asynchronous command, which needs HTTP or HTTPS."""
        if not 0 <= seconds <= 86400:
            raise InvalidParams("seconds must be 0 to 86400")
        return deferLater(self._reactor, seconds, lambda: {"slept": seconds})

    @command("core.kill")
    def kill(self, number: int = signal.SIGTERM) -> dict[str, Any]:
        """Sends a signal to the server, 15 (SIGTERM) if none is given; the reply comes first."""
        if number != 0 and number not in signal.valid_signals():
            raise InvalidParams("there is no such signal")
        self._reactor.callLater(KILL_DELAY, os.kill, os.getpid(), number)
        return {}

    @command("core.sfmalloc", changes=False, faults=[Fault(500, "Not Available")])
    def sfmalloc(self, size: int = 0) -> None:
        """Is refused: it concerns memory that Kamailio manages itself."""
        raise Fault(500, "Not Available: the C library manages the memory here; see core.shmmem and pkg.stats")

    @command("core.aliases_list", changes=False)
    def aliases_list(self) -> dict[str, Any]:
        """Lists other names of the server; there are none."""
        return {"myself_callbacks": "no", "aliases": []}

    @command("core.udp4_raw_info", changes=False)
    def udp4_raw_info(self) -> dict[str, int]:
        """Returns how raw sockets are used for UDP: not at all."""
        return {"udp4_raw": 0, "udp4_raw_mtu": 1500, "udp4_raw_ttl": -1}

    @command("core.shmmem", changes=False, faults=[Fault(500, "bad param, (use b|k|m|g)")])
    def shmmem(self, unit: str = "b") -> dict[str, int]:
        """Returns the memory of the machine and of this process, in b, k, m or g bytes."""
        if unit.lower() not in _UNITS:
            raise Fault(500, "bad param, (use b|k|m|g)")
        shift = _UNITS[unit.lower()]
        return {
            name: value if name == "fragments" else value >> shift for name, value in attrs.asdict(memory()).items()
        }

    @command("core.sockets_list", changes=False)
    def sockets_list(self) -> list[dict[str, dict[str, str]]]:
        """Lists the network sockets that the server listens on."""
        families = self._server.compatibility.socket_families
        return [
            {
                "socket": {
                    **({"af": socket_family(listener)} if families else {}),
                    "proto": socket_protocol(listener),
                    "address": listener.host,
                    "ipaddress": listener.host,
                    "port": str(listener.port),
                    **({"agname": "none"} if families else {}),
                    "mcast": "no",
                    "mhomed": "no",
                    "virtual": "no",
                }
            }
            for listener in internet_listeners(self._server)
        ]

    @command("core.tcp_info", changes=False)
    def tcp_info(self) -> dict[str, int]:
        """Returns how many connections are open, and how many there may be at each address."""
        most = self._most_connections()
        opened = [
            (stream.protocol, protocol) for stream in self._server.streams() for _, protocol in stream.connections
        ]
        return {
            "readers": 1,
            "max_connections": most,
            "max_tls_connections": most,
            "opened_connections": len(opened),
            "opened_tls_connections": sum(kind == "https" for kind, _ in opened),
            "write_queued_bytes": sum(unsent_bytes(protocol.transport) for _, protocol in opened),
        }

    @command("core.tcp_list", changes=False)
    def tcp_list(self) -> list[dict[str, Any]]:
        """Lists the open connections."""
        timeout = int(self._server.settings.http_timeout)
        listed = []
        for stream in self._server.streams():
            for number, protocol in stream.connections:
                peer, host = protocol.transport.getPeer(), protocol.transport.getHost()
                listed.append(
                    {
                        "id": number,
                        "type": "TLS" if stream.protocol == "https" else "TCP",
                        "state": "CONN_CLOSING" if protocol.transport.disconnecting else "CONN_OK",
                        "timeout": timeout,
                        "lifetime": timeout,
                        "ref_count": 1,
                        "src_ip": getattr(peer, "host", ""),
                        "src_port": getattr(peer, "port", 0),
                        "dst_ip": getattr(host, "host", ""),
                        "dst_port": getattr(host, "port", 0),
                    }
                )
        return listed

    @command("core.tcp_options", changes=False)
    def tcp_options(self) -> dict[str, int]:
        """Returns how connections are handled, in Kamailio's terms; the server opens none itself."""
        most = self._most_connections()
        timeout = int(self._server.settings.http_timeout)
        return {
            "connect_timeout": 0,
            "send_timeout": timeout,
            "connection_lifetime": timeout,
            "max_connections(soft)": most,
            "max_tls_connections(soft)": most,
            "no_connect": 1,
            "fd_cache": 0,
            "async": 1,
            "connect_wait": 0,
            "conn_wq_max": 0,
            "wq_max": MAX_UNREAD,
            "defer_accept": 0,
            "delayed_ack": 1,
            "syncnt": 0,
            "linger2": 0,
            "keepalive": 0,
            "keepidle": 0,
            "keepintvl": 0,
            "keepcnt": 0,
            "crlf_ping": 0,
            "accept_aliases": 0,
            "alias_flags": 0,
            "new_conn_alias_flags": 0,
        }

    def _most_connections(self) -> int:
        """How many connections may be open at each address; the process may have too few descriptors for so many."""
        return min(self._server.settings.max_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    def _uptime(self) -> int:
        return max(0, int(time.time() - self._server.started))


def internet_listeners(server: Server) -> Iterator[Listener]:
    """Those that have an IP address and a port."""
    return (listener for listener in server.listeners() if listener.port is not None)


def socket_protocol(listener: Listener) -> str:
    """Kamailio's word for the protocol below HTTP."""
    return {"http": "tcp", "https": "tls"}.get(listener.protocol, listener.protocol)


def socket_family(listener: Listener) -> str:
    """Kamailio's word for the address family."""
    return "IPv6" if ":" in listener.host else "IPv4"


def _compiler() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}"


def _flags(reactor: object) -> str:
    parts = [
        f"TWISTED {twisted.__version__}",
        f"MSGSPEC {msgspec.__version__}",
        f"PYOPENSSL {OpenSSL.__version__}",
        OpenSSL.SSL.SSLeay_version(OpenSSL.SSL.SSLEAY_VERSION).decode(),
        type(reactor).__name__,
    ]
    return ", ".join(parts)
