"""A copy of this machine that is thrown away: pages of the documentation are followed in it to the letter."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest

from tests.support import PATIENCE, REPOSITORY, environment
from tests.support.programs import need
from tests.support.waiting import wait_for_text

_ROOT = "root"
_START = f"""
mount --make-rprivate /
mount -t tmpfs none "$PWD"
cd "$PWD"
mkdir upper work {_ROOT}
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work {_ROOT}
mount --rbind /dev {_ROOT}/dev
mount --rbind /sys {_ROOT}/sys
mount -t proc proc {_ROOT}/proc
for path in run tmp var/log; do mount -t tmpfs -o mode=1777 none {_ROOT}/$path; done
chmod 755 {_ROOT}/run {_ROOT}/var/log
ip link set lo up
echo ready
read end
"""
"""Mounts the copy below the directory in which it runs, and then is the init that takes note of the ends of daemons."""
HOME = "/srv/guide"
"""Where the commands run."""


class Machine:
    """A copy of this machine with its own files, processes and network, of which nothing is left at the end. All of
    this machine's files are in it, but for those in C{/run}, C{/tmp} and C{/var/log}; only loopback has addresses. It
    takes root, or the test is skipped.

    @param directory: an empty one, for what is mounted.
    """

    def __init__(self, directory: Path) -> None:
        if os.geteuid():
            pytest.skip("only root can mount")
        need("ip", "iproute2")
        self._process = subprocess.Popen(
            ["unshare", "-mnp", "--fork", "--kill-child", "bash", "-ec", _START],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            said = self._process.communicate(timeout=PATIENCE)[1]
            pytest.skip(f"this machine does not let anybody mount: {said}")
        pid = self._process.pid
        (self._init,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self._place = f"{directory}/{_ROOT}"
        self._root = f"/proc/{self._init}/root{self._place}"
        for parent in Path(sys.executable).resolve().parents:  # users of the machine run it
            there = Path(f"{self._root}{parent}")
            there.chmod(there.stat().st_mode | 0o111)
        home = self.path(HOME)
        home.mkdir(parents=True)
        (home / "contrib").symlink_to(REPOSITORY / "contrib")
        (home / "venv").symlink_to(os.environ.get("VIRTUAL_ENV") or sys.prefix)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.communicate("\n", timeout=PATIENCE)

    def path(self, name: str) -> Path:
        """One of its files, as this machine sees it; links in it lead astray.

        @param name: relative to the directory of the commands, or absolute.
        """
        return Path(f"{self._root}{os.path.join(HOME, name)}")

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write one of its files; the directories are made."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def words(self, text: str) -> list[str]:
        """A command line of this machine that runs commands in a shell of root's that stops at the first that fails."""
        inside = ["nsenter", "-t", self._init, "-m", "-n", "-p", "chroot", self._place]
        return [*inside, "bash", "-ec", f"cd {HOME}\n{text}"]

    @property
    def environment(self) -> dict[str, str]:
        """That of the commands."""
        bin_directory = Path(sys.executable).parent
        return {**environment(), "PATH": f"{bin_directory}:{os.environ['PATH']}", "HOME": "/root"}

    def run(self, text: str, status: int = 0) -> str:
        """What commands print, their errors included.

        @param status: with which they must end.
        """
        done = subprocess.run(
            self.words(text),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=2 * PATIENCE,
        )
        assert done.returncode == status, (text, done.returncode, done.stdout)
        return done.stdout

    def wait_for(self, text: str, name: str, after: int = 0) -> str:
        """What one of its files has, once a text is in it.

        @param after: how many characters at the beginning to skip.
        """
        return wait_for_text(self.path(name), text, after)

    def stop(self, pid_file: str) -> None:
        """End a daemon of it, and wait until it has ended."""
        self.run(f"pid=$(cat {pid_file}); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done")
