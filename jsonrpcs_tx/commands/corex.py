"""The commands ``corex.*``: the log level, sockets and aliases."""

from typing import Any, Final

import attrs

from jsonrpcs_tx import log
from jsonrpcs_tx.commands.core import Server, internet_listeners, socket_family, socket_protocol
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.binding import MISSING
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.faults import InvalidParams
from jsonrpcs_tx.rpc.registry import command
from jsonrpcs_tx.state.memory import Memory, memory
from jsonrpcs_tx.transports.base import Listener

_log = make_logger(__name__)

_SELECTOR: Final = Error(400, "Selector and value not provided")


class Corex:
    def __init__(self, server: Server) -> None:
        self._server = server

    @command("corex.debug")
    def debug(self, level: int = MISSING) -> dict[str, int]:
        """Returns the log level, or sets it and returns the old and the new one."""
        old = log.debug()
        if level is MISSING:
            return {"debug": old}
        if not log.LEAST_DEBUG <= level <= log.MOST_DEBUG:
            raise InvalidParams(f"debug must be {log.LEAST_DEBUG} to {log.MOST_DEBUG}")
        self._server.change(debug=level)
        return {"old": old, "new": level}

    @command("corex.list_sockets", changes=False)
    def list_sockets(self) -> list[dict[str, Any]]:
        """Lists the network sockets that the server listens on."""
        show = _show_socket if self._server.compatibility.socket_families else _show_socket_briefly
        return [show(listener) for listener in internet_listeners(self._server)]

    @command("corex.shm_status")
    def shm_status(self) -> dict[str, Any]:
        """Writes the memory of the machine and of this process to the log."""
        _log.info("memory in bytes: {memory}", memory=_spelled(memory()))
        return {}

    @command("corex.shm_summary")
    def shm_summary(self) -> dict[str, Any]:
        """Does the same as corex.shm_status: there is no shared memory to list by module."""
        return self.shm_status()

    @command("corex.pkg_summary", usage=_SELECTOR)
    def pkg_summary(self, selector: str, value: int | str) -> dict[str, Any]:
        """Writes the memory of a process to the log; selector is pid, name, idx or rank."""
        for index, (pid, what) in enumerate(self._server.processes()):
            if value in {"pid": (pid,), "name": (what,)}.get(selector.lower(), (index,)):
                used = _spelled(memory(pid))
                _log.info("memory of process {pid} ({what}) in bytes: {memory}", pid=pid, what=what, memory=used)
        return {}

    @command("corex.list_aliases", changes=False)
    def list_aliases(self) -> list[dict[str, Any]]:
        """Lists other names of the server; there are none."""
        return []


def _spelled(memory: Memory) -> str:
    return ", ".join(f"{name} {value}" for name, value in attrs.asdict(memory).items())


def _show_socket_briefly(listener: Listener) -> dict[str, Any]:
    return {
        "PROTO": socket_protocol(listener),
        "NAME": listener.host,
        "ADDRLIST": {"ADDR": listener.host},
        "PORT": str(listener.port),
        "MCAST": "no",
        "MHOMED": "no",
        "VIRTUAL": "no",
        "SOCKNAME": "-",
        "ADVERTISE": "-",
    }


def _show_socket(listener: Listener) -> dict[str, Any]:
    protocol = socket_protocol(listener)
    host, bracketed = listener.host, f"[{listener.host}]" if ":" in listener.host else listener.host
    return {
        "af": socket_family(listener),
        "proto": protocol,
        "name": host,
        "addrlist": {"addr": host},
        "port": str(listener.port),
        "sockstr": f"{protocol}:{bracketed}:{listener.port}",
        "agname": "none",
        "mcast": "no",
        "mhomed": "no",
        "virtual": "no",
        "sockname": "-",
        "advertise": "-",
    }
