"""Real Redis servers and Sentinels in processes of their own."""

import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

from jsonrpcs_tx.redis.resp import Reply, ReplyReader, Word, encode
from tests.support import PATIENCE
from tests.support.ports import free_port
from tests.support.programs import need

_READY = re.compile("Ready to accept connections|Sentinel ID is")


class RedisServer:
    """C{redis-server} on a Unix socket and a free TCP port of the loopback address, without persistence unless the
    options say otherwise. It keeps its directory, port and files when it is started again.

    @param directory: where it runs; its files are made there.
    @param options: of redis.conf, with underscores for dashes; those of the same name are overridden. An empty value
        leaves an option out.
    @ivar port: TCP; with TLS if there is C{tls_cert_file}.
    @ivar path: of its Unix socket.
    @ivar log: the lines that it has logged so far.
    """

    _defaults: ClassVar[Mapping[str, str]] = {"save": '""', "appendonly": "no", "enable_debug_command": "yes"}
    _arguments: ClassVar[tuple[str, ...]] = ()

    def __init__(self, directory: Path, **options: str) -> None:
        need("redis-server", "redis-server")
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        self.path = str(directory / "redis.sock")
        self.log: list[str] = []
        plain, secure = ("0", str(self.port)) if "tls_cert_file" in options else (str(self.port), "")
        lines: Mapping[str, str] = {
            "bind": "127.0.0.1",
            "port": plain,
            "tls_port": secure,
            "unixsocket": "redis.sock",
            "dir": str(directory),
            **self._defaults,
            **options,
        }
        self._file = directory / "redis.conf"
        self._file.write_text("".join(f"{_name(name)} {line}\n" for name, line in lines.items() if line))
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Its location over the Unix socket."""
        return f"redis+unix:{self.path}"

    @property
    def tcp_url(self) -> str:
        """Its location over TCP."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; again with the data that it has kept."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self.process = subprocess.Popen(
            ["redis-server", str(self._file), *self._arguments],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        if not self._ready.wait(PATIENCE) or self.process.poll() is not None:
            self.kill()
            raise AssertionError("redis-server did not start:\n" + "\n".join(self.log))

    def stop(self) -> None:
        """Stop it in an orderly way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as C{kill -9} does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Have it hang: its sockets accept connections and bytes, and there is no answer."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def command(self, *words: Word) -> Reply:
        """Send a command over the Unix socket, wait for its reply, and return it.

        @raise ConnectionError: the server has closed the connection, or takes none.
        """
        reader = ReplyReader()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(self.path)
            client.sendall(encode(words))
            replies: list[Reply] = []
            while not replies:
                data = client.recv(65536)
                if not data:
                    raise ConnectionResetError("Redis has closed the connection")
                replies = reader.feed(data)
            return replies[0]

    def _end(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            if number != signal.SIGKILL:
                self.process.send_signal(signal.SIGCONT)
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line.rstrip("\n"))
            if _READY.search(line):
                self._ready.set()
        self._ready.set()


def _name(option: str) -> str:
    return option.replace("_", "-")


class Sentinel(RedisServer):
    """A Sentinel that watches a master called C{mymaster}, and considers it down after half a second.

    @param quorum: how many Sentinels must agree on that.
    """

    _defaults: ClassVar[Mapping[str, str]] = {}
    _arguments: ClassVar[tuple[str, ...]] = ("--sentinel",)

    def __init__(self, directory: Path, master: RedisServer, quorum: int, **options: str) -> None:
        watched = (
            f"monitor mymaster 127.0.0.1 {master.port} {quorum}",
            "down-after-milliseconds mymaster 500",
            "failover-timeout mymaster 3000",
        )
        super().__init__(directory, sentinel="\nsentinel ".join(watched), **options)
