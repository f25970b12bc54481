"""Processes of twistd that need not import it: a process that has imported everything forks for each.

Importing takes most of the CPU time of a start. What is forked is a process like any other: it has its own directory,
environment, output and signals, and runs C{twistd} with the arguments that it is given.

Run as a program, this module is the process that forks: C{main}. Its standard input is the socket of L{Forks}.
"""

import atexit
import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import IO, Final

_MODULES: Final = (
    *("twisted.scripts.twistd", "twisted.scripts._twistd_unix", "twisted.internet.epollreactor", "twisted.web.server"),
    *("jsonrpcs_tx.options", "jsonrpcs_tx.compose", "jsonrpcs_tx.daemon.service"),
)
_PACKAGES: Final = ("jsonrpcs_tx.commands", "jsonrpcs_tx.transports", "twisted.plugins")
"""All modules in them are imported."""

_AT_START: Final = ("PYTHON", "LD_", "LC_", "LANG", "FAKETIME")
"""How the variables begin that Python, the linker or a library read only when a process starts."""

_MOST: Final = 1 << 20
"""Bytes of a request."""


class ForkedProcess:
    """A process that L{Forks} has started, as C{subprocess.Popen} shows one.

    @ivar returncode: its exit status, or the negative number of the signal that ended it; None while it runs.
    """

    def __init__(self, status: IO[bytes]) -> None:
        self.returncode: int | None = None
        self._status = status
        self.pid = int(status.readline())

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """@raise subprocess.TimeoutExpired: it still runs after so many seconds."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("twistd", timeout or 0)
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """A process that forks.

    @param environment: its environment.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                ["env", "--default-signal=INT", sys.executable, "-P", __file__], stdin=theirs.fileno(), env=environment
            )
        atexit.register(self._stop)

    def start(
        self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], output: IO[str], errors: IO[str]
    ) -> ForkedProcess:
        """See L{start}."""
        status, their_status = os.pipe()
        request = json.dumps([arguments, str(cwd), dict(environment)]).encode()
        with self._lock:
            socket.send_fds(self._requests, [request], [their_status, output.fileno(), errors.fileno()])
        os.close(their_status)
        return ForkedProcess(open(status, "rb", buffering=0))  # it is closed when the process has ended

    def _stop(self) -> None:
        self._requests.close()
        self._process.wait()


_FORKS: dict[frozenset[tuple[str, str]], Forks] = {}
"""Started when they are needed first, by those variables of their environment that their processes cannot change."""


def start(
    arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], output: IO[str], errors: IO[str]
) -> ForkedProcess:
    """Start C{twistd}.

    @param arguments: its command line, with its own name first.
    @param output: its standard output.
    @param errors: its standard error.
    """
    fixed = frozenset(item for item in environment.items() if item[0].startswith(_AT_START))
    if fixed not in _FORKS:
        _FORKS[fixed] = Forks(environment)
    return _FORKS[fixed].start(arguments, cwd, environment, output, errors)


def _import_everything() -> None:
    """Import what servers need, but no reactor, which would belong to all of them."""
    for package in _PACKAGES:
        for module in iter_modules(import_module(package).__path__, f"{package}."):
            import_module(module.name)
    for name in _MODULES:
        import_module(name)
    assert "twisted.internet.reactor" not in sys.modules


def _serve(requests: socket.socket) -> tuple[list[int], list[str], str, dict[str, str]] | None:
    """Fork for each request, and tell the process id and the exit status of each process. What still runs when nobody
    can ask any more is killed: the tests have ended without stopping it.

    @return: in a process that was forked, its output streams, command line, directory and environment; None
        once nobody can ask any more.
    """
    asking = requests.fileno()
    running: dict[int, tuple[int, int]] = {}  # by the pidfd of each process: its id, and where its status goes
    while True:
        ready, _, _ = select.select([asking, *running], [], [])
        for pidfd in (file for file in ready if file != asking):
            pid, status = running.pop(pidfd)
            _tell(status, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            os.close(status)
            os.close(pidfd)
        if asking not in ready:
            continue
        request, files, _, _ = socket.recv_fds(requests, _MOST, 3)
        if not request:
            for pid, status in running.values():
                os.kill(pid, signal.SIGKILL)
                _tell(status, -signal.SIGKILL)
            return None
        status, *streams = files
        if (pid := os.fork()) == 0:
            return (streams, *json.loads(request))
        for stream in streams:
            os.close(stream)
        _tell(status, pid)
        running[os.pidfd_open(pid)] = (pid, status)


def _tell(status: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(status, b"%d\n" % number)


def _become(streams: list[int], arguments: list[str], cwd: str, environment: dict[str, str]) -> None:
    """Take over what a program is started with."""
    for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *streams]):
        os.dup2(file, number)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = arguments


def main() -> None:
    _import_everything()
    gc.freeze()  # so that collecting garbage copies no memory that is shared
    start = _serve(socket.socket(fileno=os.dup(0)))
    if start is not None:
        _become(*start)
        import_module("twisted.scripts.twistd").run()


if __name__ == "__main__":
    main()
