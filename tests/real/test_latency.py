"""How long destinations take to answer probes, measured by the real Kamailio and by this server."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import Server
from tests.support.kamailio import Kamailio
from tests.support.ports import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

DELAY = 0.005
"""Seconds: less than a millisecond is measured as 0, as if nothing had been measured yet."""

COPIED = ("via", "v", "from", "f", "to", "t", "call-id", "i", "cseq")
"""The headers of a request that its reply has (RFC 3261, section 8.2.6.2)."""


@contextmanager
def responder(status: str) -> Iterator[int]:
    """A SIP server over UDP that answers every request alike, after a time that whole milliseconds can show.

    @param status: code and reason; empty: it does not answer.
    @return: its port.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def run() -> None:
            while True:
                data, peer = sock.recvfrom(65_536)
                if not data:
                    return
                lines = data.decode().split("\r\n")[1:]
                kept = [line for line in lines if line.partition(":")[0].strip().lower() in COPIED]
                if status:
                    time.sleep(DELAY)
                    sock.sendto("\r\n".join([f"SIP/2.0 {status}", *kept, "Content-Length: 0", "", ""]).encode(), peer)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            sock.sendto(b"", sock.getsockname())
            thread.join()


def test_same_members(tmp_path: Path) -> None:
    """Both measure answers, count timeouts and 408 as such, and show that alike."""
    with ExitStack() as stack:
        works, fails, times_out = (
            stack.enter_context(responder(status)) for status in ("200 OK", "404 Not Found", "408 Request Timeout")
        )
        expected = stack.enter_context(responder(""))
        list_file = tmp_path / "list"
        list_file.write_text(
            f"1 sip:127.0.0.1:{works} 0 4\n1 sip:127.0.0.1:{fails} 0 3\n1 sip:127.0.0.1:{times_out} 0 2\n"
            f"1 sip:127.0.0.1:{expected} 4 1 latency=24;weight=50\n"
        )
        options = {"ds_ping_interval": 1, "ds_probing_mode": 1, "ds_ping_latency_stats": 1}
        (tmp_path / "theirs").mkdir()
        (tmp_path / "ours").mkdir()
        kamailio = stack.enter_context(
            Kamailio(
                tmp_path / "theirs",
                list_file=list_file,
                core=(f"listen=udp:127.0.0.1:{free_port()}",),
                more=[f'modparam("dispatcher", "{name}", {value})' for name, value in options.items()],
            )
        )
        ours = stack.enter_context(
            Server(
                tmp_path / "ours",
                f"--list-file={list_file}",
                "--compatibility=5.6",
                *(f"--{name.replace('_', '-')}={value}" for name, value in options.items()),
            )
        )

        def listed(side: Kamailio | Server, how: str) -> list[dict[str, Any]]:
            document = json.dumps({"jsonrpc": "2.0", "method": "dispatcher.list", "params": [how], "id": 1}).encode()
            reply = side.call(document) if isinstance(side, Kamailio) else side.call("unix", document)
            (record,) = json.loads(reply or b"")["result"]["RECORDS"]
            return [target["DEST"] for target in record["SET"]["TARGETS"]]

        def measured(side: Kamailio | Server) -> bool:
            latencies = [one["LATENCY"] for one in listed(side, "short")]
            return bool(latencies[0]["MAX"] and latencies[1]["MAX"] and latencies[2]["TIMEOUT"])

        wait_until(lambda: measured(kamailio) and measured(ours), pause=0.1)
        for how in ("", "short", "full"):
            theirs, mine = listed(kamailio, how), listed(ours, how)
            assert [list(one) for one in theirs] == [list(one) for one in mine]
            assert [list(one["LATENCY"]) for one in theirs] == [list(one["LATENCY"]) for one in mine]
            assert [one["FLAGS"][0] for one in theirs] == [one["FLAGS"][0] for one in mine] == ["A", "I", "I", "D"]
            assert theirs[3] == mine[3]  # it is not probed
            assert theirs[2]["LATENCY"].pop("TIMEOUT") > 0
            assert mine[2]["LATENCY"].pop("TIMEOUT") > 0
            assert theirs[2]["LATENCY"] == mine[2]["LATENCY"]
