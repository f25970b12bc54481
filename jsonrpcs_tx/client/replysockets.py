"""Unix datagram sockets that a server can reply to."""

import os
import socket
import stat

_LISTED = "/proc/net/unix"


class ReplySocket:
    """A datagram socket with an address, connected to the server's: it receives datagrams only from there.

    @param path: the path of the server's socket.
    @param directory: where to make a private directory for the socket; None: the socket has an abstract name if the
        server can reply to one, otherwise a private directory beside the server's socket or in C{/tmp}.
    @ivar socket: the socket, bound and connected.
    @raise OSError: the socket cannot be made, and C{filename} is the directory; or there is no such server.
    """

    def __init__(self, path: str, directory: str | None = None) -> None:
        self._directory: str | None = None
        self.socket: socket.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self.socket.connect(path)  # first, since it fails if there is no server
            if directory is None and _is_of_this_network(path):
                self.socket.bind(b"")  # the kernel gives it an abstract name
            else:
                self._bind_in(directory, os.path.dirname(path))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it, and remove its files. May be called again."""
        self.socket.close()
        private, self._directory = self._directory, None
        if private is not None:
            from contextlib import suppress  # most have an abstract name

            for remove, name in ((os.unlink, f"{private}/reply"), (os.rmdir, private)):
                with suppress(OSError):  # the socket is not there, or somebody has removed it
                    remove(name)

    def _bind_in(self, directory: str | None, beside: str) -> None:
        """Bind it in a private directory, which others can pass through if they know its name."""
        if directory is None:
            directory = beside if os.access(beside or ".", os.W_OK | os.X_OK) else "/tmp"
        private = os.path.join(os.path.abspath(directory), f"jsonrpcs{os.urandom(8).hex()}")
        try:
            os.mkdir(private, 0o700)
        except OSError as error:
            why = f"no reply socket in reply_dir {directory}: {error.strerror}"
            raise OSError(error.errno, why, directory) from None
        self._directory = private
        self.socket.bind(f"{private}/reply")
        os.chmod(f"{private}/reply", stat.S_IRUSR | stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
        os.chmod(private, 0o711)


def _is_of_this_network(path: str) -> bool:
    """Whether the server's socket is in this network namespace. Abstract names do not exist outside of it."""
    wanted = os.fsencode(path) + b"\n"
    try:
        with open(_LISTED, "rb") as lines:
            return any(line.endswith(wanted) and line.split(maxsplit=7)[-1] == wanted for line in lines)
    except OSError:
        return False
