"""Sockets over Unix datagrams that a server can reply to."""

import os
import socket
import stat

_LISTED = "/proc/net/unix"


class ReplySocket:
    """A datagram socket with an address, connected to a server's: it takes datagrams from that one only.

    @param path: of the server's socket.
    @param directory: for a private directory with the socket; None: it has an abstract name where the server can
        reply to one, else a private directory beside the server's socket or in C{/tmp}.
    @ivar socket: bound and connected.
    @raise OSError: it cannot be made, or there is no such server.
    """

    def __init__(self, path: str, directory: str | None = None) -> None:
        self._directory: str | None = None
        self.socket: socket.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self.socket.connect(path)  # first, since it fails where there is no server
            if directory is None and _is_of_this_network(path):
                self.socket.bind(b"")  # the kernel gives it an abstract name
            else:
                self._bind_in(directory, os.path.dirname(path))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it, and remove what was made for it. May be called again."""
        self.socket.close()
        private, self._directory = self._directory, None
        if private is not None:
            from contextlib import suppress  # most have an abstract name

            for remove, name in ((os.unlink, f"{private}/reply"), (os.rmdir, private)):
                with suppress(OSError):  # the socket is not there, or somebody has removed it
                    remove(name)

    def _bind_in(self, directory: str | None, beside: str) -> None:
        """Bind it in a private directory, through which the server can pass if it knows the name."""
        if directory is None:
            directory = beside if os.access(beside or ".", os.W_OK | os.X_OK) else "/tmp"
        private = os.path.join(os.path.abspath(directory), f"jsonrpcs{os.urandom(8).hex()}")
        os.mkdir(private, 0o700)
        self._directory = private
        self.socket.bind(f"{private}/reply")
        os.chmod(f"{private}/reply", stat.S_IRUSR | stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
        os.chmod(private, 0o711)


def _is_of_this_network(path: str) -> bool:
    """Whether the server's socket is known to this network namespace, outside of which abstract names mean nothing."""
    wanted = os.fsencode(path) + b"\n"
    try:
        with open(_LISTED, "rb") as lines:
            return any(line.endswith(wanted) and line.split(maxsplit=7)[-1] == wanted for line in lines)
    except OSError:
        return False
