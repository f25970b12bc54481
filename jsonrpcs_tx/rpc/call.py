"""One call of a command: who calls, what, and its deadline; and the call that is in progress."""

from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, ParamSpec, TypeVar

from msgspec import UNSET

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.rpc.envelope import Request, params_of
from jsonrpcs_tx.rpc.origin import Origin

_P = ParamSpec("_P")
_T = TypeVar("_T")

CURRENT: Final[ContextVar["Call | None"]] = ContextVar("jsonrpcs_tx.call", default=None)
"""The call in whose context code runs. Plain commands are run without it, see L{jsonrpcs_tx.rpc.current}."""


class Call:
    """One call of a command. A command gets it in a parameter that is annotated with this class, wherever that stands
    in its signature; clients neither see the parameter nor give it. C{Call | None = None} lets a program call the
    command as an ordinary function.

    Code that the command calls finds it with L{jsonrpcs_tx.current_call}.

    @param origin: of the document that is being dispatched.
    @ivar deadline: when the command is cancelled, in seconds of the reactor (C{reactor.seconds()}); None for a command
        that answers at once, which nothing can stop.
    @ivar is_over: for the server's own use: it has been answered, and what goes on is no longer part of it.
    """

    __slots__ = ("__weakref__", "_origin", "_peer", "_request", "deadline", "is_over")

    def __init__(self, request: Request, origin: Origin) -> None:
        self._request = request
        self._origin = origin
        self._peer = origin.peer()
        self.deadline: float | None = origin.deadline
        self.is_over: bool = False

    @property
    def request(self) -> Request:
        """For the server's own use: the request."""
        return self._request

    @property
    def origin(self) -> Origin:
        """For the server's own use: where it comes from."""
        return self._origin

    @property
    def method(self) -> str:
        """The name that the client has called."""
        return self._request.method

    @property
    def params(self) -> list[Any] | dict[str, Any]:
        """The parameters as the client has sent them; an empty list without any. Not to be changed."""
        return params_of(self._request)

    @property
    def id(self) -> Any:
        """The request's id: a string or a number (or, in dialect C{kamailio}, anything that is no structure); None
        without one.
        """
        return None if self.is_notification else self._request.id

    @property
    def is_notification(self) -> bool:
        """Whether the request has no id. Dialect C{kamailio} answers it nevertheless."""
        return self._request.id is UNSET

    @property
    def caller(self) -> Caller:
        """What rules may ask for, in one value: C{str(call.caller)} is what the log says of a caller."""
        return self._peer.caller

    @property
    def transport(self) -> str:
        """C{http}, C{https}, C{tcp}, C{udp}, C{unix}, C{fifo}, C{exec} (the program itself), or one that it added."""
        return self._origin.transport

    @property
    def address(self) -> str | None:
        """The client's IP address; None over a Unix socket, the FIFO and from the program itself."""
        return self._peer.caller.address

    @property
    def port(self) -> int | None:
        """The client's port; None where there is none, or where a proxy hides it."""
        return self._peer.port

    @property
    def user(self) -> str | None:
        """The user that has authenticated over HTTP or HTTPS; None without authentication."""
        return self._peer.caller.user

    @property
    def tls_names(self) -> tuple[str, ...]:
        """The names in the client's certificate, which was verified; empty without one."""
        return self._peer.caller.tls_names

    @property
    def uid(self) -> int | None:
        """The user at the other end of a Unix socket; None over other transports."""
        return self._peer.caller.uid

    @property
    def gid(self) -> int | None:
        """The group of the process at the other end of a Unix socket."""
        return self._peer.caller.gid

    @property
    def pid(self) -> int | None:
        """The process at the other end of a Unix socket: the one that connected, or that sent the datagram. Another
        process may have its number by now.
        """
        return self._peer.pid

    @property
    def context(self) -> Any:
        """What the program has given its commands along with the caller, to L{jsonrpcs_tx.Dispatcher.origin} or
        L{jsonrpcs_tx.JsonRpcResource.for_user}: its session, for example; None by default.
        """
        return self._peer.context

    @property
    def connected(self) -> bool:
        """Whether the client is still there, as far as the server knows: False once its connection is closed. Over
        datagrams, the FIFO and from the program itself it is always True.
        """
        return self._peer.connected()

    def __repr__(self) -> str:
        return f"<Call {self.method!r:.100} of {self.caller}>"


def context_of(call: Call) -> Context:
    """A copy of the current context in which a call is the current one."""
    context = copy_context()
    context.run(CURRENT.set, call)
    return context


def run_in(call: Call | None, function: Callable[_P, _T], *arguments: _P.args, **keywords: _P.kwargs) -> _T:
    """Run a function with a call as the current one; None: without one."""
    token = CURRENT.set(call)
    try:
        return function(*arguments, **keywords)
    finally:
        CURRENT.reset(token)
