"""Who may call what, over real sockets: rules, passwords and client certificates."""

import base64
import json
import os
import select
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jsonrpcs_tx.access.rules import read_rule
from jsonrpcs_tx.errors import SettingError
from tests.support import (
    ECHO,
    ECHO_REPLY,
    PATIENCE,
    REPOSITORY,
    TRANSPORTS,
    Server,
    datagram_client,
    http_call,
    http_request,
    run_twistd,
    unverified,
)
from tests.support.tls import make_identity

FORBIDDEN = {"code": 403, "message": "Forbidden"}


def ask(server: Server, transport: str, method: str) -> Any:
    """The result or the error of a call."""
    reply = json.loads(server.call(transport, b'{"jsonrpc":"2.0","method":"%s","id":1}' % method.encode()))
    return reply.get("result", reply.get("error"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server with rules and other options."""
    servers: list[Server] = []

    def start_with(*rules: str, options: tuple[str, ...] = ()) -> Server:
        servers.append(Server(tmp_path, *(f"--rule={rule}" for rule in rules), *options))
        return servers[-1]

    yield start_with
    for server in servers:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_deny(start: Callable[..., Server], transport: str) -> None:
    """A method that is denied gets 403, and the log says who called it; others are answered."""
    server = start("any deny core.pwd no.*")
    assert ask(server, transport, "core.pwd") == FORBIDDEN
    assert isinstance(ask(server, transport, "core.uptime"), dict)
    server.wait_for_log(r"'(core\.pwd|no\.such)' is forbidden from")
    assert ask(server, transport, "no.such") == FORBIDDEN


@pytest.mark.slow
def test_status(start: Callable[..., Server]) -> None:
    """Over HTTP what is forbidden has status 403."""
    server = start("http deny core.pwd")
    assert server.http(b'{"jsonrpc":"2.0","method":"core.pwd","id":1}').status == 403
    assert server.http(ECHO).status == 200


@pytest.mark.slow
def test_batch(start: Callable[..., Server]) -> None:
    """In a batch each request is checked."""
    server = start("unix deny core.pwd")
    members = [b'{"jsonrpc":"2.0","method":"%s","id":1}' % method for method in (b"core.pwd", b"core.version")]
    replies = json.loads(server.call("unix", b"[" + b",".join(members) + b"]"))
    assert [list(reply) for reply in replies] == [["jsonrpc", "error", "id"], ["jsonrpc", "result", "id"]]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_unix_user(start: Callable[..., Server], workers: int) -> None:
    """Over the Unix socket the user of the client's process counts, whichever process answers."""
    server = start(f"unix uid={os.getuid()} allow jsonrpc.* htable.*", options=(f"--dgram-workers={workers}",))
    assert server.call("unix", ECHO) == ECHO_REPLY
    assert ask(server, "unix", "htable.listTables") == []
    assert ask(server, "unix", "core.version") == FORBIDDEN


def gets_no_reply(server: Server, transport: str) -> bool:
    """Whether a request is not answered, while one that comes behind it from elsewhere is."""
    with datagram_client(server.addresses[transport]) as client:
        client.send(ECHO)
        assert server.call("tcp", ECHO) == ECHO_REPLY
        server.wait_for_log("nothing is allowed from")
        return not select.select([client], [], [], 0)[0]


@pytest.mark.slow
def test_no_reply_to_strangers(start: Callable[..., Server]) -> None:
    """Who may not call anything over a datagram socket gets no reply at all."""
    server = start("unix uid=4000000000 allow *", "udp 192.0.2.0/24 allow *", "tcp allow *")
    assert gets_no_reply(server, "unix")
    assert gets_no_reply(server, "udp4")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "rule"),
    [
        ("--dgram-socket=udp:0.0.0.0:0", "udp 192.0.2.0/24 allow *"),
        ("--dgram-socket=udp:[::]:0", "udp allow core.*"),
        ("--http-listen=tcp:0", "http 192.0.2.0/24 allow *"),
        ("--tcp-socket=tcp:0.0.0.0:0", "tcp 192.0.2.0/24 allow *"),
    ],
)
def test_listening_beyond_this_machine(start: Callable[..., Server], tmp_path: Path, option: str, rule: str) -> None:
    """A listener that others can reach is refused unless a rule says what they may call."""
    done = run_twistd(tmp_path, "-n", "jsonrpcs", "--transport=0", "--fifo-name=", option)
    assert done.returncode
    assert "reaches beyond this machine; allowed: " in (done.stdout + done.stderr).splitlines()[-1]
    start(rule, options=(option,))


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.slow
def test_passwords(start: Callable[..., Server], tmp_path: Path) -> None:
    """With a file of users every HTTP request needs a name and a password, and rules tell the users apart."""
    users = tmp_path / "users"
    for name, password in (("ann", "a secret"), ("bob", "another")):
        made = subprocess.run(
            [sys.executable, "-m", "jsonrpcs_tx.credentials", name],
            input=password + "\n",
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        users.write_text((users.read_text() if users.exists() else "") + made.stdout)
    users.chmod(0o600)
    server = start(
        "http https user=ann allow *", "http https user=bob allow core.*", options=(f"--http-users={users}",)
    )
    for transport in ("http", "https"):
        anonymous = server.http(ECHO, transport)
        assert (anonymous.status, anonymous.headers["www-authenticate"][:5]) == (401, "Basic")
        assert server.http(ECHO, transport, headers=basic("ann", "another")).status == 401
        assert server.http(ECHO, transport, headers=basic("eve", "a secret")).status == 401
        assert server.http(ECHO, transport, headers=basic("ann", "a secret")).body == ECHO_REPLY
        assert server.http(ECHO, transport, headers=basic("bob", "another")).status == 403


@pytest.mark.slow
def test_client_certificate_names(start: Callable[..., Server], tmp_path: Path) -> None:
    """With client certificates the names in them count in rules."""
    authority = make_identity("authority", is_ca=True)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    server = start("https tls=ops.example.com allow jsonrpc.*", options=("--tls-ca=ca.pem",))
    for name, status in (("ops.example.com", 200), ("dev.example.com", 403)):
        context = unverified()
        client = make_identity(name, authority)
        (tmp_path / "client.pem").write_bytes(client.key_pem() + client.pem)
        context.load_cert_chain(tmp_path / "client.pem")
        assert https_status(server.addresses["https"], context) == status


def https_status(address: tuple[str, int], context: ssl.SSLContext) -> int:
    with socket.create_connection(address, PATIENCE) as plain, context.wrap_socket(plain) as client:
        client.sendall(http_request(ECHO))
        return int(client.recv(65_536).split()[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (["udp allow"], "rule: 'udp allow' is not allowed; allowed: "),
        (["http user=ann allow *"], "with the setting http_users"),
        (["https tls=a allow *"], "with the setting tls_ca"),
    ],
)
def test_bad_rule(tmp_path: Path, rules: list[str], says: str) -> None:
    """A rule that cannot work stops the start with one line that says why."""
    done = run_twistd(tmp_path, "-n", "jsonrpcs", *(f"--rule={rule}" for rule in rules))
    assert done.returncode
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_exec_is_restricted_too() -> None:
    """A rule for the program itself counts for jsonrpc_exec."""
    from jsonrpcs_tx import Settings, makeService

    service = makeService(Settings(rule=["exec deny core.pwd"], load=["core", "jsonrpc"]))
    assert service.jsonrpc_exec('{"jsonrpc":"2.0","method":"core.pwd","id":1}').code == 403
    assert service.jsonrpc_exec(ECHO).body == ECHO_REPLY


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "status", "fast"),
    [(f"uid={os.getuid()} gid={os.getgid()}", 200, fast) for fast in ("yes", "no")] + [("127.0.0.1", 403, "yes")],
)
def test_http_over_a_unix_socket(
    start: Callable[..., Server], tmp_path: Path, rule: str, status: int, fast: str
) -> None:
    """Over a Unix socket of HTTP the user of the client's process counts, and no rule for addresses opens it."""
    options = ("--http-listen=unix:http.sock", f"--fast-paths={fast}", "--http-mode=0600")
    server = start(f"http {rule} allow jsonrpc.*", options=options)
    path = tmp_path / "http.sock"
    assert server.addresses["http"] == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert server.http(ECHO).status == status
    assert server.http(b'{"jsonrpc":"2.0","method":"core.pwd","id":1}').status == 403
    server.stop()
    assert not path.exists()


@pytest.mark.slow
def test_https_over_a_unix_socket(start: Callable[..., Server], tmp_path: Path) -> None:
    """The user counts below TLS as well."""
    server = start(f"https uid={os.getuid()} allow jsonrpc.*", options=("--https-listen=unix:https.sock:mode=640",))
    assert stat.S_IMODE((tmp_path / "https.sock").stat().st_mode) == 0o640
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(PATIENCE)
        plain.connect(server.addresses["https"])
        with unverified().wrap_socket(plain) as client:
            client.sendall(http_request(ECHO))
            assert client.recv(65_536).endswith(ECHO_REPLY)


@pytest.mark.slow
def test_another_address_of_this_machine(start: Callable[..., Server]) -> None:
    """A rule for one address of this machine leaves nothing open to the others."""
    server = start("tcp 127.0.0.1 allow jsonrpc.*", "http 127.0.0.9 allow *")
    assert ask(server, "tcp", "core.version") == FORBIDDEN
    with socket.create_connection(server.addresses["tcp"], PATIENCE, ("127.0.0.2", 0)) as client:
        client.sendall(ECHO)
        assert json.loads(client.recv(65_536))["error"] == FORBIDDEN
    assert server.http(ECHO).status == 403


@pytest.mark.slow
def test_rules_do_not_bother_http(start: Callable[..., Server]) -> None:
    """With rules for another transport HTTP is open to this machine as before."""
    server = start("udp deny *")
    assert http_call("http", server.addresses["http"], ECHO).body == ECHO_REPLY


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("any allow core.(kill|ps)", "whole names of methods, or core.* for all that begin so"),
        ("any allow core.", "whole names of methods, or core.* for all that begin so"),
        ("any deny core.()", "whole names of methods"),
        ("any deny a.kill core.", "as in core.kill core.ps; not core."),
        ("any allow ^core", "not '^core'"),
        ("any allow core.{kill}", "methods in printable ASCII"),
        ("any deny core.ps$", "not 'core.ps$'"),
    ],
)
def test_other_patterns(text: str, says: str) -> None:
    """What is a pattern elsewhere, but not here, is refused, with what is meant instead."""
    with pytest.raises(SettingError) as failure:
        read_rule(text)
    assert says in str(failure.value)
