"""docs/fleet.md: three servers, two gateways and two real Kamailio servers, set up by its commands."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import reactor

from jsonrpcs_tx import Settings, makeService
from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.rpc.faults import Fault
from tests.support import PATIENCE, REPOSITORY, environment
from tests.support.kamailio import Kamailio
from tests.support.pages import blocks
from tests.support.ports import free_port
from tests.support.redisserver import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

PAGE = REPOSITORY / "docs" / "fleet.md"
DAEMONS = ("node1", "node2", "node3", "gateway1", "gateway2")


def end(directory: Path) -> None:
    """Stop the daemons."""
    pids = [int((directory / f"{name}.pid").read_text()) for name in DAEMONS if (directory / f"{name}.pid").exists()]
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not any((directory / f"{name}.pid").exists() for name in DAEMONS))


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a path that is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="fleet") as path:
        yield Path(path)


def test_page(directory: Path) -> None:
    """The commands of the page set up what they say. Then a Kamailio that was killed comes back with its destinations
    as wanted, and without Redis nothing is refused but changes of what is shared. Only sockets, ports and the
    installation are those of the test.
    """
    for name in ("sip1", "sip2", "redis"):
        (directory / name).mkdir()
    listed = directory / "dispatcher.list"
    listed.write_text("1 sip:127.0.0.1:5080 0\n")
    (directory / "venv").symlink_to(os.environ.get("VIRTUAL_ENV") or sys.prefix)
    ports = (free_port(), free_port())
    with (
        Kamailio(directory / "sip1", list_file=listed) as first,
        Kamailio(directory / "sip2", list_file=listed) as second,
        RedisServer(directory / "redis", appendonly="yes", appendfsync="always") as redis,
    ):
        places = {
            "/run/redis/redis-server.sock": redis.path,
            "/run/kamailio1/rpc.sock": first.unix,
            "/run/kamailio2/rpc.sock": second.unix,
            "tcp:808$n:": f"tcp:$((n == 1 ? {ports[0]} : {ports[1]})):",
            ":8081/": f":{ports[0]}/",
            ":8082/": f":{ports[1]}/",
        }

        try:
            _follow_page(directory, places, ports)
            _lose_kamailio(first)
            _lose_redis(directory, redis, ports[0])
        finally:
            end(directory)
    for name in DAEMONS:
        log = (directory / f"{name}.log").read_text()
        assert "Traceback" not in log, log


def _run(directory: Path, text: str, places: dict[str, str]) -> str:
    """What a block of the page prints, with the places of the test."""
    for here, there in places.items():
        text = text.replace(here, there)
    done = subprocess.run(
        ["bash", "-ec", text],
        cwd=directory,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == 0, (text, done.stdout)
    return done.stdout


def _node(directory: Path, name: str) -> Client:
    return Client(f"unix:{directory}/{name}.sock")


def _follow_page(directory: Path, places: dict[str, str], ports: tuple[int, int]) -> None:
    shell = [block for block in blocks(PAGE) if block.language == "sh"]
    assert "pip install" in shell[0].text
    for block in shell[1:]:
        if "htable.sets" in block.text:
            _wait_until_together(directory, ports)
        printed = _run(directory, block.text, places)
        if "fleet.status" in block.text:
            labels = [line.partition(":")[0] for line in block.printed.splitlines()]
            assert [line.partition(":")[0] for line in printed.splitlines()] == labels
        if "htable.get" in block.text:
            assert len(re.findall("value: 1$", printed, re.MULTILINE)) == 4
    with Client(f"http://127.0.0.1:{ports[0]}/RPC") as client:
        assert set(client.call("fleet.call", "edge", "core.echo", "x")) == {"node1", "node2", "node3"}


def _lose_kamailio(kamailio: Kamailio) -> None:
    """It is killed, and comes back with its destinations as wanted."""
    os.killpg(kamailio._process.pid, signal.SIGKILL)
    kamailio._process.wait()
    kamailio.start()
    with Client(f"unix:{kamailio.unix}") as client:
        wait_until(lambda: '"IP"' in json.dumps(client.call("dispatcher.list")))


def _lose_redis(directory: Path, redis: RedisServer, port: int) -> None:
    """It is killed, which costs nothing but changes of what is shared."""
    redis.kill()
    with _node(directory, "node1") as client:
        wait_until(lambda: not client.call("fleet.status")["together"])
        assert client.call("htable.get", "ban", "192.0.2.1")["item"]["value"] == "1"
        with pytest.raises(Fault, match="503 Fleet Unavailable: Redis is away"):
            client.call("htable.sets", "ban", "k", "v")
    with Client(f"http://127.0.0.1:{port}/RPC/sip2") as client:
        assert client.call("dispatcher.set_state", "ap", 1, "sip:127.0.0.1:5080")
    redis.start()
    with _node(directory, "node1") as client:
        wait_until(lambda: client.call("fleet.status")["together"])
        assert client.call("htable.sets", "ban", "k", "v")
        assert client.call("fleet.status")["losses"] == 0
    with _node(directory, "node2") as client:
        wait_until(lambda: '"k"' in json.dumps(client.call("htable.dump", "ban")))


def _wait_until_together(directory: Path, ports: tuple[int, int]) -> None:
    """Wait until all daemons are together, and the gateways know the others."""
    targets = [f"unix:{directory}/node{n}.sock" for n in (1, 2, 3)]
    targets += [f"http://127.0.0.1:{port}/RPC" for port in ports]

    def together() -> bool:
        try:
            for target in targets:
                with Client(target) as client:
                    if not client.call("fleet.status")["together"]:
                        return False
            with Client(targets[-1]) as client:
                states = [one["state"] for one in client.call("gateway.nodes")]
            with Client(targets[-2]) as client:
                states += [one["state"] for one in client.call("gateway.nodes")]
        except (ClientError, Fault):
            return False
        return states == ["up"] * 10

    wait_until(together)


def test_page_lists_commands(tmp_path: Path) -> None:
    """docs/fleet.md names every command fleet.*, with its parameters, and every setting."""
    secret = tmp_path / "secret"
    secret.write_text("x" * 32)
    settings = Settings(fleet="redis+unix:/x", fleet_secret=str(secret), transport=0)
    registry = makeService(settings, reactor).registry
    page = PAGE.read_text()
    rows = re.findall(r"^\| `(fleet\.\w+)` \| (.*?) ?\|", page, re.MULTILINE)
    assert {name for name, _ in rows} == {name for name in registry if name.startswith("fleet.")}
    for name, parameters in rows:
        shown = [one for one in parameters.split(", ") if one]
        binding = registry[name].binding
        assert len(shown) == len(binding.parameters) + (binding.rest is not None), name
    for name in vars(type(settings)):
        if name.startswith("fleet"):
            assert f"`{name}`" in page
