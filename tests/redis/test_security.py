"""Passwords, rights and TLS of a real Redis."""

import pytest

from jsonrpcs_tx.redis.errors import RedisError
from tests.support.logs import logged
from tests.support.reactor import until
from tests.support.redisclients import Client, RedisCase
from tests.support.redisserver import RedisServer
from tests.support.tls import Identity, make_identity

pytestmark = pytest.mark.slow


class Passwords(RedisCase):
    """Who may use Redis."""

    async def refused(self, location: str) -> str:
        """Why Redis does not let a client in, after it has tried twice. Nothing logged shows a password."""
        with logged() as lines:
            client = self.start(location)
            await until(lambda: client.reason != "it is being connected")
            connecting = client._delay
            await until(lambda: client._delay > connecting)
            assert not client.up
            await client.stop()
        assert any("is away: " in line for line in lines)
        assert "secret" not in "\n".join(lines)
        return next(line for line in lines if "is away: " in line).partition("is away: ")[2]

    async def test_password(self) -> None:
        """The right password lets a client in. With a wrong one, or without one, the client stays out, and says so."""
        server = self.server(requirepass="secret")
        at = f"127.0.0.1:{server.port}"
        client = await self.connect(f"redis://:secret@{at}")
        assert await client.do("PING") == b"PONG"
        wrong = "the user or the password is wrong, or the user is disabled"
        assert await self.refused(f"redis://:secret2@{at}") == wrong
        assert await self.refused(f"redis://secret:secret2@{at}") == wrong
        assert await self.refused(server.url) == "NOAUTH Authentication required."

    async def test_password_that_nobody_asked_for(self) -> None:
        """A Redis without a password takes any password of the default user, and of no other user."""
        server = self.server()
        assert await self.refused(f"redis://:secret@127.0.0.1:{server.port}") == "AUTH: ERR"

    async def test_rights(self) -> None:
        """A user gets NOPERM for what is not allowed, and stays connected; without INFO, Redis cannot be used."""
        users = "fleet on >secret ~fleet:* +info +ping +get +set +eval +evalsha"
        server = self.server(user=f"{users}\nuser blind on >secret ~* +@all -info")
        at = f"127.0.0.1:{server.port}"
        client = await self.connect(f"redis://fleet:secret@{at}")
        assert await client.do("SET", "fleet:a", "v") == b"OK"
        for words in (("SET", "other", "v"), ("XADD", "fleet:s", "*", "f", "v"), ("CONFIG", "GET", "requirepass")):
            error = await client.failure(*words)
            assert isinstance(error, RedisError)
            assert error.code == "NOPERM"
        assert client.went == []
        refused = await self.refused(f"redis://blind:secret@{at}")
        assert refused.startswith("NOPERM")
        assert "'info'" in refused

    async def test_database(self) -> None:
        """The database of the location is used; if Redis does not have it, the client says so."""
        server = self.server(databases="4")
        client = await self.connect(f"{server.tcp_url}/3")
        await client.do("SET", "k", "v")
        other = await self.connect(server.tcp_url)
        assert await other.do("GET", "k") is None
        assert await self.refused(f"{server.url}?db=4") == "ERR DB index is out of range"

    async def test_user_who_is_removed(self) -> None:
        """A connection whose user is removed breaks, and does not come back."""
        server = self.server(user="fleet on >secret ~* +@all")
        client = await self.connect(f"redis://fleet:secret@127.0.0.1:{server.port}")
        server.command("ACL", "DELUSER", "fleet")
        await until(lambda: "password is wrong" in client.reason)
        assert not client.up


class Tls(RedisCase):
    """Redis over TLS, with certificates of both ends."""

    def setUp(self) -> None:
        super().setUp()
        self.ca = make_identity("ca", is_ca=True)
        self.other_ca = make_identity("other", is_ca=True)
        self.ca_file = self.write("ca", self.ca)
        self.write("other", self.other_ca)

    def write(self, name: str, identity: Identity) -> str:
        """A file with a certificate and its key."""
        path = self.directory / f"{name}.pem"
        path.write_bytes(identity.pem + identity.key_pem())
        return str(path)

    def secure(self, name: str = "localhost", clients: str = "no") -> RedisServer:
        """A server with a certificate for a name."""
        file = self.write("server", make_identity(name, self.ca))
        return self.server(
            name, tls_cert_file=file, tls_key_file=file, tls_ca_cert_file=self.ca_file, tls_auth_clients=clients
        )

    async def reason(self, location: str) -> tuple[Client, str]:
        """Why a client cannot connect."""
        client = self.start(location)
        await until(lambda: client.reason != "it is being connected")
        assert not client.up
        return client, client.reason

    async def test_tls(self) -> None:
        """A server whose certificate is for its name, and by a CA that is trusted, is used."""
        server = self.secure()
        client = await self.connect(f"rediss://localhost:{server.port}?ca={self.ca_file}")
        assert await client.do("ECHO", b"x" * 1_000_000) == b"x" * 1_000_000
        server.freeze()
        await client.failure("PING", seconds=1.1)
        assert not client.up
        server.thaw()
        await client.is_up()

    async def test_wrong_ca(self) -> None:
        """A certificate by a CA that is not trusted is refused, and the reason names it."""
        server = self.secure()
        for trust in (f"?ca={self.directory}/other.pem", ""):
            _, reason = await self.reason(f"rediss://localhost:{server.port}{trust}")
            assert reason.startswith("TLS: ")
            assert "certificate verify failed" in reason

    async def test_wrong_name(self) -> None:
        """A certificate for another name is refused."""
        server = self.secure("example.org")
        _, reason = await self.reason(f"rediss://localhost:{server.port}?ca={self.ca_file}")
        assert reason == "TLS: its certificate is for another name"

    async def test_client_certificate(self) -> None:
        """A server that asks for the client's certificate gets it; without one it refuses."""
        server = self.secure(clients="yes")
        own = self.write("client", make_identity("client", self.ca))
        at = f"rediss://localhost:{server.port}?ca={self.ca_file}"
        client = await self.connect(f"{at}&certificate={own}&private_key={own}")
        assert await client.do("PING") == b"PONG"
        _, reason = await self.reason(at)
        assert "certificate required" in reason or "handshake" in reason

    async def test_one_end_without_tls(self) -> None:
        """If only the client or only the server has TLS, they do not connect, and the client says why."""
        server = self.server("plain")
        _, reason = await self.reason(f"rediss://localhost:{server.port}?ca={self.ca_file}")
        assert reason == "it has not answered in time"  # it waits for the end of a line
        secure = self.secure()
        _, reason = await self.reason(f"redis://localhost:{secure.port}")
        assert "the connection" in reason or "not speak Redis's protocol" in reason
