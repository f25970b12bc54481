"""The certificate of HTTPS is read again while the server runs."""

import contextlib
import json
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from tests.support import ECHO, ECHO_REPLY, PATIENCE, Server, http_request, unverified
from tests.support.tls import Identity, make_identity

pytestmark = pytest.mark.slow

RELOAD = b'{"jsonrpc":"2.0","method":"tls.reload","id":1}'


def write(path: Path, identity: Identity) -> None:
    path.write_bytes(identity.key_pem() + identity.pem)


def connect(server: Server) -> ssl.SSLSocket:
    return unverified().wrap_socket(socket.create_connection(server.addresses["https"], PATIENCE))


def serial(connection: ssl.SSLSocket) -> int:
    certificate = connection.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


def echo(connection: ssl.SSLSocket) -> bytes:
    connection.sendall(http_request(ECHO))
    return connection.recv(65_536).partition(b"\r\n\r\n")[2]


def by_command(server: Server) -> None:
    assert json.loads(server.call("unix", RELOAD))["result"] == "Ok. TLS configuration reloaded."


def by_signal(server: Server) -> None:
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log("certificates reloaded")


@pytest.mark.parametrize("reload", [by_command, by_signal])
def test_reload(tmp_path: Path, reload: Callable[[Server], None]) -> None:
    """New connections get the new certificate, and open ones live on."""
    path = tmp_path / "server.pem"
    first, second = make_identity("localhost"), make_identity("localhost")
    write(path, first)
    with Server(tmp_path, f"--tls-certificate={path}") as server, connect(server) as before:
        assert serial(before) == first.certificate.serial_number
        assert echo(before) == ECHO_REPLY
        write(path, second)
        reload(server)
        with connect(server) as after:
            assert serial(after) == second.certificate.serial_number
            assert echo(after) == ECHO_REPLY
        assert echo(before) == ECHO_REPLY


def test_bad_file(tmp_path: Path) -> None:
    """A file that cannot be used is refused with the reason, and the former certificate still counts."""
    path = tmp_path / "server.pem"
    identity = make_identity("localhost")
    write(path, identity)
    with Server(tmp_path, f"--tls-certificate={path}") as server:
        path.write_text("nothing")
        error = json.loads(server.call("unix", RELOAD))["error"]
        assert error["code"] == 500
        assert "no certificate; allowed: certificates in PEM" in error["message"]
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("certificates not reloaded, the former ones stay: .*no certificate")
        with connect(server) as connection:
            assert serial(connection) == identity.certificate.serial_number


def test_without_https(tmp_path: Path) -> None:
    """Without HTTPS there is nothing to reload, and the fault says so."""
    with Server(tmp_path, command=("-n", "jsonrpcs", "--transport=4", "--dgram-socket=rpc.sock")) as server:
        assert json.loads(server.call("unix", RELOAD))["error"]["message"] == "No TLS configuration: HTTPS is off"


def test_handshake_that_never_ends(tmp_path: Path) -> None:
    """A client that never says hello is cut off after http_timeout."""
    with (
        Server(tmp_path, "--http-timeout=0.3") as server,
        socket.create_connection(server.addresses["https"], PATIENCE) as client,
        contextlib.suppress(ConnectionResetError),
    ):
        assert client.recv(1) == b""
