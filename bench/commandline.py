"""Measures what one call from a shell takes, as a process: wall time and CPU time, over the Unix socket of the
real Kamailio. Beside it, in the same run: a bare client of a dozen lines in Python, kamcmd, and kamcli.

python -m bench.commandline [--rounds N]
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import attrs

from tests.support import REPOSITORY
from tests.support.cli import command, plain_environment
from tests.support.kamailio import Kamailio

METHOD = "core.uptime"

BARE = """
import json, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
    client.bind(b"")
    client.connect(sys.argv[1])
    client.settimeout(5)
    client.send(json.dumps({"jsonrpc": "2.0", "method": sys.argv[2], "id": 1}).encode())
    print(json.dumps(json.loads(client.recv(65536))["result"]))
"""


@attrs.frozen
class Way:
    """A program that makes the call."""

    name: str
    argv: list[str]
    environment: Mapping[str, str]
    wall: list[float] = attrs.field(factory=list, init=False)
    cpu: list[float] = attrs.field(factory=list, init=False)

    def run(self) -> None:
        """Make the call once."""
        before, began = _cpu(), time.perf_counter()
        nowhere = subprocess.DEVNULL
        subprocess.run(self.argv, env=self.environment, stdout=nowhere, stderr=nowhere, check=True)
        self.wall.append(time.perf_counter() - began)
        self.cpu.append(_cpu() - before)


def _cpu() -> float:
    """Seconds of CPU time of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ways(kamailio: Kamailio, control: str, directory: Path) -> list[Way]:
    """The programs, in the order in which they are measured.

    @param control: path of the socket that kamcmd talks to.
    """
    # Modules are compiled in advance, as those of an installed package and of the standard library are.
    compiled = {**plain_environment(), "PYTHONPYCACHEPREFIX": str(directory / "compiled")}
    compiled.pop("PYTHONDONTWRITEBYTECODE", None)
    bare = directory / "bare.py"
    bare.write_text(BARE)
    settings = directory / "kamcli.ini"
    lines = [
        "[jsonrpc]",
        "transport=socket",
        f"srvaddr={kamailio.unix}",
        f"rcvaddr={kamailio.unix}.kamcli",
        "outformat=raw",
    ]
    settings.write_text("\n".join(lines) + "\n")
    return [
        Way("bare Python client", [sys.executable, str(bare), kamailio.unix, METHOD], compiled),
        Way("jsonrpcs", command("--to", f"unix:{kamailio.unix}", METHOD), compiled),
        Way("jsonrpcs --json", command("--to", f"unix:{kamailio.unix}", "--json", METHOD), compiled),
        Way("kamcmd", ["kamcmd", "-s", f"unix:{control}", METHOD], os.environ),
        Way("kamcli", ["kamcli", "-c", str(settings), "jsonrpc", METHOD], os.environ),
    ]


def table(measured: list[Way]) -> str:
    """The rows as text."""
    base = measured[0]
    lines = [
        "| one call | wall ms: least | median | CPU ms: least | median | wall to bare: least | median |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for way in measured:
        figures = [1e3 * one for times in (way.wall, way.cpu) for one in (min(times), statistics.median(times))]
        ratios = [min(way.wall) / min(base.wall), statistics.median(way.wall) / statistics.median(base.wall)]
        cells = [*(f"{one:.1f}" for one in figures), *(f"{one:.2f}" for one in ratios)]
        lines.append(f"| {way.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        directory = Path(name)
        control = str(directory / "ctl.sock")
        more = ('loadmodule "ctl.so"', f'modparam("ctl", "binrpc", "unix:{control}")')
        with Kamailio(directory, more=more) as kamailio:
            measured = ways(kamailio, control, directory)
            for way in measured:
                way.run()  # compiles
            for way in measured:
                way.wall.clear()
                way.cpu.clear()
            for _ in range(rounds):
                for way in measured:
                    way.run()
    print(table(measured))


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    main()
