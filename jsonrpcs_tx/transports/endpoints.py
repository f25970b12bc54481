"""Endpoint strings: what listening on one would open, determined without opening it."""

import os
import socket
from typing import Any, Final

from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    SSL4ServerEndpoint,
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    UNIXServerEndpoint,
    serverFromString,
)
from twisted.internet.protocol import Factory

from jsonrpcs_tx.addresses import is_address
from jsonrpcs_tx.config.kinds import PASSED, passed_name
from jsonrpcs_tx.config.problems import Problems
from jsonrpcs_tx.transports.inherited import HERE
from jsonrpcs_tx.transports.unixstreams import UnixFiles

_KNOWN: Final = (TCP4ServerEndpoint, TCP6ServerEndpoint, SSL4ServerEndpoint, UNIXServerEndpoint)
"""Endpoints that only ask the reactor to listen. What others do when they listen is unknown."""


def make_endpoint(setting: str, endpoint: str, reactor: Any) -> Any:
    """What listens on an endpoint: C{systemd:NAME}, a socket that systemd passes, or any string that Twisted knows.

    @param setting: where the endpoint comes from, for messages.
    @raise StartError: systemd has passed no listening socket of that name.
    @raise Exception: the string is not an endpoint; each kind of endpoint raises its own type.
    """
    name = passed_name(endpoint)
    if name is None:
        if endpoint.startswith(PASSED):  # in Twisted's way, which may name any
            HERE.unused.clear()
        return serverFromString(reactor, endpoint)
    with HERE.socket(setting, name, socket.SOCK_STREAM) as passed:
        return AdoptedStreamServerEndpoint(reactor, os.dup(passed.fileno()), passed.family)


def opened_by(setting: str, endpoint: str, reactor: Any, problems: Problems) -> tuple[str | None, str | None]:
    """Check an endpoint string.

    @param setting: where it comes from, for messages.
    @param endpoint: the string, without C{haproxy:}.
    @param reactor: the one that the endpoint is to listen with.
    @param problems: takes what is wrong with a Unix socket.
    @return: the IP address that would be listened on, empty for all, and the path of the file that would be made. None:
        there is none, or it is known only when listening.
    @raise Exception: the string is not an endpoint, or an address in it is not allowed; each kind of endpoint raises
        its own type.
    """
    if endpoint.startswith(PASSED):
        name = passed_name(endpoint)
        if name is not None:
            HERE.check(setting, name)
        return None, None
    recorder = _Recorder(reactor, problems)
    found = serverFromString(recorder, endpoint)
    if isinstance(found, _KNOWN):
        failures: list[Any] = []
        found.listen(Factory()).addErrback(failures.append)
        for failure in failures:
            failure.raiseException()
    return recorder.host, recorder.path


class _Recorder:
    """A reactor that opens nothing, and remembers what it was asked to listen on.

    @ivar host: the IP address; None: it was not asked for any.
    @ivar path: of the Unix socket; None: it was not asked for any.
    """

    host: str | None = None
    path: str | None = None

    def __init__(self, reactor: Any, problems: Problems) -> None:
        self._reactor = reactor
        self._problems = problems

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> None:
        if not 0 <= port <= 65535:
            raise ValueError("port must be 0-65535")
        if interface and not is_address(interface.partition("%")[0]):
            interface = str(socket.getaddrinfo(interface, port, type=socket.SOCK_STREAM)[0][4][0])
        self.host = interface

    def listenSSL(self, port: int, factory: object, context: object, backlog: int = 50, interface: str = "") -> None:
        self.listenTCP(port, factory, backlog, interface)

    def listenUNIX(
        self, address: str, factory: object, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> None:
        if isinstance(self._reactor, UnixFiles):
            self.path = self._reactor.check(address, mode, self._problems)
