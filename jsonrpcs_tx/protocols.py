"""The transports by name, and what the rest of the package needs to know of each: one table."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

ADDRESS: Final = "a network"
"""The fact that a caller's IP address is known, in the words of messages about rules."""


@attrs.frozen
class Protocol:
    """One transport.

    @ivar name: as rules, the log and the groups of counters have it.
    @ivar module: the one in C{transports/} whose C{make_transports} makes its services from
        L{jsonrpcs_tx.transports.parts.Parts}; empty: there are none.
    @ivar bit: its value in the setting C{transport}; 0: it cannot be turned off.
    @ivar facts: what it may know of a caller: some of L{ADDRESS}, C{user}, C{tls}, C{uid} and C{gid}.
    @ivar stores: replies may be stored to files, see L{jsonrpcs_tx.rpc.replystore}.
    @ivar connectionless: whoever sends a request names the place of the reply, which may be anybody's.
    """

    name: str
    module: str = ""
    bit: int = 0
    facts: tuple[str, ...] = ()
    stores: bool = False
    connectionless: bool = False


_TABLE: Final = (
    Protocol("exec"),
    Protocol("unix", "datagram", bit=4, facts=("uid", "gid"), stores=True, connectionless=True),
    Protocol("udp", "datagram", bit=4, facts=(ADDRESS,), stores=True, connectionless=True),
    Protocol("fifo", "fifo", bit=2, stores=True, connectionless=True),
    Protocol("http", "http", bit=1, facts=(ADDRESS, "user", "uid", "gid")),  # uid and gid on a Unix socket
    Protocol("https", "https", bit=1, facts=(ADDRESS, "user", "tls", "uid", "gid")),
    Protocol("tcp", "tcp", bit=8, facts=(ADDRESS,), stores=True),
)

PROTOCOLS: Final[Mapping[str, Protocol]] = MappingProxyType({protocol.name: protocol for protocol in _TABLE})
"""All of them by name, in the order in which they are started. C{exec} is the program that the server runs in. Programs
may add transports of their own.
"""

ALL_BITS: Final = sum({protocol.bit for protocol in _TABLE})
"""The value of the setting C{transport} that enables all."""

STORING: Final = frozenset(protocol.name for protocol in _TABLE if protocol.stores)
CONNECTIONLESS: Final = frozenset(protocol.name for protocol in _TABLE if protocol.connectionless)


def knowing(fact: str) -> tuple[str, ...]:
    """The transports that may know a fact of a caller."""
    return tuple(sorted(protocol.name for protocol in _TABLE if fact in protocol.facts))
