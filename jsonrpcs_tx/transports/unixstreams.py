"""Unix sockets that accept connections: their files have a mode and an owner, and replace nobody else's."""

import os
import re
import socket
from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet import tcp, unix
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure

from jsonrpcs_tx.config.problems import Problems
from jsonrpcs_tx.transports.files import Ownership, OwnFile, bind_unix, check_unix
from jsonrpcs_tx.transports.twistedprivates import reserve_descriptor

BACKLOG: Final = 50
"""Connections that may wait to be accepted, unless the endpoint sets its own; the default is Twisted's."""

_UNIX: Final = re.compile(r"(haproxy:)?(unix|systemd):")
_MODE: Final = re.compile(r"(?<!\\):mode=")


class UnixPort(unix.Port):
    """Listens on a Unix socket.

    @param path: the socket's.
    @param bind: makes the bound socket, and gives its file as well if that must be removed at the end.
    @ivar file: the one to be removed at the end; None: there is none.
    """

    file: OwnFile | None = None

    def __init__(
        self,
        path: str,
        factory: IProtocolFactory,
        backlog: int,
        reactor: Any,
        bind: Callable[[], tuple[socket.socket, OwnFile | None]],
    ) -> None:
        self.socket: socket.socket
        super().__init__(os.fsencode(path), factory, backlog, reactor=reactor)
        self._path = path
        self._bind = bind

    def startListening(self) -> None:
        """Make the socket, and accept connections. Twisted's would change the mode of whatever file the path names."""
        self.socket, self.file = self._bind()
        self.socket.setblocking(False)  # noqa: FBT003 # Python's own way
        reserve_descriptor()
        self.factory.doStart()  # type: ignore[union-attr] # it has one
        self.socket.listen(self.backlog)
        self.connected = True
        self.fileno: Callable[[], int] = self.socket.fileno  # as Port itself does
        self.numberAccepts = 100
        self.startReading()

    def getHost(self) -> UNIXAddress:
        """The whole path, even if the socket was bound by a shorter one."""
        return UNIXAddress(os.fsencode(self._path))

    def connectionLost(self, reason: Failure) -> None:
        """The socket is closed: remove its file, unless somebody else has replaced it."""
        if self.file is not None:
            self.file.remove()
            self.file = None
        tcp.Port.connectionLost(self, reason)


class UnixFiles:
    """A reactor that makes the files of Unix sockets as the settings say, and otherwise does what the given one does.

    @param setting: where the endpoint comes from, for messages.
    @param path: makes a path absolute.
    @param ownership: who may use the file.
    @param own_mode: whether the endpoint sets the mode of the file itself.
    """

    def __init__(
        self, reactor: Any, setting: str, path: Callable[[str], str], ownership: Ownership, own_mode: bool
    ) -> None:
        self._reactor = reactor
        self._setting = setting
        self._path = path
        self._ownership = ownership
        self._own_mode = own_mode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def check(self, address: str, mode: int, problems: Problems) -> str:
        """Check that L{listenUNIX} can make a socket, as far as that shows without making it.

        @param problems: takes what is wrong.
        @return: the path of the socket.
        """
        path = self._path(address)
        check_unix(self._setting, path, self._ownership_of(mode), problems)
        return path

    def _ownership_of(self, mode: int) -> Ownership:
        return attrs.evolve(self._ownership, mode=mode) if self._own_mode else self._ownership

    def listenUNIX(
        self, address: str, factory: IProtocolFactory, backlog: int = BACKLOG, mode: int = 0o666, wantPID: bool = False
    ) -> UnixPort:
        """Listen, and replace a socket that no process listens on any more. No lock file is needed.

        @raise jsonrpcs_tx.errors.StartError: the socket cannot be made, see L{bind_unix}.
        """
        ownership, path = self._ownership_of(mode), self._path(address)

        def bind() -> tuple[socket.socket, OwnFile]:
            sock = socket.socket(socket.AF_UNIX)
            try:
                return sock, bind_unix(self._setting, path, sock, ownership)
            except BaseException:
                sock.close()
                raise

        return self._listen(path, factory, backlog, bind)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> Any:
        """Listen on a socket that another process has made, such as systemd. A Unix socket keeps its file and mode."""
        if addressFamily != socket.AF_UNIX:
            return self._reactor.adoptStreamPort(fileDescriptor, addressFamily, factory)
        sock = socket.socket(fileno=os.dup(fileDescriptor))
        return self._listen(os.fsdecode(sock.getsockname()), factory, BACKLOG, lambda: (sock, None))

    def _listen(self, path: str, factory: IProtocolFactory, backlog: int, bind: Callable[[], Any]) -> UnixPort:
        port = UnixPort(path, factory, backlog, self._reactor, bind)
        port.startListening()
        return port


def reactor_for(endpoint: str, setting: str, path: Callable[[str], str], ownership: Ownership, reactor: Any) -> Any:
    """The reactor for an endpoint to listen with.

    @param endpoint: a Twisted server endpoint string. A C{mode=} in it takes precedence over that of C{ownership}.
    """
    if not _UNIX.match(endpoint):
        return reactor
    return UnixFiles(reactor, setting, path, ownership, _MODE.search(endpoint) is not None)
