"""Good clients of three real Kamailios, through a gateway that hostile clients attack: every reply is right."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from bench.chaos import MOST_GROWTH, Usage, attack, chaos_server
from bench.hostile import Target
from jsonrpcs_tx.gateway import cache, room
from tests.support import PATIENCE
from tests.support.kamailio import Kamailio
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

CLIENTS = 16
NODES = ("a", "b", "c")
OF_NODES = len(NODES) * (room.MAX_BYTES + cache.MAX_SIZE) // 1000
"""kB that the calls which wait for nodes, and their cached answers, may take in addition to what a server without nodes
may.
"""

SECONDS_EACH = 0.0008
"""Of the attack, for each call, so that it lasts as long as the calls do, about."""

OPTIONS = ("--async-limit=5000", "--async-timeout=30", "--http-timeout=5", "--node-interval=1")
IDLE = 0.9
"""Seconds after which a connection may be closed to make room for others, or nearly."""


class Client:
    """A good client: it calls the nodes, over one connection, and knows what they have to answer.

    @ivar calls: that have been answered right.
    @ivar wrong: what has not.
    """

    def __init__(self, address: tuple[str, int], number: int) -> None:
        self.calls = 0
        self.wrong: list[str] = []
        self._number = number
        self._connection = HTTPConnection(*address, timeout=PATIENCE)
        self._id = 0
        self._answered = 0.0

    def run(self, count: int) -> None:
        """Make so many calls, or more."""
        while self.calls < count and not self.wrong:
            for path, documents, results in self._round():
                self._ask(path, documents, results)

    def close(self) -> None:
        self._connection.close()

    def _round(self) -> Iterator[tuple[str, list[tuple[str, list[Any]]], list[Any]]]:
        """Calls of all kinds: the path, the methods with their parameters, the results."""
        turn, node, key = self.calls, NODES[self.calls % 3], f"client{self._number}"
        echo = ("core.echo", [key, str(turn)])
        yield f"/RPC/{node}", [echo], [echo[1]]
        yield f"/RPC/{node}", [("htable.seti", ["a", key, turn])], ["Ok. Key set to new value."]
        kept = {"item": {"name": key, "value": turn, "flags": 2, "expire": ""}}
        yield f"/RPC/{node}", [("htable.get", ["a", key])], [kept]
        many = [("core.echo", [key, str(turn), str(place)]) for place in range(20)]
        yield f"/RPC/{node}", many, [params for _, params in many]
        yield "/RPC/*", [echo], [{name: {"result": echo[1]} for name in NODES}]
        if turn % 5 == 0:
            yield f"/RPC/{node}", [("dispatcher.reload", [])], ["Ok. Dispatcher successfully reloaded."]

    def _ask(self, path: str, documents: list[tuple[str, list[Any]]], results: list[Any]) -> None:
        requests = []
        for method, params in documents:
            self._id += 1
            requests.append({"jsonrpc": "2.0", "method": method, "params": params, "id": self._id})
        found = self._post(path, json.dumps(requests[0] if len(requests) == 1 else requests))
        replies = found if isinstance(found, list) else [found]
        if len(replies) != len(requests):
            self.wrong.append(f"{path}: {len(requests)} requests were answered with {found}")
            return
        for request, reply, result in zip(requests, replies, results, strict=True):
            given = reply.get("result")
            if isinstance(given, dict) and "item" in given:
                given["item"].update(flags=2, expire="")
            if given != result or reply["id"] != request["id"]:
                self.wrong.append(f"{path}: {request} was answered with {reply}, not {result}")
            self.calls += 1

    def _post(self, path: str, document: str) -> Any:
        """Send a document until it is taken: hostile clients may have all batches that are allowed."""
        deadline = time.monotonic() + PATIENCE
        while True:
            idle = time.monotonic() - self._answered
            try:
                self._connection.request("POST", path, document)
                response = self._connection.getresponse()
                body = response.read()
            except (HTTPException, OSError):
                self._connection.close()
                if idle < IDLE:
                    raise
                continue
            self._answered = time.monotonic()
            if response.status != 503 or b"Too Many Batches" not in body or self._answered > deadline:
                return json.loads(body)
            time.sleep(0.1)


@pytest.mark.parametrize("calls", [5_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_chaos(tmp_path: Path, calls: int) -> None:
    """Beside all hostile clients, of the gateway and of its nodes, every reply is right; what it takes is bounded."""
    with ExitStack() as stack:
        kamailios = []
        for name in NODES:
            (tmp_path / name).mkdir()
            kamailios.append(stack.enter_context(Kamailio(tmp_path / name)))
        a, b, c = kamailios
        nodes = (
            f"--node=a=unix:{a.unix} group=all timeout=25",
            f"--node=b=http://127.0.0.1:{b.http[1]}/RPC group=all timeout=25",
            f"--node=c=unix:{c.unix} group=all timeout=25 cache=0.5",
        )
        (tmp_path / "gateway").mkdir()
        gateway = stack.enter_context(chaos_server(tmp_path / "gateway", *nodes, *OPTIONS))
        for name in NODES:
            gateway.wait_for_log(f"node {name} is up")
        pid = gateway.process.pid
        target = Target(gateway.addresses, str(gateway.reply_dir), max(4.0, calls * SECONDS_EACH), nodes=NODES)
        attacked: list[Any] = []
        attacker = threading.Thread(target=lambda: attacked.append(attack(pid, target)))
        before = Usage.of(pid)
        attacker.start()
        clients = [Client(gateway.addresses["http"], number) for number in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            for done in [pool.submit(client.run, calls // CLIENTS) for client in clients]:
                done.result()
        attacker.join()
        for client in clients:
            client.close()
        assert [text for client in clients for text in client.wrong] == []
        assert sum(client.calls for client in clients) >= calls // CLIENTS * CLIENTS
        ((samples, steps),) = attacked
        assert steps["abuses_nodes"] > 0
        growth = max(sample.memory for sample in samples) - before.memory
        assert growth < MOST_GROWTH + OF_NODES, [sample.memory for sample in samples]
        wait_until(lambda: Usage.of(pid).descriptors <= before.descriptors + 100)
        listed = json.loads(gateway.http(b'{"jsonrpc":"2.0","method":"gateway.nodes","id":1}').body)["result"]
        assert [node["state"] for node in listed] == ["up"] * 3
