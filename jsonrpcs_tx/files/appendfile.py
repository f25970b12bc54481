"""A file that whole lines are appended to, and that is opened again once logrotate has renamed it."""

import errno
import os
import stat
from collections.abc import Callable
from typing import Final

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""A FIFO whose reader is stuck does not block the server, and a terminal does not become its controlling one."""


class AppendFile:
    """An open file. Lines are in it as soon as they are written: nothing is kept in this process. A last line without a
    line break, as after a crash, gets one first.

    @param path: of the file, from now on independent of the working directory.
    @param mode: of the file, if it has to be made; the process's umask is taken off.
    @param opener: opens it, with the parameters of C{os.open}; it may refuse.
    @raise OSError: it can be neither opened nor made.
    @ivar path: the absolute path.
    """

    def __init__(self, path: str, mode: int = 0o640, opener: Callable[[str, int, int], int] = os.open) -> None:
        self.path: str = os.path.abspath(path)
        self._mode = mode
        self._opener = opener
        self._fd = self._open()
        self._cut_off = _is_cut_off(self._fd)

    def write(self, lines: bytes) -> None:
        """Append lines, all of them or none: what a full disk has cut off is taken back.

        A pipe cannot take back what was written; there, a line that was cut off is ended before the next one.

        @param lines: one or more, each with its line break.
        @raise OSError: they are lost; the next ones may be written again.
        """
        data = b"\n" + lines if self._cut_off else lines
        written = os.write(self._fd, data)
        self._cut_off = False
        if written == len(data):
            return
        try:
            written += os.write(self._fd, data[written:])  # this says what is wrong
            if written < len(data):
                raise OSError(errno.EIO, "written in part", self.path)
        except OSError:
            self._take_back(written)
            raise

    def reopen(self) -> None:
        """Open the path again, and make it if nothing is there; no line goes to the former file any more.

        @raise OSError: it can be neither opened nor made; the former file stays in use.
        """
        opened = self._open()
        try:
            os.dup2(opened, self._fd, inheritable=False)  # at once, for threads that write meanwhile
        finally:
            os.close(opened)
        self._cut_off = _is_cut_off(self._fd)

    def close(self) -> None:
        """Close the file, after which nothing can be written."""
        os.close(self._fd)

    def _open(self) -> int:
        return self._opener(self.path, _FLAGS, self._mode)

    def _take_back(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - size)
        except OSError:
            self._cut_off = True


def _is_cut_off(fd: int) -> bool:
    """Whether the last line of a regular file lacks its line break."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return False
    try:
        with open(f"/proc/self/fd/{fd}", "rb") as file:  # the descriptor itself cannot be read
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"
    except OSError:  # it may be written, but not read
        return False
