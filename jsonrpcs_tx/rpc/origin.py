"""Where a document comes from."""

from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.control import NO_NODES
from jsonrpcs_tx.rpc.callee import Callee


def _stays() -> bool:
    return True


class Peer(msgspec.Struct, frozen=True):
    """The other end of a transport, with all that the transport knows of it.

    @ivar caller: what rules may ask for.
    @ivar port: the port that it sends from; None where it has none, or a proxy hides it.
    @ivar pid: the process at the other end of a Unix socket; None if unknown.
    @ivar connected: tells whether the client is still there. Over datagrams and the FIFO nothing says that it has left,
        so it counts as connected.
    @ivar context: anything that the program wants to tell its commands of the caller, such as its session.
    """

    caller: Caller
    port: int | None = None
    pid: int | None = None
    connected: Callable[[], bool] = _stays
    context: Any = None

    def __str__(self) -> str:
        """Where it is: its address, or the user and process at the other end of a Unix socket."""
        caller = self.caller
        if caller.address is not None:
            return caller.address
        facts = (("uid", caller.uid), ("gid", caller.gid), ("pid", self.pid))
        return " ".join(f"{name}={value}" for name, value in facts if value is not None) or "this machine"

    @property
    def source(self) -> str:
        """What limits count by: its address, or the user at the other end of a Unix socket, whatever its process."""
        caller = self.caller
        return caller.address or (caller.transport if caller.uid is None else f"uid={caller.uid}")

    def log_fields(self) -> dict[str, object]:
        """What is known of it, as fields of the log: those of L{Caller}, C{port} and C{pid}."""
        more = {"port": self.port, "pid": self.pid}
        return self.caller.log_fields() | {name: value for name, value in more.items() if value is not None}


class Origin(msgspec.Struct, frozen=True):
    """Where a document comes from.

    @ivar transport: its name, for messages and counters.
    @ivar asynchronous: the reply may come later; else an asynchronous command is refused.
    @ivar caller: who sends it, to be checked against the rules; None: everything may be called.
    @ivar client: who shares the limits for one client; None: there is no share, or only one of the transport.
    @ivar at_once: the reply may not come later for any reason: a batch is run whole, however long that takes.
    @ivar find_peer: finds out who sends it, when a command asks for that (L{jsonrpcs_tx.rpc.call.Call}). It describes
        the document that is being dispatched, so code that needs the answer later has to ask at once, see L{fixed}.
        None: only the transport is known.
    @ivar node: the name of the node that its requests are forwarded to; empty: they are for this server's own commands,
        or for many nodes.
    @ivar nodes: that name, and those of the groups that the node is in, for rules.
    @ivar callee: who runs the commands in place of this server; None: it does itself.
    @ivar deadline: it is part of a call in progress, which ends then, in seconds of the reactor: it has no time limit
        and no share of its own. None: it is a document by itself.
    """

    transport: str
    asynchronous: bool = False
    caller: Caller | None = None
    client: Hashable = None
    at_once: bool = False
    find_peer: Callable[[], Peer] | None = None
    node: str = ""
    nodes: frozenset[str] = NO_NODES
    callee: Callee | None = None
    deadline: float | None = None

    def __str__(self) -> str:
        """Who sends the document that is being dispatched, for the log."""
        return str(self.peer().caller)

    def log_fields(self) -> dict[str, object]:
        """The same as fields of the log, see L{Peer.log_fields}."""
        return self.peer().log_fields()

    def peer(self) -> Peer:
        """Who sends the document that is being dispatched."""
        if self.find_peer is not None:
            return self.find_peer()
        return Peer(Caller(self.transport) if self.caller is None else self.caller)

    def fixed(self) -> "Origin":
        """The same origin, which keeps describing this document while others are dispatched."""
        if self.find_peer is None:
            return self
        peer = self.find_peer()
        return msgspec.structs.replace(self, find_peer=lambda: peer)
