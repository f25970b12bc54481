"""The commands of TLS beside the real Kamailio's: the same shapes, and the same of equal connections."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support import Server, unverified
from tests.support.kamailio import Kamailio
from tests.support.likeness import is_like
from tests.support.ports import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@attrs.frozen
class Side:
    """One of the two servers.

    @ivar call: calls a command, and gives the reply.
    @ivar address: where it speaks TLS.
    @ivar certificate: its certificate file; Kamailio's is the same.
    """

    call: Callable[..., Any]
    address: tuple[str, int]
    certificate: Path


def caller(send: Callable[[bytes], bytes | None]) -> Callable[..., Any]:
    """What calls commands by sending documents."""

    def call(method: str, *params: object) -> Any:
        document = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})
        reply = json.loads(send(document.encode()) or b"null")
        return reply["result"] if "result" in reply else (reply["error"]["code"], reply["error"]["message"])

    return call


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """Kamailio and this server."""
    with ExitStack() as stack:
        directory = tmp_path_factory.mktemp("ours")
        ours = stack.enter_context(Server(directory, "--compatibility=5.6"))
        certificate = directory / "tls.pem"
        port = free_port()
        config = directory / "tls.cfg"
        config.write_text(
            f"[server:default]\nmethod = TLSv1.2+\ncertificate = {certificate}\nprivate_key = {certificate}\n"
        )
        theirs = stack.enter_context(
            Kamailio(
                tmp_path_factory.mktemp("kamailio"),
                core=("enable_tls=yes", f"listen=tls:127.0.0.1:{port}", 'loadmodule "tls.so"'),
                more=(f'modparam("tls", "config", "{config}")',),
            )
        )
        yield (
            Side(caller(theirs.call), ("127.0.0.1", port), config),
            Side(caller(lambda document: ours.call("unix", document)), ours.addresses["https"], certificate),
        )


def listed(side: Side, state: str) -> dict[str, Any]:
    """The one connection, once it has a state."""

    def found() -> dict[str, Any] | None:
        connections: list[dict[str, Any]] = side.call("tls.list")
        return connections[0] if len(connections) == 1 and connections[0]["state"] == state else None

    return wait_until(found, lambda: side.call("tls.list"))


OWN = ("id", "timeout", "src_port", "dst_port", "ct_wq_size")
"""What is each server's own of a connection."""


def test_list(sides: tuple[Side, Side]) -> None:
    """A connection is shown alike before, in and after its handshake."""
    context = unverified()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    shown: list[list[dict[str, Any]]] = []
    for side in sides:
        assert side.call("tls.list") == []
        with socket.create_connection(side.address) as plain:
            steps = [listed(side, "pre-init")]
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            with pytest.raises(ssl.SSLWantReadError):
                context.wrap_bio(incoming, outgoing).do_handshake()
            plain.sendall(outgoing.read())
            steps.append(listed(side, "tls_accept"))
        with context.wrap_socket(socket.create_connection(side.address)) as secure:
            steps.append(listed(side, "established"))
            assert steps[-1]["src_port"] == secure.getsockname()[1]
            assert steps[-1]["dst_port"] == side.address[1]
        shown.append(steps)
    for theirs, mine in zip(*shown, strict=True):
        assert list(theirs) == list(mine)
        assert {key: theirs[key] for key in theirs if key not in OWN} == {
            key: mine[key] for key in mine if key not in OWN
        }
        assert is_like(mine, theirs)
        assert mine["timeout"] > 0


def test_info_and_options(sides: tuple[Side, Side]) -> None:
    """The counts and the settings have the same members in the same order."""
    for method in ("tls.info", "tls.options"):
        theirs, mine = (side.call(method) for side in sides)
        assert list(theirs) == list(mine)
        for name, value in theirs.items():
            assert value is None or mine[name] is None or type(value) is type(mine[name]), name
    theirs, mine = (side.call("tls.options") for side in sides)
    same = ("force_run", "verify_certificate", "verify_depth", "require_certificate", "verify_client", "ca_list", "log")
    assert {name: theirs[name] for name in same} == {name: mine[name] for name in same}


def test_reload(sides: tuple[Side, Side]) -> None:
    """Both say that they have read their files again, and refuse with 500 what they cannot read."""
    for side in sides:
        assert side.call("tls.reload") == "Ok. TLS configuration reloaded."
        saved = side.certificate.read_bytes()
        side.certificate.write_bytes(b"nothing of the kind")
        code, text = side.call("tls.reload")
        side.certificate.write_bytes(saved)
        assert code == 500
        assert "TLS configuration" in text
        assert side.call("tls.reload") == "Ok. TLS configuration reloaded."


def test_not_in_5_6(sides: tuple[Side, Side]) -> None:
    """Kamailio 5.6 has no tls.kill and no tls.domains, which are of later versions."""
    theirs, mine = (set(side.call("system.listMethods")) for side in sides)
    tls = {method for method in theirs if method.startswith("tls.")}
    assert tls == {"tls.info", "tls.list", "tls.options", "tls.reload"}
    assert tls | {"tls.kill", "tls.domains"} == {method for method in mine if method.startswith("tls.")}
