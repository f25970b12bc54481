"""Shared by the tests of the client: targets of our server and of the real Kamailio."""

from pathlib import Path

from jsonrpcs_tx.client.targets import Target, parse_target
from tests.support import TRANSPORTS, Server, target_text
from tests.support.kamailio import Kamailio

__all__ = ["TRANSPORTS", "kamailio_targets", "leftovers", "our_target", "same_ports"]


def our_target(server: Server, transport: str) -> Target:
    """A transport of our server as a target."""
    options = {"reply_dir": str(server.reply_dir)} if transport == "fifo" else {}
    if transport == "https":
        options["tls_ca"] = str(server.directory / "tls.pem")
    return parse_target(target_text(transport, server.addresses[transport]), **options)


def same_ports(server: Server) -> list[str]:
    """The options with which another server listens where one has listened before; Unix sockets and FIFOs are the same
    anyway in the same directory.
    """
    ports = {transport: address[1] for transport, address in server.addresses.items() if not isinstance(address, str)}
    return [
        f"--tcp-socket=tcp:127.0.0.1:{ports['tcp']}",
        *(f"--{name}-listen=tcp:{ports[name]}:interface=127.0.0.1" for name in ("http", "https")),
        f"--dgram-socket=udp:127.0.0.1:{ports['udp4']}",
        f"--dgram-socket=udp:[::1]:{ports['udp6']}",
    ]


def kamailio_targets(kamailio: Kamailio) -> dict[str, str]:
    """The targets of a real Kamailio, by transport."""
    host, port = kamailio.http
    return {"unix": f"unix:{kamailio.unix}", "fifo": f"fifo:{kamailio.fifo}", "http": f"http://{host}:{port}/RPC"}


def leftovers(*directories: Path) -> list[str]:
    """The reply FIFOs and reply sockets that clients have left behind."""
    return [str(path) for directory in directories for path in directory.glob("jsonrpcs*")]
