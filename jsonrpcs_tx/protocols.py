"""The transports by name, and what the rest of the package needs to know of each: one table."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import attrs

FACTS: Final[Mapping[str, str]] = MappingProxyType(
    {"address": "a network", "user": "user", "tls": "tls", "uid": "uid", "gid": "gid"}
)
"""What a transport may know of a caller, with its name in messages about rules."""

_OWN_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}", re.ASCII)
_RESERVED: Final = ("allow", "any", "deny")


@attrs.frozen
class Protocol:
    """One transport.

    @ivar name: as rules, the log and the groups of counters have it.
    @ivar module: the one of the package whose C{make_transports} makes its services from
        L{jsonrpcs_tx.transports.parts.Parts}; empty: there are none.
    @ivar bit: its value in the setting C{transport}; 0: it cannot be turned off.
    @ivar facts: what it may know of a caller: some of L{FACTS}.
    @ivar stores: replies may be stored to files, see L{jsonrpcs_tx.rpc.replystore}.
    @ivar connectionless: the sender of a request names the destination of the reply, which may belong to anybody.
    """

    name: str
    module: str = ""
    bit: int = 0
    facts: tuple[str, ...] = ()
    stores: bool = False
    connectionless: bool = False


_TABLE: Final = (
    Protocol("exec"),
    Protocol("unix", "datagrams.datagram", bit=4, facts=("uid", "gid"), stores=True, connectionless=True),
    Protocol("udp", "datagrams.datagram", bit=4, facts=("address",), stores=True, connectionless=True),
    Protocol("fifo", "transports.fifo", bit=2, stores=True, connectionless=True),
    Protocol("http", "transports.http", bit=1, facts=("address", "user", "uid", "gid")),  # uid and gid on a Unix socket
    Protocol("https", "transports.https", bit=1, facts=("address", "user", "tls", "uid", "gid")),
    Protocol("tcp", "transports.tcp", bit=8, facts=("address",), stores=True),
)

PROTOCOLS: Final[Mapping[str, Protocol]] = MappingProxyType({protocol.name: protocol for protocol in _TABLE})
"""All of them by name, in the order in which they are started. C{exec} is the program that the server runs in. Programs
may add transports of their own.
"""

ALL_BITS: Final = sum({protocol.bit for protocol in _TABLE})
"""The value of the setting C{transport} that enables all."""

STORING: Final = frozenset(protocol.name for protocol in _TABLE if protocol.stores)
CONNECTIONLESS: Final = frozenset(protocol.name for protocol in _TABLE if protocol.connectionless)


def knowing(fact: str, known: Mapping[str, Protocol] = PROTOCOLS) -> tuple[str, ...]:
    """The transports that may know a fact of a caller."""
    return tuple(sorted(protocol.name for protocol in known.values() if fact in protocol.facts))


def with_own(own: Mapping[str, Sequence[str]], known: Mapping[str, Protocol] = PROTOCOLS) -> Mapping[str, Protocol]:
    """The transports with a program's own.

    @param own: the facts that each may know of a caller, by its name.
    @raise ValueError: a name is taken or not allowed, or a fact is not known.
    """
    for name, facts in own.items():
        if name in known:
            raise ValueError(f"transport {name}: there is one of that name already")
        if not isinstance(name, str) or not _OWN_NAME.fullmatch(name) or name in _RESERVED:
            raise ValueError(
                f"transport {name!r:.50}: must be a letter, then up to 31 letters, digits, '-' and '_', "
                f"but not {', '.join(_RESERVED)}"
            )
        if isinstance(facts, str) or not all(fact in FACTS for fact in facts):
            raise ValueError(f"transport {name}: facts {facts!r:.100}; allowed: a list of {', '.join(FACTS)}")
    return MappingProxyType({**known, **{name: Protocol(name, facts=tuple(facts)) for name, facts in own.items()}})


def own_of(known: Mapping[str, Protocol]) -> dict[str, tuple[str, ...]]:
    """The transports of a program among all, as L{with_own} takes them."""
    return {name: protocol.facts for name, protocol in known.items() if name not in PROTOCOLS}
