"""Commands of the server that is measured, beside its own: fixed replies, so that every reply can be checked."""

from jsonrpcs_tx import command

_PROCESSES = [
    {"IDX": number, "PID": 10000 + number, "DSC": "udp receiver child=0 sock=127.0.0.1"} for number in range(8)
]


@command("bench.psx")
def psx() -> list[dict[str, object]]:
    """Returns what core.psx of a Kamailio of eight processes does: some 500 bytes."""
    return [dict(process) for process in _PROCESSES]


@command("bench.later")
async def later() -> list[str]:
    """Returns a little, asynchronously."""
    return ["later"]
