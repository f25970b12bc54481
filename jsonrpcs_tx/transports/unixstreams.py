"""Unix sockets that connections are taken on: files with a mode and an owner, and no file of anyone else."""

import os
import re
from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet import tcp, unix
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure

from jsonrpcs_tx.transports.files import Access, OwnFile, bind_unix

_UNIX: Final = re.compile(r"(haproxy:)?unix:")
_MODE: Final = re.compile(r"(?<!\\):mode=")


class UnixPort(unix.Port):
    """Listens on a Unix socket, in the place of one that no process listens on any more.

    @param setting: that the path comes from, for messages.
    @param access: who may use the file.
    """

    _file: OwnFile | None = None

    def __init__(
        self, setting: str, path: str, factory: IProtocolFactory, backlog: int, access: Access, reactor: Any
    ) -> None:
        super().__init__(os.fsencode(path), factory, backlog, reactor=reactor)
        self._setting = setting
        self._path = path
        self._access = access

    def startListening(self) -> None:
        """Make the socket, and accept connections.

        @raise jsonrpcs_tx.errors.StartError: it cannot be made, see L{bind_unix}.
        """
        tcp._reservedFD.reserve()
        sock = self.createInternetSocket()
        try:
            self._file = bind_unix(self._setting, self._path, sock, self._access)
        except BaseException:
            sock.close()
            raise
        self.factory.doStart()  # type: ignore[union-attr] # it has one
        sock.listen(self.backlog)
        self.connected = True
        self.socket = sock
        self.fileno = sock.fileno  # type: ignore[method-assign] # as Port itself does
        self.numberAccepts = 100
        self.startReading()

    def getHost(self) -> UNIXAddress:
        """The whole path, even if the socket was bound by a shorter one."""
        return UNIXAddress(os.fsencode(self._path))

    def connectionLost(self, reason: Failure) -> None:
        """The socket is closed: remove the file, if it is still this one's."""
        if self._file is not None:
            self._file.remove()
            self._file = None
        tcp.Port.connectionLost(self, reason)


class UnixFiles:
    """A reactor that makes the files of Unix sockets as the settings say; all else is that of the reactor below.

    @param setting: that the endpoint comes from, for messages.
    @param path: makes a path absolute.
    @param access: who may use the file.
    @param own_mode: the endpoint says itself what mode the file has.
    """

    def __init__(self, reactor: Any, setting: str, path: Callable[[str], str], access: Access, own_mode: bool) -> None:
        self._reactor = reactor
        self._setting = setting
        self._path = path
        self._access = access
        self._own_mode = own_mode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenUNIX(
        self, address: str, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> UnixPort:
        """Listen, as the reactor's method of that name does; a lock beside the file is not needed.

        @raise jsonrpcs_tx.errors.StartError: see L{UnixPort.startListening}.
        """
        access = attrs.evolve(self._access, mode=mode) if self._own_mode else self._access
        port = UnixPort(self._setting, self._path(address), factory, backlog, access, self._reactor)
        port.startListening()
        return port


def reactor_for(endpoint: str, setting: str, path: Callable[[str], str], access: Access, reactor: Any) -> Any:
    """The reactor that an endpoint is to listen with.

    @param endpoint: a Twisted server endpoint string. A C{mode=} in it counts in place of that of C{access}.
    """
    if not _UNIX.match(endpoint):
        return reactor
    return UnixFiles(reactor, setting, path, access, _MODE.search(endpoint) is not None)
