"""Users whose connections stay open while the server's files change: what holds for their very next request."""

import base64
import signal
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support import Server, http_connection
from tests.support.tls import make_identity
from tests.support.users import cheap, write

pytestmark = pytest.mark.slow

ECHO = b'{"jsonrpc":"2.0","method":"jsonrpc.echo","params":["x"],"id":1}'
LATER = b'{"jsonrpc":"2.0","method":"bench.timer","id":1}'


class Held:
    """A server with users and rules, and connections of ann over HTTP and HTTPS that stay open."""

    def __init__(self, directory: Path) -> None:
        self.users, self.rules, self.pem = directory / "users", directory / "rules", directory / "server.pem"
        write(self.users, "ann", "bob")
        self.rules.write_text("http https user=ann allow *\nunix allow *\n")
        identity = make_identity("localhost")
        self.pem.write_bytes(identity.key_pem() + identity.pem)
        self.server = Server(
            directory,
            f"--http-users={self.users}",
            f"--rule-file={self.rules}",
            f"--tls-certificate={self.pem}",
            "--commands=bench.commands",
        )
        self.connections: list[HTTPConnection] = [
            http_connection(name, self.server.addresses[name]) for name in ("http", "https")
        ]

    def ask(self, user: str, password: str = "", document: bytes = ECHO) -> set[int]:
        """The status that a request of a user is answered with on each connection."""
        credentials = base64.b64encode(f"{user}:{password or user}".encode()).decode()
        statuses = set()
        for connection in self.connections:
            connection.request("POST", "/RPC", document, {"Authorization": f"Basic {credentials}"})
            response = connection.getresponse()
            response.read()
            statuses.add(response.status)
        return statuses

    def reload(self, says: str) -> None:
        after = len(self.server.log)
        self.server.process.send_signal(signal.SIGHUP)
        self.server.wait_for_log(says, after)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    held = Held(tmp_path)
    try:
        for _ in range(3):
            assert held.ask("ann") == {200}
        yield held
    finally:
        for connection in held.connections:
            connection.close()
        held.server.stop()


def test_revoked(held: Held) -> None:
    """A user who is removed gets 401, again and again, and is let in when it is back."""
    for _ in range(5):
        write(held.users, "bob")
        assert held.ask("ann") == {401}
        assert held.ask("ann") == {401}
        write(held.users, "ann")
        assert held.ask("ann") == {200}
        assert held.ask("ann", document=LATER) == {200}


def test_changed_password(held: Held) -> None:
    """The former password gets 401, the new one is accepted."""
    new = held.users.with_name("changed")
    new.write_text(f"ann:{cheap('new')}\n")
    new.rename(held.users)
    assert held.ask("ann") == {401}
    assert held.ask("ann", "new") == {200}
    assert held.ask("ann") == {401}


def test_changed_rules(held: Held) -> None:
    """Rules that are read again hold for open connections; so do they for asynchronous commands."""
    assert held.ask("bob") == {403}
    held.rules.write_text("http https user=bob allow *\nunix allow *\n")
    held.reload("rules reloaded")
    assert held.ask("ann") == held.ask("ann", document=LATER) == {403}
    assert held.ask("bob") == held.ask("bob", document=LATER) == {200}


def test_changed_certificate(held: Held) -> None:
    """When the certificate is read again, open connections and their users stay, and the other rules hold."""
    identity = make_identity("localhost")
    held.pem.write_bytes(identity.key_pem() + identity.pem)
    held.reload("certificates reloaded")
    assert held.ask("ann") == {200}
    write(held.users, "bob")
    assert held.ask("ann") == {401}
