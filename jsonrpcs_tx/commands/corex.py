"""The commands ``corex.*``: the log level, sockets and aliases."""

from typing import Any

from jsonrpcs_tx import log
from jsonrpcs_tx.commands.core import Server, internet_listeners, socket_protocol
from jsonrpcs_tx.rpc.binding import MISSING
from jsonrpcs_tx.rpc.faults import InvalidParams
from jsonrpcs_tx.rpc.registry import command


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
            raise InvalidParams(f"debug is {log.LEAST_DEBUG} to {log.MOST_DEBUG}")
        self._server.change(debug=level)
        return {"old": old, "new": level}

    @command("corex.list_sockets")
    def list_sockets(self) -> list[dict[str, Any]]:
        """Lists the network sockets that the server listens on."""
        return [
            {
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
            for listener in internet_listeners(self._server)
        ]

    @command("corex.list_aliases")
    def list_aliases(self) -> list[dict[str, Any]]:
        """Lists other names of the server; there are none."""
        return []
