"""Commands of the server that is measured, beside its own: fixed replies, so that every reply can be checked."""

import time

from twisted.internet import reactor
from twisted.internet.task import deferLater

from jsonrpcs_tx import command

_PROCESSES = [{"IDX": number, "PID": 10000 + number, "DSC": "tcp receiver (generic) child=0"} for number in range(8)]


@command("bench.psx")
def psx() -> list[dict[str, object]]:
    """Returns what core.psx of a Kamailio of eight processes does: some 500 bytes."""
    return [dict(process) for process in _PROCESSES]


@command("bench.spin", stateless=True)
def spin(seconds: float) -> str:
    """Takes a given CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return "done"


@command("bench.later")
async def later() -> list[str]:
    """Returns a little, asynchronously."""
    return ["later"]


@command("bench.now")
def now() -> list[str]:
    """Returns the same at once."""
    return ["later"]


@command("bench.timer")
async def timer() -> list[str]:
    """Returns the same, when a timer of no delay has fired."""
    await deferLater(reactor, 0)
    return ["later"]
