"""The names by which a server may be called.

A web page can have a name of its own resolve to this server's address, and then call the server as its own origin (DNS
rebinding). Only the name in the Host header gives such a call away.
"""

import socket
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from jsonrpcs_tx.addresses import is_address
from jsonrpcs_tx.web.heads import host_name

MAX_KNOWN: Final = 1024
"""Size of the cache of Host headers."""

ANY: Final = "*"
"""The name that stands for all names: Host headers are only checked for their form."""

_HOSTS_FILE: Final = "/etc/hosts"


class Hosts:
    """The names of a server: every IP address, localhost and names below it, this machine's name with its aliases in
    /etc/hosts, and further ones.

    @param names: the further ones, in any case; C{*.example.com} stands for all names below example.com, L{ANY} for
        all names.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names: set[str] = set()
        self._known = lru_cache(MAX_KNOWN)(self._decide)
        self.add(("localhost", "*.localhost", *machine_names(), *names))

    def add(self, names: Iterable[str]) -> None:
        """Add further names. Names are never removed: a former name of the server does not become anyone else's."""
        self._names.update(name.lower().removesuffix(".") for name in names)
        self._known.cache_clear()

    def accepts(self, host: bytes) -> bool:
        """Whether the value of a Host header is a name by which the server may be called."""
        return self.owns(host) or (ANY in self._names and host_name(host) is not None)

    def owns(self, host: bytes) -> bool:
        """Whether the value of a Host header is one of the server's own names, not counting L{ANY}."""
        return self._known(host) if len(host) <= 300 else False

    def _decide(self, host: bytes) -> bool:
        name = host_name(host)
        if name is None:
            return False
        parents = (name[place:] for place, character in enumerate(name) if character == ".")
        return is_address(name) or name in self._names or any("*" + parent in self._names for parent in parents)


def machine_names() -> set[str]:
    """The names of this machine: its host name, with and without the domain, and its aliases in /etc/hosts. Name
    servers are not asked.
    """
    host = socket.gethostname().lower()
    names = {host, host.partition(".")[0]} - {""}
    try:
        with open(_HOSTS_FILE, encoding="utf-8", errors="replace") as file:
            lines = [line.partition("#")[0].lower().split()[1:] for line in file]
    except OSError:
        lines = []
    return names.union(*(words for words in lines if host in words))
