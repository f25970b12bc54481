"""The client that waits, beside our server and the real Kamailio."""

import pytest

from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.client.errors import NotReachable
from jsonrpcs_tx.rpc.faults import Fault
from tests.support import Server

pytestmark = pytest.mark.slow


def target_of(server: Server, transport: str) -> str:
    """A transport of a server as a target."""
    address = server.addresses[transport]
    scheme = transport.rstrip("46")
    if isinstance(address, str):
        return f"{scheme}:{address}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{scheme}:{host}:{address[1]}"


@pytest.mark.parametrize("transport", ["unix", "udp4", "udp6"])
def test_call(server: Server, transport: str) -> None:
    """A call returns the result, or raises the fault."""
    with Client(target_of(server, transport)) as client:
        assert client.call("jsonrpc.echo", "x", 12345678901234567890) == ["x", 12345678901234567890]
        with pytest.raises(Fault, match="500 Method Not Found"):
            client.call("no.such")
        assert client.batch([("jsonrpc.echo", ["a"]), ("jsonrpc.echo", ())]) == [["a"], []]
        document = b'{"jsonrpc":"2.0","method":"jsonrpc.echo","params":[1],"id":"x"}'
        assert client.raw(document) == b'{"jsonrpc":"2.0","result":[1],"id":"x"}'


def test_not_reachable() -> None:
    """Where no server is, the error says so at once."""
    with pytest.raises(NotReachable, match=r"^unix:/nowhere/x: core.uptime: No such file or directory; start"):
        Client("unix:/nowhere/x").call("core.uptime")
