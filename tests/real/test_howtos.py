"""The tutorial and the how-tos of the documentation: their commands, run as they stand, print what the pages show."""

import contextlib
import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.client.errors import ClientError
from tests.support import PATIENCE, REPOSITORY, is_json
from tests.support.files import public_directory
from tests.support.pages import Block, Shell, blocks
from tests.support.ports import free_port
from tests.support.programs import need
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

DOCS = REPOSITORY / "docs"


def page(name: str) -> list[Block]:
    """The commands of a page."""
    return [block for block in blocks(DOCS / f"{name}.md") if block.language == "sh"]


def check(block: Block, printed: str) -> None:
    """Compare what a block prints with what its page shows: JSON by its values, all else to the letter."""
    if is_json(block.printed.encode()):
        assert json.loads(printed) == json.loads(block.printed), block.text
    elif block.printed:
        assert printed.endswith(block.printed), (block.text, printed)


def test_certificates(tmp_path: Path) -> None:
    """docs/howto-certificates.md: an authority, a server and two clients; the certificate and the rules change while
    the server runs.
    """
    for program in ("openssl", "curl"):
        need(program, program)
    with Shell(tmp_path, {"tcp:8443:": "tcp:0:"}) as terminal:
        for block in page("howto-certificates"):
            check(block, terminal.run(block.text))
            if "--check" in block.text:
                terminal.replaced[":8443"] = f":{terminal.port('https')}"
            if "kill -HUP" in block.text:
                terminal.logged("rules reloaded")


def test_proxies() -> None:
    """docs/howto-proxies.md: HAProxy and nginx in front, so that rules see the client."""
    for program, package in (
        ("openssl", "openssl"),
        ("curl", "curl"),
        ("haproxy", "haproxy"),
        ("nginx", "nginx-light"),
    ):
        need(program, package)
    with public_directory() as directory:
        replaced = {"/run/jsonrpcs/": f"{directory}/"}
        for port in ("8080", "8081", "8443", "8444", "8445"):
            replaced[f":{port}"] = f":{free_port()}"
        if os.geteuid():
            replaced['http_group = "www-data"'] = ""
        with Shell(directory, replaced) as terminal, ended(directory / "haproxy.pid", directory / "nginx.pid"):
            for block in page("howto-proxies"):
                check(block, terminal.run(block.text))
                if "--check" in block.text:
                    terminal.logged("serving")


def test_migration() -> None:
    """docs/howto-migration.md: a server takes over from Kamailio, and answers the same but for what the page shows."""
    for program in ("kamailio", "kamctl"):
        need(program, "kamailio")
    with public_directory() as directory:
        lists = directory / "etc"
        lists.mkdir()
        replaced = {
            "/run/kamailio/": f"{directory}/",
            "/etc/kamailio": str(lists),
            "listen=udp:127.0.0.1:5060": f"listen=udp:127.0.0.1:{free_port()}",
            "kamctl rpc": f"RPCFIFOPATH={directory}/kamailio_rpc.fifo kamctl rpc",
        }
        with Shell(directory, replaced) as terminal, ended(directory / "kamailio.pid"):
            for block in page("howto-migration"):
                printed = terminal.run(block.text)
                for shown, here in (("/etc/kamailio", str(lists)), ("/run/kamailio/", f"{directory}/")):
                    printed = printed.replace(here, shown)
                printed = re.sub(r'"id": \d+$', '"id": 1', printed, flags=re.MULTILINE)  # a process id
                assert printed.endswith(block.printed), (block.text, printed)
                if "kamailio -f" in block.text or block.text.endswith("--compatibility 5.6\n"):
                    wait_until(lambda: answers(directory / "kamailio_rpc.sock"))
                if "kill $(cat kamailio.pid)" in block.text:
                    wait_until(lambda: not (directory / "kamailio.pid").exists())


def test_tutorial(tmp_path: Path) -> None:
    """docs/tutorial.md: the files that it shows are a service, and its tests pass."""
    need("curl", "curl")
    port = free_port()
    with Shell(tmp_path, {":8080": f":{port}"}) as terminal:
        for block in blocks(DOCS / "tutorial.md"):
            if block.language == "python":
                name = block.text.partition("\n")[0].removeprefix("# ")
                (tmp_path / name).write_text(block.text.replace(":8080", f":{port}"))
            elif block.language == "sh" and "pip install" not in block.text:
                printed = terminal.run(block.text).replace(f":{port}", ":8080")
                check(block, re.sub(r"passed in [\d.]+s", "passed in 0.12s", printed))
                if "twistd -y" in block.text:
                    wait_until(lambda: listens(port))
                if "kill " in block.text:
                    wait_until(lambda: not (tmp_path / "twistd.pid").exists())


def listens(port: int) -> bool:
    """Whether a server listens at a port of this machine."""
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), PATIENCE):
        return True
    return False


def answers(path: Path) -> bool:
    """Whether a server answers at a Unix socket."""
    try:
        with Client(f"unix:{path}", 1) as client:
            client.call("core.echo")
    except ClientError:
        return False
    return True


@contextlib.contextmanager
def ended(*pid_files: Path) -> Iterator[None]:
    """End the daemons that have left their process ids in files, if they still run."""
    try:
        yield
    finally:
        for file in pid_files:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(file.read_text()), signal.SIGTERM)
