"""HTTPS of both clients: whom they trust, and by which name; the certificate of their own."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.client.deferred import connect
from jsonrpcs_tx.client.errors import ClientError, NotReachable, Refused
from jsonrpcs_tx.client.targets import parse_target
from tests.support import Server
from tests.support.tls import Identity, make_identity

pytestmark = pytest.mark.slow


class Https(TestCase):
    """A server with a certificate by a CA of its own, which may want one of its clients."""

    timeout = 60

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.ca = make_identity("Test CA", is_ca=True)
        self.write("ca.pem", self.ca)
        self.write("localhost.pem", make_identity("localhost", self.ca))
        self.write("example.pem", make_identity("example.org", self.ca))
        self.write("client.pem", make_identity("client", self.ca))
        self.write("foreign.pem", make_identity("client", make_identity("Foreign CA", is_ca=True)))

    def write(self, name: str, identity: Identity) -> None:
        (self.directory / name).write_bytes(identity.key_pem() + identity.pem)

    def serve(self, certificate: str, *options: str) -> Server:
        server = Server(self.directory, f"--tls-certificate={self.directory / certificate}", *options)
        self.addCleanup(server.stop)
        return server

    async def outcomes(self, url: str, **options: Any) -> list[Any]:
        """What becomes of a call by each client: the result or the error."""
        named = {name: str(self.directory / value) for name, value in options.items()}
        target = parse_target(url, **named)

        def wait() -> Any:
            with Client(target) as client:
                return client.call("core.echo", "x")

        def ask() -> Deferred[Any]:
            client = connect(target)
            self.addCleanup(client.close)
            return client.call("core.echo", "x")

        found: list[Any] = []
        for how in (lambda: deferToThread(wait), ask):
            try:
                found.append(await how())
            except ClientError as error:
                found.append(error)
        return found

    async def check_fails(self, kind: type[Exception], pattern: str, url: str, **options: Any) -> None:
        for outcome in await self.outcomes(url, **options):
            with pytest.raises(kind, match=pattern):
                raise outcome

    async def test_trust(self) -> None:
        """The certificate has to be by a CA that is trusted, and for the name."""
        port = self.serve("localhost.pem").addresses["https"][1]
        assert await self.outcomes(f"https://localhost:{port}/RPC", tls_ca="ca.pem") == [["x"], ["x"]]
        await self.check_fails(NotReachable, "TLS: .*certificate.*; set tls_ca", f"https://localhost:{port}/RPC")
        await self.check_fails(NotReachable, "; set tls_ca", f"https://localhost:{port}/RPC", tls_ca="foreign.pem")
        await self.check_fails(
            NotReachable, "a name in its certificate", f"https://127.0.0.1:{port}/RPC", tls_ca="ca.pem"
        )

    async def test_other_name(self) -> None:
        """A certificate for another name is not taken."""
        port = self.serve("example.pem").addresses["https"][1]
        await self.check_fails(NotReachable, "core.echo: TLS: ", f"https://localhost:{port}/RPC", tls_ca="ca.pem")

    async def test_own_certificate(self) -> None:
        """A server that wants a certificate gets one, or the call is refused."""
        server = self.serve("localhost.pem", f"--tls-ca={self.directory / 'ca.pem'}")
        url = f"https://localhost:{server.addresses['https'][1]}/RPC"
        assert await self.outcomes(url, tls_ca="ca.pem", tls_certificate="client.pem") == [["x"], ["x"]]
        split = {"tls_certificate": "client.pem", "tls_private_key": "client.pem"}
        assert await self.outcomes(url, tls_ca="ca.pem", **split) == [["x"], ["x"]]
        await self.check_fails(Refused, "TLS: .*; set tls_certificate", url, tls_ca="ca.pem")
        await self.check_fails(
            Refused, "TLS: .*; set tls_certificate", url, tls_ca="ca.pem", tls_certificate="foreign.pem"
        )

    async def test_files(self) -> None:
        """A file that is not what it should be is named."""
        (self.directory / "empty.pem").touch()
        for name in ("missing.pem", "empty.pem"):
            await self.check_fails(NotReachable, f"TLS: .*/{name}: ", "https://localhost:1/", tls_ca=name)
            await self.check_fails(NotReachable, f"TLS: .*/{name}", "https://localhost:1/", tls_certificate=name)
