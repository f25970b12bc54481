"""FIFOs for clients: the server's, and one for each reply."""

import contextlib
import errno
import os
import stat

from jsonrpcs_tx.client.targets import Target

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import Self

READ_SIZE = 65_536
"""Bytes that are read at once: the size of a FIFO's queue."""

MAX_PATH = 127
"""Bytes of the longest path of a reply FIFO that servers take."""

MAX_REQUEST = 8190
"""Bytes of the largest request that Kamailio takes; it drops larger ones."""


class ServerFifo:
    """The FIFO that a server reads, open for non-blocking writes. As a context manager it closes itself.

    @param target: a target C{fifo:}.
    @raise OSError: nobody reads it, or it is not a FIFO.
    """

    def __init__(self, target: Target) -> None:
        self.fd: int = os.open(target.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISFIFO(os.fstat(self.fd).st_mode):
            self.close()
            raise OSError(errno.EINVAL, "it is not a FIFO")

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it. May be called again."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class ReplyFifo:
    """A FIFO to which a server writes a reply. Others may write to it, since the server may be another user; only its
    owner reads. As a context manager it removes itself.

    @param target: a target C{fifo:}, which names the directory.
    @ivar name: the name for the request: without a dot or a slash.
    @ivar fd: open for non-blocking reads.
    @raise OSError: it cannot be made; then C{filename} is the directory.
    """

    def __init__(self, target: Target) -> None:
        directory = target.reply_dir or "."
        self.name: str = f"jsonrpcs{os.urandom(8).hex()}"
        self._path = f"{directory.rstrip('/')}/{self.name}"
        if len(os.fsencode(self._path)) > MAX_PATH:
            raise OSError(errno.ENAMETOOLONG, f"reply_dir is too long: servers take {MAX_PATH} bytes with the name")
        self.fd: int = -1
        try:
            os.mkfifo(self._path, 0o600)
        except OSError as error:
            why = f"no reply FIFO in reply_dir {directory}: {error.strerror}"
            raise OSError(error.errno, why, directory) from None
        try:
            os.chmod(self._path, 0o622)
            self.open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def open(self) -> None:
        """Open it, or open it again to clear the end of file. It has a reader at all times."""
        old, self.fd = self.fd, os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        if old >= 0:
            os.close(old)

    def close(self) -> None:
        """Close and remove it. May be called again."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
        path, self._path = self._path, ""
        if path:
            with contextlib.suppress(OSError):  # somebody has removed it
                os.unlink(path)
