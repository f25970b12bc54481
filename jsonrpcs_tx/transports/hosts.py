"""By which names a server may be called.

A web page can make a name of its own point to this server's address, and then call it as its own origin (DNS
rebinding). All that tells such a call apart is the name in the Host header.
"""

import socket
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from jsonrpcs_tx.addresses import is_address
from jsonrpcs_tx.transports.heads import host_name

MAX_KNOWN: Final = 1024
"""Host headers of which is remembered whether they fit."""

ANY: Final = "*"
"""The name that stands for all: then Host headers are not checked."""

_HOSTS_FILE: Final = "/etc/hosts"


class Hosts:
    """The names of a server: every IP address, localhost and what is below it, this machine's name with its aliases
    in /etc/hosts, and further ones.

    @param names: further ones, in any case; C{*.example.com} stands for all below example.com, L{ANY} for all.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names: set[str] = set()
        self._known = lru_cache(MAX_KNOWN)(self._decide)
        self.add(("localhost", "*.localhost", *machine_names(), *names))

    def add(self, names: Iterable[str]) -> None:
        """Add further names. None is ever taken away: what was the server's name is nobody else's."""
        self._names.update(name.lower().removesuffix(".") for name in names)
        self._known.cache_clear()

    def accepts(self, host: bytes) -> bool:
        """Whether the value of a Host header is a name to call the server by."""
        return self.owns(host) or (ANY in self._names and host_name(host) is not None)

    def owns(self, host: bytes) -> bool:
        """Whether the value of a Host header is known as a name of the server; L{ANY} does not count here."""
        return self._known(host) if len(host) <= 300 else False

    def _decide(self, host: bytes) -> bool:
        name = host_name(host)
        if name is None:
            return False
        parents = (name[place:] for place, character in enumerate(name) if character == ".")
        return is_address(name) or name in self._names or any("*" + parent in self._names for parent in parents)


def machine_names() -> set[str]:
    """The names of this machine: its host name, with and without the domain, and what /etc/hosts has beside it. No
    name server is asked.
    """
    host = socket.gethostname().lower()
    names = {host, host.partition(".")[0]} - {""}
    try:
        with open(_HOSTS_FILE, encoding="utf-8", errors="replace") as file:
            lines = [line.partition("#")[0].lower().split()[1:] for line in file]
    except OSError:
        lines = []
    return names.union(*(words for words in lines if host in words))
