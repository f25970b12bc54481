"""Finds servers on this machine: the sockets and FIFOs at Kamailio's usual places, and those that a kamailio.cfg
names.
"""

import os
import re
import stat

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jsonrpcs_tx.cli.configuration import Configuration

SOCKET = "kamailio_rpc.sock"
FIFO = "kamailio_rpc.fifo"
"""Kamailio's default names."""

KAMAILIO_RUN_DIR = "/var/run/kamailio"
"""Kamailio's default for C{run_dir}."""

_IP = re.compile("(udp|tcp)[46]?:")


class FoundServer:
    """A server that was found.

    @ivar target: all its addresses, as text.
    @ivar options: the options of the target.
    @ivar origin: where it was found, for messages.
    """

    __slots__ = ("options", "origin", "target")

    def __init__(self, ways: list[str], origin: str, options: dict[str, str]) -> None:
        self.target = ",".join(ways)
        self.origin = origin
        self.options = options


def servers(configuration: "Configuration") -> list[FoundServer]:
    """All servers that are found, each once."""
    found: list[FoundServer] = []
    seen: set[str] = set()
    for server in (*_named_by_kamailio(configuration), *_usual(configuration)):
        ways = set(server.target.split(","))
        if seen.isdisjoint(ways):
            found.append(server)
        seen |= ways
    return found


def first_servers(configuration: "Configuration") -> list[FoundServer]:
    """The servers at the usual places, or if there are none, those that a kamailio.cfg names. Reading that takes longer
    than a call.
    """
    return list(_usual(configuration)) or list(_named_by_kamailio(configuration))


def looked_at(configuration: "Configuration") -> list[str]:
    """The directories and files that are searched for servers."""
    return [*configuration.run_dirs, *configuration.kamailio_cfgs]


def _usual(configuration: "Configuration") -> "Iterator[FoundServer]":
    for directory in configuration.run_dirs:
        ways = _existing([f"{directory}/{SOCKET}"], [f"{directory}/{FIFO}"])
        if ways:
            yield FoundServer(ways, directory, {})


def _named_by_kamailio(configuration: "Configuration") -> "Iterator[FoundServer]":
    for path in configuration.kamailio_cfgs:
        if not os.path.exists(path):
            continue
        values = _modparams(path)
        sockets = values.get("dgram_socket", [])
        over_ip = [value for value in (*sockets, *values.get("tcp_socket", [])) if _IP.match(value)]
        run_dir = values.get("run_dir", [KAMAILIO_RUN_DIR])[-1]
        fifos = values.get("fifo_name", [])
        ways = _existing(*([os.path.join(run_dir, name) for name in names] for names in (sockets, fifos)))
        reply_dirs = values.get("fifo_reply_dir", []) if ways else []
        ways += [_IP.sub(r"\1:", value).replace(":0.0.0.0:", ":127.0.0.1:") for value in over_ip]
        if ways:
            yield FoundServer(ways, path, {"reply_dir": reply_dirs[-1]} if reply_dirs else {})


def _existing(sockets: list[str], fifos: list[str]) -> list[str]:
    """The targets of the paths at which there is a socket or a FIFO."""
    return [
        f"{scheme}:{os.path.realpath(path)}"
        for scheme, kind, paths in (("unix", stat.S_ISSOCK, sockets), ("fifo", stat.S_ISFIFO, fifos))
        for path in paths
        if "," not in path and _is(kind, path)
    ]


def _is(kind: "Callable[[int], bool]", path: str) -> bool:
    try:
        return kind(os.stat(path).st_mode)
    except OSError:
        return False


def _modparams(path: str) -> dict[str, list[str]]:
    """The parameters of jsonrpcs and C{run_dir} in a kamailio.cfg, as text; empty if it cannot be read."""
    from jsonrpcs_tx.config.kamailiocfg import CORE, read

    found = read(path, note=lambda problem: None)  # Kamailio reports its errors itself
    values: dict[str, list[str]] = {}
    for one in (*found.get(CORE, ()), *found.get("jsonrpcs", ())):
        values.setdefault(one.name, []).append(str(one.value))
    return values
