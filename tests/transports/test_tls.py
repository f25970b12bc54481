"""HTTPS: certificates, keys, versions of TLS, and clients that need a certificate."""

import contextlib
import datetime
import json
import select
import socket
import ssl
import stat
import unittest.mock
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutput
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jsonrpcs_tx import Settings, StartError, command, makeService
from jsonrpcs_tx.config.settings import SELF_SIGNED_NAME
from jsonrpcs_tx.log import debug, set_debug
from jsonrpcs_tx.transports import tlstransport
from tests.support import ECHO, ECHO_REPLY, PATIENCE, http_request
from tests.support.files import make_directory
from tests.support.tls import Identity, make_identity

REQUEST = http_request(ECHO, "Connection: close")
OLD = ssl.TLSVersion.TLSv1_1


CA = make_identity("ca", is_ca=True)
INTERMEDIATE = make_identity("intermediate", CA, is_ca=True)
SERVER = make_identity("localhost", CA)
OTHER_CA = make_identity("other-ca", is_ca=True)


def client_context(trusted: bytes | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that trusts a certificate, or checks none; of one version of TLS, or of any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusted is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=trusted.decode())
    if version is not None:
        context.set_ciphers("DEFAULT@SECLEVEL=0")  # else OpenSSL itself would not offer the old ones
        context.minimum_version = context.maximum_version = version
    return context


@attrs.frozen
class Answer:
    version: str | None
    protocol: str | None
    reply: bytes


def ask(port: int, context: ssl.SSLContext, host: str) -> Answer:
    """Ask with the TLS of the standard library; blocks."""
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
    with plain, context.wrap_socket(plain, server_hostname=host) as secure:
        secure.sendall(REQUEST)
        reply = b"".join(iter(lambda: secure.recv(65_536), b""))
        return Answer(secure.version(), secure.selected_alpn_protocol(), reply.partition(b"\r\n\r\n")[2])


def leave(port: int, data: bytes) -> None:
    """Send something that is no handshake, and close the sending side; blocks."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client, contextlib.suppress(ConnectionError):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while client.recv(1000):
            pass


class Files:
    """Files of certificates and keys in a directory, named as settings take them."""

    def __init__(self, test: SynchronousTestCase) -> None:
        self.directory: Path = make_directory(test)

    def write(self, name: str, *parts: bytes) -> str:
        (self.directory / name).write_bytes(b"".join(parts))
        return name

    def settings(self, **options: Any) -> Settings:
        usual = {"transport": 1, "load": "jsonrpc", "http_listen": "", "run_dir": str(self.directory)}
        return Settings(**{"https_listen": "tcp:0:interface=127.0.0.1", "load": "all", **usual, **options})


class TlsCase(TestCase):
    """A server with the certificate of L{SERVER}, unless told otherwise."""

    def setUp(self) -> None:
        self.addCleanup(set_debug, debug())
        self.files = Files(self)
        self.directory = self.files.directory

    def serve(self, **options: Any) -> None:
        if not options.get("tls_self_signed"):
            certificate = self.files.write("server.pem", SERVER.key_pem(), SERVER.pem)
            options = {"tls_certificate": certificate, **options}
        self.service = makeService(self.files.settings(**options), reactor)
        self.addCleanup(self.service.stopService)
        self.service.startService()

    async def ask(self, context: ssl.SSLContext, host: str = "localhost") -> Answer:
        (listener,) = self.service.listeners()
        assert listener.port is not None
        return await deferToThread(ask, listener.port, context, host)

    async def refusal(self, context: ssl.SSLContext) -> str:
        """The alert with which a client is refused."""
        with pytest.raises(ssl.SSLError) as caught:
            await self.ask(context)
        return str(caught.value.reason)


class CertificateTests(TlsCase):
    """The server's certificate."""

    async def test_one_file(self) -> None:
        """A certificate and its key may be in one file."""
        self.serve()
        answer = await self.ask(client_context(CA.pem))
        assert (answer.reply, answer.protocol) == (ECHO_REPLY, None)

    async def test_two_files(self) -> None:
        """A certificate and its key may be in a file each, also with absolute paths."""
        key = self.files.write("key.pem", SERVER.key_pem())
        self.serve(
            tls_certificate=self.files.write("cert.pem", SERVER.pem),
            tls_private_key=str((self.directory / key).resolve()),
        )
        assert (await self.ask(client_context(CA.pem))).reply == ECHO_REPLY

    async def test_chain(self) -> None:
        """The certificates behind the first one are sent along, so that a client needs the root only."""
        leaf = make_identity("localhost", INTERMEDIATE)
        self.serve(tls_certificate=self.files.write("chain.pem", leaf.pem, INTERMEDIATE.pem, leaf.key_pem()))
        assert (await self.ask(client_context(CA.pem))).reply == ECHO_REPLY

    async def test_alpn(self) -> None:
        """A client that may choose is given HTTP/1.1."""
        self.serve()
        context = client_context(CA.pem)
        context.set_alpn_protocols(["h2", "http/1.1"])
        assert (await self.ask(context)).protocol == "http/1.1"

    async def test_alpn_mismatch(self) -> None:
        """A client that offers only what is not spoken gets the alert that says so."""
        self.serve()
        context = client_context(CA.pem)
        context.set_alpn_protocols(["h2", "spdy/3"])
        with pytest.raises(ssl.SSLError) as caught:
            await self.ask(context)
        assert caught.value.args[0] == 1  # SSL_ERROR_SSL: it is an alert, and none that this Python has a name for
        (listener,) = self.service.listeners()
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{listener.port}", "-alpn", "h2"]
        told = await getProcessOutput(command[0], command[1:], errortoo=True)
        assert b"alert number 120" in told
        context.set_alpn_protocols(["http/1.0"])
        assert (await self.ask(context)).protocol == "http/1.0"

    @pytest.mark.slow
    async def test_self_signed(self) -> None:
        """A certificate that the server makes is good for this machine, for its owner only, and kept."""
        self.serve(tls_self_signed=True)
        path = self.directory / SELF_SIGNED_NAME
        made = path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for host in ("localhost", "127.0.0.1", "::1", socket.gethostname()):
            assert (await self.ask(client_context(made), host)).reply == ECHO_REPLY
        await self.service.stopService()
        self.serve(tls_self_signed=True)
        assert path.read_bytes() == made
        assert (await self.ask(client_context(made))).reply == ECHO_REPLY

    async def test_self_signed_path(self) -> None:
        """It is made where tls_certificate says, and one that is there is never replaced."""
        self.serve(tls_self_signed=True, tls_certificate="mine.pem")
        assert (await self.ask(client_context((self.directory / "mine.pem").read_bytes()))).reply == ECHO_REPLY
        given = self.files.write("given.pem", SERVER.key_pem(), SERVER.pem)
        self.serve(tls_self_signed=True, tls_certificate=given)
        assert (await self.ask(client_context(CA.pem))).reply == ECHO_REPLY
        assert sorted(path.name for path in self.directory.iterdir()) == ["given.pem", "mine.pem"]

    async def test_read_at_every_start(self) -> None:
        """A server that is started again has the certificate that is in the file then."""
        self.serve()
        await self.service.stopService()
        renewed = make_identity("localhost", OTHER_CA)
        self.files.write("server.pem", renewed.key_pem(), renewed.pem)
        self.service.startService()
        assert (await self.ask(client_context(OTHER_CA.pem))).reply == ECHO_REPLY


class VersionTests(TlsCase):
    """The versions of TLS."""

    async def test_versions(self) -> None:
        """TLS 1.2 and 1.3 are spoken, and older ones refused with the alert that says so."""
        self.serve()
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            assert await self.ask(client_context(CA.pem, version)) == Answer(name, None, ECHO_REPLY)
        assert await self.refusal(client_context(CA.pem, OLD)) == "TLSV1_ALERT_PROTOCOL_VERSION"
        assert (await self.ask(client_context(CA.pem))).reply == ECHO_REPLY

    async def test_no_tls(self) -> None:
        """A client that does not speak TLS learns nothing, and the server serves others."""
        self.serve()
        (listener,) = self.service.listeners()

        def ask_in_the_clear() -> bytes:
            with socket.create_connection(("127.0.0.1", int(listener.port or 0)), PATIENCE) as plain:
                plain.sendall(REQUEST)
                return b"".join(iter(lambda: plain.recv(65_536), b""))

        assert b"HTTP" not in await deferToThread(ask_in_the_clear)
        assert (await self.ask(client_context(CA.pem))).reply == ECHO_REPLY

    async def test_suites(self) -> None:
        """With an RSA certificate as well, TLS 1.2 has only suites with forward secrecy and AEAD."""
        key = rsa.generate_private_key(65537, 2048)
        identity = make_identity("localhost", CA, key=key)
        self.serve(tls_certificate=self.files.write("rsa.pem", identity.key_pem(), identity.pem))
        for suite, spoken in (
            ("ECDHE-RSA-AES128-GCM-SHA256", True),
            ("ECDHE-RSA-CHACHA20-POLY1305", True),
            ("AES128-GCM-SHA256", False),
            ("AES256-SHA", False),
            ("ECDHE-RSA-AES128-SHA256", False),
            ("DHE-RSA-AES128-GCM-SHA256", False),
        ):
            context = client_context(CA.pem)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(suite)
            if spoken:
                assert (await self.ask(context)).reply == ECHO_REPLY
            else:
                assert "HANDSHAKE_FAILURE" in await self.refusal(context)


def ask_together(port: int, context: ssl.SSLContext, request: bytes, end: bytes) -> bytes:
    """Send a request together with what ends the handshake; blocks until the reply has its end."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secure = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:

        def surely(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(plain.recv(65_536))

        surely(secure.do_handshake)
        secure.write(request)
        reply = b""
        while not reply.endswith(end):
            reply += surely(partial(secure.read, 65_536))
        return reply


class TogetherTests(TlsCase):
    """Requests that arrive together with the end of the handshake."""

    async def test_any_size(self) -> None:
        """They are answered at once, however long the reply."""
        for fast in (True, False):
            self.serve(fast_paths=fast)
            (listener,) = self.service.listeners()
            self.service.registry.add(text)
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                for size in (1, 20_000, 200_000):
                    request = b'{"jsonrpc":"2.0","method":"test.text","params":[%d],"id":1}' % size
                    context = client_context(CA.pem, version)
                    reply = await deferToThread(
                        ask_together, int(listener.port or 0), context, http_request(request), b'x","id":1}'
                    )
                    assert reply.count(b"x" * size) == 1
            await self.service.stopService()


@command("test.text")
def text(size: int) -> str:
    return "x" * size


class ResumptionTests(TlsCase):
    """Sessions that a client takes up again."""

    async def resumed(self, context: ssl.SSLContext, session: Any = None) -> tuple[bool, Any, bytes]:
        """Whether a session was taken up again, that of this connection, and the reply."""
        (listener,) = self.service.listeners()

        def ask_again() -> tuple[bool, Any, bytes]:
            plain = socket.create_connection(("127.0.0.1", int(listener.port or 0)), PATIENCE)
            with plain, context.wrap_socket(plain, server_hostname="localhost", session=session) as secure:
                secure.sendall(REQUEST)
                reply = b"".join(iter(lambda: secure.recv(65_536), b""))
                return bool(secure.session_reused), secure.session, reply.partition(b"\r\n\r\n")[2]

        found: tuple[bool, Any, bytes] = await deferToThread(ask_again)
        return found

    async def check(self, lifetime: Identity | None, allowed: bytes, **options: Any) -> None:
        for fast in (True, False):
            self.serve(fast_paths=fast, **options)
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = client_context(CA.pem, version)
                if lifetime is not None:
                    self.files.write("client.pem", lifetime.key_pem(), lifetime.pem)
                    context.load_cert_chain(self.directory / "client.pem")
                reused, session, reply = await self.resumed(context)
                assert (reused, reply) == (False, allowed)
                reused, session, reply = await self.resumed(context, session)
                assert (reused, reply) == (True, allowed)
                assert self.service.reload_tls() == 1
                reused, _, reply = await self.resumed(context, session)
                assert (reused, reply) == (False, allowed)
            await self.service.stopService()

    @pytest.mark.slow
    async def test_resumed(self) -> None:
        """A session is taken up again, until the certificates are read again."""
        await self.check(None, ECHO_REPLY)

    async def test_tickets(self) -> None:
        """With TLS 1.3 on the direct path, the tickets come with the first reply."""
        self.serve()
        (listener,) = self.service.listeners()

        def look(request: bytes) -> tuple[bool, bool, bool]:
            """Whether anything came before the request was sent, then the reply, and with it a ticket."""
            context = client_context(CA.pem, ssl.TLSVersion.TLSv1_3)
            plain = socket.create_connection(("127.0.0.1", int(listener.port or 0)), PATIENCE)
            with plain, context.wrap_socket(plain, server_hostname="localhost") as secure:
                before = bool(select.select([secure], [], [], 0.1)[0])
                secure.sendall(request)
                reply = secure.recv(65_536)
                return before, ECHO_REPLY in reply, bool(secure.session and secure.session.has_ticket)

        assert await deferToThread(look, REQUEST) == (False, True, True)

    @pytest.mark.slow
    async def test_client_certificate(self) -> None:
        """One that is taken up again has the names of the client's certificate."""
        authority = self.files.write("ca.pem", CA.pem)
        await self.check(
            make_identity("ann", CA), ECHO_REPLY, tls_ca=authority, rule=["https tls=ann allow jsonrpc.echo"]
        )

    @pytest.mark.slow
    async def test_expired(self) -> None:
        """One whose client's certificate has expired since is not taken up again."""
        self.serve(tls_ca=self.files.write("ca.pem", CA.pem))
        identity = make_identity("ann", CA)
        self.files.write("client.pem", identity.key_pem(), identity.pem)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = client_context(CA.pem, version)
            context.load_cert_chain(self.directory / "client.pem")
            _, session, reply = await self.resumed(context)
            assert reply == ECHO_REPLY
            late = identity.certificate.not_valid_after_utc + datetime.timedelta(seconds=1)
            with (
                unittest.mock.patch.object(tlstransport, "_now", lambda late=late: late),
                contextlib.suppress(OSError),
            ):
                assert (await self.resumed(context, session))[2] == b""
            assert (await self.resumed(context, session))[2] == ECHO_REPLY


class ClientCertificateTests(TlsCase):
    """With tls_ca clients need a certificate."""

    versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)

    def setUp(self) -> None:
        super().setUp()
        self.serve(tls_ca=self.files.write("ca.pem", make_identity("unused-ca", is_ca=True).pem, CA.pem))

    def context(self, version: ssl.TLSVersion, *chain: Identity) -> ssl.SSLContext:
        """A client that shows a certificate, if one is given."""
        context = client_context(CA.pem, version)
        if chain:
            self.files.write("client.pem", chain[0].key_pem(), *(identity.pem for identity in chain))
            context.load_cert_chain(self.directory / "client.pem")
        return context

    async def test_accepted(self) -> None:
        """A client with a certificate of a CA in the file is answered, also by way of an intermediate one."""
        for version in self.versions:
            for chain in ([make_identity("ann", CA)], [make_identity("ben", INTERMEDIATE), INTERMEDIATE]):
                assert (await self.ask(self.context(version, *chain))).reply == ECHO_REPLY

    async def test_none(self) -> None:
        """A client without a certificate is refused with an alert."""
        alerts = [await self.refusal(self.context(version)) for version in self.versions]
        assert alerts == ["SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV13_ALERT_CERTIFICATE_REQUIRED"]

    async def test_told(self) -> None:
        """Each refused client is logged with its address and why, and entered in the audit log. One that leaves during
        the handshake, or itself refuses the server, is not.
        """
        self.serve(tls_ca=self.files.write("ca.pem", CA.pem), audit=self.directory / "audit.log")
        with capturedLogs() as events:
            for version in self.versions:
                await self.refusal(self.context(version))
                await self.refusal(self.context(version, make_identity("eve", OTHER_CA)))
                distrusting = client_context(OTHER_CA.pem, version)
                assert "CERTIFICATE_VERIFY_FAILED" in await self.refusal(distrusting)
            await self.refusal(client_context(version=OLD))
            (listener,) = self.service.listeners()
            assert listener.port is not None
            for data in (b"", b"\x16\x03\x01", b"GET / HTTP/1.0\r\n\r\n", b"\x00" * 100):
                await deferToThread(leave, listener.port, data)
            assert (await self.ask(self.context(self.versions[1], make_identity("ann", CA)))).reply == ECHO_REPLY
        lines = [formatEvent(event) for event in events if event["log_namespace"].endswith(".refusallog")]
        words = ["no client certificate", "invalid client certificate"] * 2
        words += ["TLS handshake failed (unsupported protocol)"]
        words += ["TLS handshake failed (http request)", "TLS handshake failed (wrong version number)"]
        assert lines == [f"https: {why} from 127.0.0.1" for why in words]
        entries = [json.loads(line) for line in (self.directory / "audit.log").read_text().splitlines()]
        assert [(entry["outcome"], entry["address"], entry["text"]) for entry in entries] == [
            ("refused", "127.0.0.1", why) for why in words
        ]

    async def test_other_authority(self) -> None:
        """A client with a certificate of another CA, or with one of its own, is refused with an alert."""
        for identity in (
            make_identity("eve", OTHER_CA),
            make_identity("ca"),
            make_identity("eve", make_identity("ca")),
        ):
            for version in self.versions:
                assert "ALERT" in await self.refusal(self.context(version, identity))
        assert (await self.ask(self.context(self.versions[1], make_identity("ann", CA)))).reply == ECHO_REPLY


class StartErrorTests(SynchronousTestCase):
    """What keeps HTTPS from starting is named, with its setting, its file, and what is allowed."""

    def setUp(self) -> None:
        self.addCleanup(set_debug, debug())
        self.files = Files(self)

    def assert_refused(self, setting: str, path: str, *words: str, **options: str | bool) -> None:
        """Starting fails, and the message is one line with all of these."""
        service = makeService(self.files.settings(**options), reactor)
        with pytest.raises(StartError) as caught:
            service.startService()
        self.successResultOf(service.stopService())
        message = str(caught.value)
        assert message.startswith(f"{setting}: "), message
        assert "\n" not in message
        for word in (str(self.files.directory / path), "allowed: ", *words):
            assert word in message, (word, message)

    def test_missing_files(self) -> None:
        """A file that is not there is an error."""
        cert = self.files.write("cert.pem", SERVER.pem, SERVER.key_pem())
        missing = "No such file or directory"
        self.assert_refused("tls_certificate", "none.pem", missing, tls_certificate="none.pem")
        self.assert_refused("tls_private_key", "none.key", missing, tls_certificate=cert, tls_private_key="none.key")
        self.assert_refused("tls_ca", "none.ca", missing, tls_certificate=cert, tls_ca="none.ca")
        self.assert_refused(
            "tls_certificate",
            "none.pem",
            missing,
            tls_certificate="none.pem",
            tls_self_signed=True,
            tls_private_key=cert,
        )

    def test_no_pem(self) -> None:
        """A file without what it should hold is an error, damaged or of another kind."""
        cert = self.files.write("cert.pem", SERVER.pem, SERVER.key_pem())
        for name, content in (
            ("empty", b""),
            ("binary", b"\xff\0"),
            ("damaged", SERVER.pem.replace(b"MII", b"AAA")),
            ("cut", SERVER.pem[:-40]),
        ):
            self.files.write(name, content)
            self.assert_refused("tls_certificate", name, "no certificate", tls_certificate=name)
            self.assert_refused("tls_ca", name, "no certificate", tls_certificate=cert, tls_ca=name)
            self.assert_refused("tls_private_key", name, "no private key", tls_certificate=cert, tls_private_key=name)

    def test_no_key(self) -> None:
        """A certificate's file without a key, when no other is set, is an error."""
        self.files.write("cert.pem", SERVER.pem)
        self.assert_refused("tls_certificate", "cert.pem", "no private key", tls_certificate="cert.pem")

    def test_wrong_key(self) -> None:
        """A key that is not the certificate's is an error."""
        self.files.write("cert.pem", SERVER.pem)
        self.files.write("key.pem", CA.key_pem())
        words = ("not the key of", "cert.pem")
        self.assert_refused("tls_private_key", "key.pem", *words, tls_certificate="cert.pem", tls_private_key="key.pem")

    def test_encrypted_key(self) -> None:
        """An encrypted key is an error, and nobody is asked for its password."""
        self.files.write("cert.pem", SERVER.pem)
        self.files.write("key.pem", SERVER.key_pem(b"password"))
        self.assert_refused(
            "tls_private_key", "key.pem", "unencrypted", tls_certificate="cert.pem", tls_private_key="key.pem"
        )

    def test_self_signed_without_directory(self) -> None:
        """A self-signed certificate that cannot be written is an error."""
        self.assert_refused("tls_certificate", "none/tls.pem", tls_certificate="none/tls.pem", tls_self_signed=True)
