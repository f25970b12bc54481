"""For the tests of programs: a client that calls commands without a server, sockets, or a running reactor.

pytest finds the fixture L{jsonrpc_client} here with C{pytest_plugins = ["jsonrpcs_tx.testing"]}.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.client.core import read_reply, request
from jsonrpcs_tx.compose import makeService
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.interfaces import Reactor
from jsonrpcs_tx.rpc.dispatcher import Reply
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.origin import Origin, Peer
from jsonrpcs_tx.service import JsonRpcService

_AT_ONCE = ("fifo", "tcp", "udp", "unix")
"""Transports over which replies may not come later."""


class TestClient:
    """Calls commands as a client does, in JSON, through all that a request goes through except for the transport:
    rules, functions around calls, parameters, time limits and the words of a dialect.

    It calls as the program itself (C{exec}), unless L{called_by} names another caller. As a context manager, it cancels
    at the end what is still in progress.

    @param commands: functions, modules and objects with commands, as for L{jsonrpcs_tx.makeService}.
    @param service: a server whose commands are called, instead of one that is made here.
    @param clock: tells the time for time limits; default: a C{Clock}, which only L{clock} advances.
    @param transports: those of the program's own, see L{jsonrpcs_tx.makeService}.
    @param settings: of the server that is made, such as C{dialect="jsonrpc2"} and C{rule=["http user=ann allow *"]}.
    @ivar service: the server; it is not started.
    @ivar clock: tells the time; C{client.clock.advance(5)}. For a C{service}, it is the reactor that it was made
        with, such as a C{Clock}.
    """

    __test__ = False  # it is not a test, whatever its name

    def __init__(
        self,
        *commands: object,
        service: JsonRpcService | None = None,
        clock: Reactor | None = None,
        transports: Mapping[str, Sequence[str]] | None = None,
        **settings: Any,
    ) -> None:
        if service is None:
            reactor = Clock() if clock is None else clock
            service = makeService(Settings(**settings), reactor, commands, None, transports, site_authenticates=True)
        elif commands or settings or transports or clock is not None:
            raise TypeError("a service, and commands or settings; allowed: a service, or what to make one of")
        self.service = service
        self.clock: Any = service.reactor
        self._peer: Peer | None = None
        self._open: list[Deferred[Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def called_by(
        self, transport: str, *, port: int | None = None, pid: int | None = None, context: Any = None, **facts: Any
    ) -> "TestClient":
        """A client of the same server for another caller.

        @param transport: over which it calls: asynchronous commands need HTTP, HTTPS, or one of the program's own.
        @param port: its port.
        @param pid: its process.
        @param context: what commands find in C{call.context}.
        @param facts: what is known of it, see L{jsonrpcs_tx.Caller}, such as C{user="ann"}.
        @raise ValueError: there is no transport of that name.
        @raise TypeError: there is no such fact.
        """
        other = TestClient(service=self.service)
        other._peer = Peer(Caller(transport, **facts), port, pid, context=context)
        other._open = self._open
        other._origin()  # so that errors are raised now
        return other

    def call(self, method: str, /, *params: object, **named: object) -> Any:
        """Call a command that answers at once.

        @param params: its parameters by position, as JSON can express them.
        @param named: its parameters by name, in place of C{params}.
        @return: the result, as it comes out of JSON.
        @raise Fault: the command was answered with a fault.
        @raise RuntimeError: it has not answered, and has been cancelled; L{start} waits for it.
        @raise TypeError, ValueError: JSON cannot express a parameter, or there are parameters by position and by name.
        """
        return _outcome(self.raw(_document(method, params, named)))

    def start(self, method: str, /, *params: object, **named: object) -> Deferred[Any]:
        """Call a command that may answer later; see L{call}.

        @return: fires with the result, or fails with a L{Fault}. Cancelling it has the effect of a client that leaves.
        """
        return self._dispatch(_document(method, params, named)).addCallback(lambda reply: _outcome(reply.body))

    def raw(self, document: bytes | str) -> bytes:
        """Send a document as it is: a batch, a notification, or anything invalid.

        @return: the reply; empty where there is none.
        @raise RuntimeError: it has not been answered, and has been cancelled.
        """
        answer = self._dispatch(document.encode() if isinstance(document, str) else document)
        replies: list[Reply] = []
        answer.addCallback(replies.append)
        if not replies:
            answer.cancel()
            raise RuntimeError("it is still in progress; start() waits for it, client.clock.advance() lets time pass")
        return replies[0].body

    def close(self) -> None:
        """Cancel what is in progress, as if the clients had left."""
        while self._open:
            self._open.pop().cancel()

    def _dispatch(self, document: bytes) -> Deferred[Reply]:
        origin = self._origin()
        reply = self.service.dispatcher.dispatch(document, origin)
        answer: Deferred[Reply]
        if isinstance(reply, Deferred):
            answer = reply
            self._open.append(answer)
            answer.addBoth(self._over, answer)
        else:
            answer = Deferred()
            answer.callback(reply)
        return answer

    def _over(self, reply: Any, answer: Deferred[Reply]) -> Any:
        if answer in self._open:
            self._open.remove(answer)
        return reply

    def _origin(self) -> Origin:
        dispatcher = self.service.dispatcher
        peer = self._peer
        if peer is None:
            return dispatcher.origin("exec", asynchronous=True)
        caller = peer.caller
        return dispatcher.origin(
            caller.transport,
            caller.transport not in _AT_ONCE,
            id(self),
            find_peer=lambda: peer,
            address=caller.address,
            user=caller.user,
            tls_names=caller.tls_names,
            uid=caller.uid,
            gid=caller.gid,
        )


def _document(method: str, params: Sequence[object], named: Mapping[str, object]) -> bytes:
    if params and named:
        raise TypeError(f"call of {method}: parameters by position and by name; allowed: one of the two")
    return request(method, named or params, 1)


def _outcome(body: bytes) -> Any:
    outcome = read_reply(body).outcome
    if isinstance(outcome, Fault):
        raise outcome
    return outcome


try:
    import pytest
except ImportError:  # under trial alone
    pass
else:

    @pytest.fixture
    def jsonrpc_client() -> Iterator[Callable[..., TestClient]]:
        """A function that makes a L{TestClient}, with the same parameters. After the test, what is in progress is
        cancelled.
        """
        with ExitStack() as stack:
            yield lambda *commands, **options: stack.enter_context(TestClient(*commands, **options))
