"""A manager of one service that opens its sockets, passes them on, and hears what the service says, as systemd does."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support import PATIENCE, environment, twistd
from tests.support.waiting import wait_until

_FIRST = 3
"""The first descriptor that is passed (sd_listen_fds(3))."""


class Manager:
    """Opens sockets once, and starts the service with them as often as is asked.

    @param directory: where the service runs.
    @param opened: what is passed by name: sockets, or descriptors.
    @param environ: of the service, besides the usual.
    @ivar messages: what the service has said, in order.
    @ivar times: when it has said each, in seconds since 1970.
    @ivar log: of the service, all lines of all runs.
    """

    def __init__(
        self, directory: Path, opened: Sequence[tuple[str, Any]] = (), environ: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self._opened = list(opened)
        self._environ = environ or {}
        self.messages: list[str] = []
        self.times: list[float] = []
        self.log = ""
        self._news = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = str(directory / "notify")
        self._socket.bind(self.path)
        self.process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process is not None:
            self.stop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.path)
        self._thread.join(PATIENCE)
        self._socket.close()

    def start(self, *arguments: str) -> None:
        """Start C{twistd jsonrpcs}, and wait until it says that it is ready."""
        seen = len(self.messages)
        self.run(*arguments)
        self.wait_for("READY=1", seen)

    def run(self, *arguments: str) -> None:
        """Start C{twistd jsonrpcs}."""
        fds = [one if isinstance(one, int) else one.fileno() for _, one in self._opened]
        # Copies above those that the service gets, so that none is overwritten before it is passed.
        copies = [os.dup2(fd, 100 + number, inheritable=True) for number, fd in enumerate(fds)]
        moves = "".join(f" {_FIRST + number}<&{fd} {fd}<&-" for number, fd in enumerate(copies))
        names = ":".join(name for name, _ in self._opened)
        passing = {"LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": names} if fds else {}
        passing_on = ["bash", "-c", f'exec{moves}; LISTEN_PID=$$ exec "$@"', "bash"]
        self.process = subprocess.Popen(
            [*passing_on, twistd(), "-n", "--pidfile=", "jsonrpcs", "--load=all", *arguments],
            cwd=self.directory,
            env={**environment(), "NOTIFY_SOCKET": self.path, **passing, **self._environ},
            pass_fds=copies,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for fd in copies:
            os.close(fd)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the service with a signal.

        @return: its exit status.
        """
        assert self.process is not None
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for the end of the service.

        @return: its exit status.
        """
        assert self.process is not None
        self.log += self.process.communicate(timeout=PATIENCE)[0]
        status, self.process = self.process.returncode, None
        return status

    def wait_for(self, text: str, after: int = 0) -> str:
        """The first message that has a text, now or later.

        @param after: how many messages to skip.
        """
        found: list[str] = []

        def look() -> bool:
            found.extend(message for message in self.messages[after:] if text in message)
            return bool(found)

        with self._news:
            if not self._news.wait_for(look, PATIENCE):
                raise AssertionError(f"the service did not say {text!r}, but {self.messages}")
        return found[0]

    def wait_for_file(self, name: str) -> float:
        """Wait until a file is there.

        @return: when it was made, in seconds since 1970.
        """
        path = self.directory / name
        wait_until(path.exists, f"{path} is not made", pause=0.01)
        return path.stat().st_ctime

    def _hear(self) -> None:
        while data := self._socket.recv(4096):
            with self._news:
                self.messages.append(data.decode())
                self.times.append(time.time())
                self._news.notify_all()
