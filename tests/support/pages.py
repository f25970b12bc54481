"""The pages of the documentation, taken apart, and their commands, run."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import attrs

from tests.support import PATIENCE, environment
from tests.support.waiting import wait_for_text, wait_until


@attrs.frozen
class Block:
    """A fenced block, the one that shows what it prints, and the heading that both are below."""

    language: str
    text: str
    printed: str
    heading: str


def blocks(path: Path) -> list[Block]:
    """The blocks of a Markdown file, each with the block of output that follows it at once."""
    fence = re.compile(r"^```(\w+)\n(.*?)^```\n(?:```(?:json|text)\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
    text = path.read_text()
    found: list[Block] = []
    heading, end = "", 0
    for match in fence.finditer(text):
        heading = (re.findall(r"^#+ (.*)", text[end : match.start()], re.MULTILINE) or [heading])[-1]
        language, shown, printed = (part or "" for part in match.groups())
        found.append(Block(language, shown, printed, heading))
        end = match.end()
    return found


class Shell:
    """Runs the commands of a page in a directory, with the virtual environment of this Python as C{venv}. A server that
    they start as a daemon is stopped at the end.

    @param replaced: texts of the page, such as paths, with those that stand for them here.
    """

    def __init__(self, directory: Path, replaced: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.replaced = dict(replaced or {})
        self.log = directory / "twistd.log"
        (directory / "venv").symlink_to(os.environ.get("VIRTUAL_ENV") or sys.prefix)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pid_file = self.directory / "twistd.pid"
        if pid_file.exists():
            os.kill(int(pid_file.read_text()), signal.SIGTERM)
            wait_until(lambda: not pid_file.exists(), "the daemon does not end")

    def run(self, text: str) -> str:
        """What commands print, their errors included; the last one must succeed, as must all before it."""
        for shown, here in self.replaced.items():
            text = text.replace(shown, here)
        done = subprocess.run(
            ["bash", "-ec", text],
            cwd=self.directory,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, (text, done.stdout)
        return done.stdout

    def port(self, protocol: str) -> int:
        """The port of HTTP or HTTPS, which the log names when the server listens."""
        log = self.logged("serving")
        found = re.search(rf"listening on {protocol} 127\.0\.0\.1:(\d+)", log)
        assert found, log
        return int(found[1])

    def logged(self, text: str) -> str:
        """The log of the daemon, once a text is in it."""
        return wait_for_text(self.log, text)
