"""A node that writes down what it runs: C{python -m tests.support.countingnode SCHEME PLACE RUNS}.

Whatever the method, a call has the parameters C{[id, seconds, how]}: it takes so many seconds, and then answers with
its id, or with what C{how} says: C{garbage}, C{large} (200 kB), C{cut} (half a reply), C{other} (a reply to another
call).
In the file RUNS it writes C{begin METHOD ID} and C{end METHOD ID} at that moment, and its own start.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.support import REPOSITORY
from tests.support.waiting import wait_until

LARGE = 200_000
"""Bytes of a large result."""

FIRST_UPTIME = 1000
"""Seconds for which the first process says it has run, so that each later one has run for less."""


class CountingNode:
    """Such a node in a process of its own.

    @param scheme: C{unix} or C{http}.
    @ivar target: where it is.
    """

    def __init__(self, directory: Path, scheme: str, place: str) -> None:
        self._scheme = scheme
        self._place = place
        self._runs = directory / "runs"
        self._runs.touch()
        self.start()
        self.target = f"unix:{place}" if scheme == "unix" else f"http://127.0.0.1:{self._place}/RPC"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.signal(signal.SIGCONT)
        self.kill()

    def start(self) -> None:
        """Start it, or start it again."""
        argv = [sys.executable, "-m", "tests.support.countingnode", self._scheme, self._place, str(self._runs)]
        self._process = subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._place = self._process.stdout.readline().strip()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def noted(self, what: str, method: str = "") -> list[str]:
        """The ids of what it has begun, or ended.

        @param method: which of it; empty: all.
        """
        found = []
        for line in self._runs.read_text().splitlines():
            word, of, id = line.split()
            if word == what and method in ("", of):
                found.append(id)
        return found

    def overlaps(self) -> list[str]:
        """What had begun while another change of the same module was running. What a process runs ends with it."""
        running: dict[str, str] = {}
        found = []
        for line in self._runs.read_text().splitlines():
            word, method, id = line.split()
            module = method.partition(".")[0]
            if word == "start":
                running.clear()
            elif module == "core":
                pass  # it reads
            elif word == "end":
                running.pop(module, None)
            elif module in running:
                found.append(id)
            else:
                running[module] = id
        return found

    def wait(self, what: str, count: int) -> None:
        """Wait until so much has begun, or ended."""
        wait_until(lambda: len(self.noted(what)) >= count, self._runs.read_text, pause=0.01)


class _Runner:
    def __init__(self, runs: str) -> None:
        self._runs = os.open(runs, os.O_WRONLY | os.O_APPEND)
        is_first = os.fstat(self._runs).st_size == 0
        self._started = time.monotonic() - (FIRST_UPTIME if is_first else 0)
        self._note("start", "-", "-")

    def answer(self, document: bytes) -> bytes:
        """Run a request.

        @return: the reply.
        """
        request = json.loads(document)
        method, id = request["method"], request["id"]
        if method == "core.uptime":
            return _reply({"uptime": int(time.monotonic() - self._started)}, id)
        if method == "core.version":
            return _reply("a counting node", id)
        own, seconds, how = (*request["params"], "")[:3]
        self._note("begin", method, own)
        time.sleep(seconds)
        self._note("end", method, own)
        if how == "garbage":
            return b"\0\xff{garbage" + bytes(range(256))
        if how == "other":
            return _reply(own, id + 1_000_000)
        reply = _reply("x" * LARGE if how == "large" else own, id)
        return reply[: len(reply) // 2] if how == "cut" else reply

    def _note(self, word: str, method: str, id: object) -> None:
        os.write(self._runs, f"{word} {method} {id}\n".encode())


def _reply(result: Any, id: int) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "result": result, "id": id}, separators=(",", ":")).encode()


def _serve_unix(runner: _Runner, path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * LARGE)
        server.bind(path)
        print(path, flush=True)  # noqa: T201 # it is ready

        def work(document: bytes, client: str) -> None:
            server.sendto(runner.answer(document), client)

        while True:
            document, client = server.recvfrom(65536)
            threading.Thread(target=work, args=(document, client), daemon=True).start()


def _serve_http(runner: _Runner, port: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            reply = runner.answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Site(ThreadingHTTPServer):
        request_queue_size = 512

    with Site(("127.0.0.1", port), Handler) as site:
        print(site.server_port, flush=True)  # noqa: T201 # it is ready
        site.serve_forever()


if __name__ == "__main__":
    _scheme, _place, _runs = sys.argv[1:]
    if _scheme == "unix":
        _serve_unix(_Runner(_runs), _place)
    else:
        _serve_http(_Runner(_runs), int(_place))
