"""What rules and the audit log cost on datagram sockets, beside a server that has neither.

python -m bench.safeguards [--rounds N] [--only CASE]
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from bench import load
from bench.load import Call
from bench.peers import Target, request, start_ours
from tests.support import ECHO, call

REQUESTS = 20_000
"""Requests of one run."""

ROUNDS = 5

CHANGE = request("htable.sets", "bench", "x", "value")


@attrs.frozen
class Case:
    """A server, and what it is asked.

    @ivar options: of the server, where C{DIRECTORY} stands for one that it may write to.
    @ivar document: the request, which is sent to the open server as well.
    """

    name: str
    transport: str
    options: tuple[str, ...]
    document: bytes = ECHO


UID_RULES = (f"--rule=unix uid={os.geteuid()} allow *", "--rule=any deny core.kill")
NETWORK_RULES = ("--rule=udp 127.0.0.0/8 allow *", "--rule=any deny core.kill")
AUDIT = ("--audit=DIRECTORY/audit.log",)

CASES = (
    Case("rules by uid", "unix", UID_RULES),
    Case("rules by network", "udp4", NETWORK_RULES),
    *(
        case
        for transport in ("unix", "udp4")
        for case in (
            Case("audit log, a call that only reads", transport, AUDIT),
            Case("audit log, a call that is written to it", transport, AUDIT, CHANGE),
            Case("rules, audit log, written to it", transport, (*UID_RULES, *NETWORK_RULES, *AUDIT), CHANGE),
        )
    ),
)


@attrs.frozen
class Cost:
    """The CPU time of a request in a case, and of the same one at the open server, in seconds: the least of all rounds,
    and the ratio in the round in the middle.
    """

    name: str
    transport: str
    cpu: float
    open_cpu: float
    median_ratio: float

    @classmethod
    def of(cls, name: str, transport: str, rounds: Sequence[tuple[float, float]]) -> "Cost":
        """The cost by the CPU times of a request in each round, in the case and at the open server."""
        cpu, open_cpu = map(min, zip(*rounds, strict=True))
        return cls(name, transport, cpu, open_cpu, statistics.median(one / other for one, other in rounds))

    @property
    def ratio(self) -> float:
        """The least to the least."""
        return self.cpu / self.open_cpu


def measure(directory: Path, rounds: int = ROUNDS, cases: Sequence[Case] = CASES) -> list[Cost]:
    """Measure every case and the open server in turn, all up at once, several rounds."""
    with ExitStack() as stack:
        servers: dict[tuple[str, ...], dict[str, Target]] = {}
        for options in dict.fromkeys(((), *(case.options for case in cases))):
            home = directory / f"safeguards{len(servers)}"
            home.mkdir()
            arguments = [option.replace("DIRECTORY", str(home)) for option in options]
            targets = start_ours(home, "--htable=bench=>size=4", *arguments)
            stack.callback(targets[0].process.stop)
            servers[options] = {target.transport: target for target in targets}
        plan = [
            (servers[options][case.transport], case.document)
            for case in cases
            for options in ((), case.options)  # the open server each time, just before
        ]
        calls = [Call(document, call(target.transport, target.address, document)) for target, document in plan]
        for one in calls:
            if b'"result"' not in one.reply:
                raise load.WrongReply(f"{one.document!r} was answered with {one.reply!r}")
        figures: list[list[float]] = [[] for _ in plan]
        for _ in range(rounds):
            for (target, _), one, seconds in zip(plan, calls, figures, strict=True):
                before = target.process.cpu()
                load.datagrams(target.address, one, REQUESTS)
                seconds.append((target.process.cpu() - before) / REQUESTS)
    return [
        Cost.of(case.name, case.transport, [*zip(cpu, open_cpu, strict=True)])
        for case, open_cpu, cpu in zip(cases, figures[::2], figures[1::2], strict=True)
    ]


def table(costs: Sequence[Cost]) -> str:
    """The costs as text."""
    lines = [
        "| with | transport | CPU µs/request: least | of the open server | ratio | median of ratios |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {cost.name} | {cost.transport} | {cost.cpu * 1e6:.1f} | {cost.open_cpu * 1e6:.1f} "
        f"| {cost.ratio:.3f} | {cost.median_ratio:.3f} |"
        for cost in costs
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.safeguards", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=sorted({case.name for case in CASES}), help="one case")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        cases = [case for case in CASES if options.only in (None, case.name)]
        print(table(measure(Path(name), options.rounds, cases)))


if __name__ == "__main__":
    main()
