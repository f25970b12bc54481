"""Server processes, and the CPU time that they have taken."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

START_PATIENCE = 30
"""Seconds after which a server that does not answer counts as not started."""


class Process:
    """A server in a process group of its own.

    @param argv: its command line.
    @param directory: where it runs, and writes its output to C{NAME.log}.
    @param ready: tells whether it answers.
    """

    def __init__(self, name: str, argv: list[str], directory: Path, ready: Callable[[], bool]) -> None:
        self.name = name
        self._log = directory / f"{name}.log"
        repository = Path(__file__).resolve().parent.parent
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                argv,
                cwd=directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(repository)},
            )
        try:
            self._wait(ready)
        except BaseException:
            self.stop()
            raise

    def _wait(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_PATIENCE
        while not ready():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)  # the peers have no common way to say that they are ready

    def stop(self) -> None:
        """End it and all that it has started."""
        if self._popen.poll() is None:
            os.killpg(self._popen.pid, signal.SIGTERM)
            try:
                self._popen.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self._popen.pid, signal.SIGKILL)
                self._popen.wait()

    def pids(self) -> list[int]:
        """The process and all below it."""
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    stat = Path("/proc", entry, "stat").read_text()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                parent = int(stat.rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
        found = [self._popen.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu(self) -> float:
        """Seconds of CPU time that all its threads have taken so far."""
        total = 0
        for pid in self.pids():
            for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                total += int(schedstat.read_text().split()[0])
        return total / 1e9

    def memory(self) -> int:
        """Bytes of memory that it does not share, and its proportional share of the rest (PSS)."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total
