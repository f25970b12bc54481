"""Sockets and FIFOs that systemd has opened for the server, by their C{FileDescriptorName} (sd_listen_fds(3))."""

import fcntl
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from jsonrpcs_tx.config.kinds import PASSED
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.transports.twistedprivates import passed_descriptors

_KINDS: Final = {
    socket.SOCK_STREAM: "a listening stream socket (ListenStream=)",
    socket.SOCK_DGRAM: "a datagram socket (ListenDatagram=)",
}

_FIFO: Final = "a FIFO that is open for reading and writing (ListenFIFO=)"


class Passed:
    """What systemd has passed to a process. It stays open here, so that a server can be stopped and started again.

    @param names: one for each descriptor, separated by colons.
    @param fds: the descriptors.
    @ivar unused: the names that no server has asked for.
    """

    def __init__(self, names: str, fds: Sequence[int]) -> None:
        self._fds: dict[str, list[int]] = {}
        for name, fd in zip(names.split(":"), fds, strict=False):  # names may be left over from another process
            with suppress(OSError):  # it is not open: whatever started the process did not pass it
                os.set_inheritable(fd, False)  # noqa: FBT003 # Python's own way
                self._fds.setdefault(name, []).append(fd)
        self.unused: set[str] = set(self._fds)

    def check(self, setting: str, name: str) -> None:
        """Check that a name was passed. Where nothing was, nothing is wrong: it will be once systemd starts the server.

        @param setting: that has the name, for messages.
        @raise StartError: it was not, or several have it.
        """
        if self._fds:
            self._find(setting, name)

    def socket(self, setting: str, name: str, kind: socket.SocketKind) -> socket.socket:
        """A duplicate of the socket that was passed, for the caller to close.

        @param setting: that has the name, for messages.
        @param kind: C{SOCK_STREAM} or C{SOCK_DGRAM}.
        @raise StartError: nothing of this name was passed, or it is something else.
        """
        fd = os.dup(self._find(setting, name))
        try:
            found = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            raise self._error(setting, name, "is not a socket", _KINDS[kind]) from None
        listening = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if found.type == kind and bool(listening) == (kind == socket.SOCK_STREAM):
            return found
        found.close()
        raise self._error(setting, name, "is a socket of another kind", _KINDS[kind])

    def fifo(self, setting: str, name: str) -> int:
        """A duplicate of the descriptor of the FIFO that was passed, non-blocking, for the caller to close.

        @param setting: that has the name, for messages.
        @raise StartError: nothing of this name was passed, or it is something else.
        """
        fd = os.dup(self._find(setting, name))
        both = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        if not (both and stat.S_ISFIFO(os.fstat(fd).st_mode)):
            os.close(fd)
            raise self._error(setting, name, "is something else", _FIFO)
        os.set_blocking(fd, False)
        return fd

    def _find(self, setting: str, name: str) -> int:
        fds = self._fds.get(name, ())
        if len(fds) != 1:
            reason = "systemd has passed several with this name" if fds else "systemd has not passed it"
            names = ", ".join(f"{PASSED}{one}" for one in self._fds) or "a start by systemd, with a socket unit"
            raise self._error(setting, name, reason, names)
        self.unused.discard(name)
        return fds[0]

    @staticmethod
    def _error(setting: str, name: str, reason: str, allowed: str) -> StartError:
        return StartError(setting, f"{PASSED}{name}", reason, allowed)


HERE: Final = Passed(os.environ.get("LISTEN_FDNAMES", ""), passed_descriptors())
"""What was passed to this process."""


def path_of(fd: int) -> str:
    """The path of an open file, for messages."""
    return os.readlink(f"/proc/self/fd/{fd}")
