"""Programs on a terminal, which is looked at as a person would: what is on the screen now."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping
from typing import Self

import pyte

from tests.support import PATIENCE

COLUMNS, LINES = 200, 200


class Screen(pyte.Screen):
    """A terminal with a program in it.

    @param words: the program, with its arguments.
    @param environment: of the program.
    """

    def __init__(self, words: list[str], environment: Mapping[str, str]) -> None:
        self.pid, self._terminal = pty.fork()
        if not self.pid:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
                os.execvpe(words[0], words, {**environment, "TERM": "xterm-256color"})
            finally:
                os._exit(127)
        super().__init__(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self)
        self.received = b""
        self._status: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._terminal)

    def write_process_input(self, data: str) -> None:
        """Answer what the program asks the terminal."""
        os.write(self._terminal, data.encode())

    @property
    def text(self) -> str:
        """What is on the screen, without blanks at the ends of lines and empty lines at the end."""
        return "\n".join(line.rstrip() for line in self.display).rstrip()

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def wait_for(self, pattern: str) -> str:
        """Wait until something is on the screen.

        @param pattern: a regular expression, in which C{^} and C{$} are the ends of lines.
        @return: what it matches.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            found = re.search(pattern, self.text, re.MULTILINE)
            if found:
                return found[0]
            is_there = select.select([self._terminal], [], [], max(0, deadline - time.monotonic()))[0]
            assert is_there, f"not on the screen: {pattern}\n{self.text}"
            assert self._read(), f"ended without {pattern}\n{self.text}"

    def end(self) -> int:
        """Wait until the program ends.

        @return: its exit code, or minus the number of the signal.
        """
        while self._read():
            pass
        self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def _read(self) -> bool:
        assert select.select([self._terminal], [], [], PATIENCE)[0], f"nothing more comes\n{self.text}"
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            return False
        self.received += data
        self._stream.feed(data)
        return bool(data)
