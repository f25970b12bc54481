"""Commands of the server that is measured, beside its own: fiimport time

from jsonrpcs_tx import command

_PROCESSES = [{"IDX": number, "PID": 10000 + number, "DSC": "tcp receiver (generic) child=0"} for number in range(6)]
ed replies, so that every reply can be checked."""

from jsonrpcs_timport time

from jsonrpcs_tx import command

_PROCESSES = [{"IDX": number, "PID": 10000 + number, "DSC": "tcp receiver (generic) child=0"} for number in range(6)]
 import command

_PROCESSES = [
    {"IDX": number, "PID": 10000 + number, "DSC": "udp receiver child=0 sock=127.0.0.1"} for number in range(8)
]


@command("bench.psimport time

from jsonrpcs_tx import command

_PROCESSES = [{"IDX": number, "PID": 10000 + number, "DSC": "tcp receiver (generic) child=0"} for number in range(6)]
")
def psimport time

from jsonrpcs_tx import command

_PROCESSES = [{"IDX": number, "PID": 10000 + number, "DSC": "tcp receiver (generic) child=0"} for number in range(6)]
() -> list[dict[str, object]]:
    """Returns what core.psimport time

from jsonrpcs_tx import command

_PROCESSES = [{"IDX": number, "PID": 10000 + number, "DSC": "tcp receiver (generic) child=0"} for number in range(6)]
 of a Kamailio of six processes does: some 400 bytes."""
    return [dict(process) for process in _PROCESSES]


@command("bench.spin", stateless=True)
def spin(seconds: float) -> str:
    """Takes so much CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return "done"


@command("bench.later")
async def later() -> list[str]:
    """Returns a little, asynchronously."""
    return ["later"]
