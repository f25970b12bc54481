"""The real Kamailio, for comparison in tests."""

import glob
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.client.errors import ClientError
from tests.support import DATA, PATIENCE
from tests.support.ports import free_port
from tests.support.programs import need

_MODULES = "/usr/lib/*/kamailio/modules"
_LOADED = (*("kex", "corex", "tm", "sl", "pv", "htable", "counters", "dispatcher", "cfg_rpc", "xhttp", "jsonrpcs"),)


class Kamailio:
    """Kamailio in a directory of its own, with the same settings as the servers in tests.

    @param more: further lines of its configuration.
    @param core: those that have to come before its modules.
    @param list_file: its destinations.
    @param on_http: what it does with a request over HTTP.
    @ivar unix: its datagram socket.
    @ivar fifo: its FIFO.
    @ivar http: where it listens for HTTP.
    """

    def __init__(
        self,
        directory: Path,
        pretty_format: int = 0,
        reply_dir: str = "/tmp/",
        more: Sequence[str] = (),
        core: Sequence[str] = (),
        list_file: Path = DATA / "dispatcher.list",
        on_http: str = "jsonrpc_dispatch();",
    ) -> None:
        need("kamailio", "kamailio")
        self.directory = directory
        # Its paths have a limit that pytest's directories exceed.
        self._sockets = tempfile.TemporaryDirectory(prefix="kamailio")
        self.unix = self._sockets.name + "/rpc.sock"
        self.fifo = self._sockets.name + "/rpc.fifo"
        self.http = ("127.0.0.1", free_port())
        config = directory / "kamailio.cfg"
        lines = [
            "#!KAMAILIO",
            "debug=2",
            "log_stderror=yes",
            "children=1",
            "tcp_children=1",
            "auto_aliases=no",
            "tcp_accept_no_cl=yes",
            "exit_timeout=1",  # one of its processes hangs at the end now and then, and it waits a minute by default
            *core,
            f"listen=tcp:127.0.0.1:{self.http[1]}",
            f'mpath="{glob.glob(_MODULES)[0]}/"',
            *(f'loadmodule "{module}.so"' for module in _LOADED),
            'modparam("htable", "htable", "a=>size=4;")',
            'modparam("pv", "shvset", "number=i:5")',
            'modparam("pv", "shvset", "text=s:hello")',
            'modparam("dispatcher", "reload_delta", 0)',
            f'modparam("dispatcher", "list_file", "{list_file}")',
            'modparam("jsonrpcs", "transport", 7)',
            f'modparam("jsonrpcs", "pretty_format", {pretty_format})',
            f'modparam("jsonrpcs", "fifo_name", "{self.fifo}")',
            f'modparam("jsonrpcs", "fifo_reply_dir", "{reply_dir}")',
            f'modparam("jsonrpcs", "dgram_socket", "{self.unix}")',
            *more,
            "request_route { exit; }",
            f"event_route[xhttp:request] {{ {on_http} }}",
        ]
        config.write_text("\n".join(lines) + "\n")
        self._log = directory / "kamailio.log"
        self.start()

    OPTIONS = (
        *("--htable=a=>size=4;", "--reload-delta=0", f"--list-file={DATA / 'dispatcher.list'}"),
        *("--shvset=number=i:5", "--shvset=text=s:hello"),
    )
    """The options that set up this server in the same way."""

    def __enter__(self) -> "Kamailio":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        self._sockets.cleanup()

    def start(self) -> None:
        argv = ["kamailio", "-DD", "-E", "-f", str(self.directory / "kamailio.cfg")]
        argv += ["-P", str(self.directory / "kamailio.pid"), "-Y", self._sockets.name]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        deadline = time.monotonic() + PATIENCE
        document = b'{"jsonrpc":"2.0","method":"core.uptime","id":1}'
        while self.call(document, 0.2) is None:
            failed = self._process.poll() is not None or time.monotonic() > deadline
            assert not failed, self._log.read_text()[-3000:]
            time.sleep(0.02)

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        os.killpg(self._process.pid, number)

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        return self._process.wait(PATIENCE)

    def stop(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def call(self, document: bytes, patience: float = 2) -> bytes | None:
        """Send a document over the datagram socket; return None if no reply comes."""
        try:
            with Client(f"unix:{self.unix}", patience) as client:
                return client.raw(document)
        except ClientError:
            return None
