"""Lines for the syslog daemon of this machine."""

import socket
from typing import Final

SOCKET: Final = "/dev/log"
"""Where rsyslog, syslog-ng and systemd's journal listen for the lines of syslog(3)."""


class Syslog:
    """Sends lines to the daemon, without ever waiting for it, as syslog(3) would.

    @param path: of its socket. It is looked up for each line, so that a restarted daemon is found.
    """

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def send(self, line: bytes) -> None:
        """Send a line.

        @raise OSError: it is lost: C{BlockingIOError} where the daemon does not keep up, C{FileNotFoundError} or
            C{ConnectionRefusedError} where it does not run.
        """
        self._socket.sendto(line, self._path)
