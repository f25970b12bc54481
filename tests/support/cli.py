"""The program C{jsonrpcs} in a process of its own."""

import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import attrs

from jsonrpcs_tx.client.targets import Target
from tests.support import PATIENCE, environment


@attrs.frozen
class Done:
    """The result of a run of the program."""

    code: int
    out: str
    err: str


def command(*words: str) -> list[str]:
    """A command line of the program of this Python."""
    return [str(Path(sys.executable).with_name("jsonrpcs")), *words]


def plain_environment(**variables: str) -> dict[str, str]:
    """An environment in which the program is not configured."""
    base = {name: value for name, value in environment().items() if name not in ("JSONRPCS_TO", "NO_COLOR")}
    return {**base, "XDG_CONFIG_HOME": "/nowhere", **variables}


def jsonrpcs(
    *words: str, given: str | bytes = "", directory: Path | None = None, variables: Mapping[str, str] | None = None
) -> Done:
    """Run the program to its end, with the standard streams connected to pipes.

    @param given: its standard input.
    @param directory: the directory in which it runs.
    @param variables: of the environment.
    """
    done = subprocess.run(
        command(*words),
        input=given.encode() if isinstance(given, str) else given,
        capture_output=True,
        cwd=directory,
        env=plain_environment(**(variables or {})),
        timeout=PATIENCE,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def options(target: Target) -> list[str]:
    """The options of a command line for a target."""
    words = ["--to", target.url]
    if target.tls_ca:
        words += ["--tls-ca", target.tls_ca]
    if target.reply_dir and target.scheme == "fifo":
        words += ["--reply-dir", target.reply_dir]
    return words


class OnTerminal:
    """The program with a terminal for its output, or a part of it.

    @ivar shown: what has been written to the terminal so far.
    """

    def __init__(
        self, *words: str, streams: tuple[str, ...] = ("stdout", "stderr"), variables: Mapping[str, str] = {}
    ) -> None:
        self._ours, theirs = os.openpty()
        others = {name: theirs if name in streams else subprocess.PIPE for name in ("stdout", "stderr")}
        environment = plain_environment(**{"TERM": "xterm", **variables})
        self.process = subprocess.Popen(command(*words), env=environment, stdin=subprocess.DEVNULL, **others)  # type: ignore[call-overload]
        os.close(theirs)
        self.shown = ""

    def wait_for(self, pattern: str) -> None:
        """Read until something has been shown."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self.shown):
            assert time.monotonic() < deadline, f"not shown: {pattern}\n{self.shown[-5000:]!r}"
            assert select.select([self._ours], [], [], PATIENCE)[0], f"not shown: {pattern}\n{self.shown!r}"
            assert self._read(), self.shown

    def end(self) -> int:
        """Read all that is left.

        @return: the exit code.
        """
        while self._read():
            pass
        os.close(self._ours)
        return int(self.process.wait(PATIENCE))

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            return False
        self.shown += data.decode()
        return bool(data)


class Short:
    """A directory with a short path, since that of a Unix socket has a limit."""

    def __enter__(self) -> Path:
        self._directory = tempfile.TemporaryDirectory(prefix="cli")
        return Path(self._directory.name)

    def __exit__(self, *exc_info: object) -> None:
        self._directory.cleanup()
