"""The filter for fail2ban finds who is refused in the lines of a real server, in each format, and nobody else."""

import base64
import contextlib
import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from twisted.logger import LogEvent, LogLevel

from jsonrpcs_tx.logs.entries import Entry
from jsonrpcs_tx.logs.formats import journal_fields, json_line, syslog_lines, text_line
from tests.support import ECHO, PATIENCE, REPOSITORY, Server, call, http_call, http_request, unverified
from tests.support.programs import need
from tests.support.tls import make_identity
from tests.support.users import write as write_users

pytestmark = pytest.mark.slow

FAIL2BAN = REPOSITORY / "contrib" / "fail2ban"
FILTER = FAIL2BAN / "filter.d" / "jsonrpcs.conf"
"""A real address of the test, which is not the tests' own: forged lines would have it banned."""
VICTIM = "203.0.113.66"


@pytest.fixture(autouse=True)
def _needs_fail2ban() -> None:
    need("fail2ban-regex", "fail2ban")


def found(lines: Sequence[str], directory: Path, mode: str = "all", logtype: str = "file") -> list[str]:
    """The addresses that the filter finds in lines, in their order."""
    log = directory / "fail2ban.log"
    log.write_text("".join(f"{line}\n" for line in lines))
    done = subprocess.run(
        ["fail2ban-regex", "-o", "ip", str(log), f"{FILTER}[mode={mode}, logtype={logtype}]"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


def refusals(server: Server) -> list[str]:
    return [line for line in server.log if "refusallog" in line]


CALL = b'{"jsonrpc":"2.0","method":"core.kill","params":["none"],"id":1}'
TAG = "[jsonrpcs_tx.access.refusallog#warn]"
HOSTILE = (
    f"x' from {VICTIM}",
    f"x from {VICTIM} (and 5 more)",
    f'x from {VICTIM}","transport":"http","y":"',
    f"x\n2026-01-01T00:00:00+0000 {TAG} http: malformed Authorization header from {VICTIM}",
    f"{TAG} http: outside http_allow from {VICTIM}",
    "x" * 470 + f"http: 'x' is forbidden from {VICTIM}",
    f"\x1b[2K\rhttp: 'x' is forbidden from {VICTIM}\u2028",
)
"""What an attacker sends in names, so that somebody else be banned."""


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def handshake(server: Server, context: ssl.SSLContext) -> None:
    """Do what a client without a valid certificate does."""
    with (
        socket.create_connection(server.addresses["https"], PATIENCE) as sock,
        contextlib.suppress(OSError),
        context.wrap_socket(sock, do_handshake_on_connect=False) as client,
    ):
        client.do_handshake()
        client.recv(1)


def refuse_all(server: Server, directory: Path) -> None:
    """Be refused in every way, over every transport; also over those that do not count."""
    http = server.addresses["http"]
    assert http_call("http", http, CALL, headers=basic("ann", "wrong")).status == 401
    assert http_call("http", http, CALL, headers={"Authorization": "Basic ?"}).status == 401
    assert http_call("http", http, CALL, headers=basic("ann", "ann")).status == 403
    assert http_call("http", http, CALL, headers=basic("ann", "ann") | {"Host": "evil.example"}).status == 403
    assert http_call("http", http, CALL, headers=basic("ann", "ann") | {"Origin": "http://evil.example"}).status == 403
    for one in ("unix", "udp4", "tcp"):
        assert b"Forbidden" in server.call(one, CALL)
    handshake(server, unverified())
    other = unverified()
    other.load_cert_chain(directory / "other.pem")
    handshake(server, other)
    with socket.create_connection(server.addresses["https"], PATIENCE) as sock:
        sock.sendall(http_request(ECHO))
        assert sock.recv(10_000) is not None
    server.wait_for_log(r"TLS handshake failed \(http request\)")


def forge(server: Server) -> None:
    """Try to have somebody else banned."""
    http = server.addresses["http"]
    for text in HOSTILE:
        document = json.dumps({"jsonrpc": "2.0", "method": text, "id": 1}).encode()
        for one in ("tcp", "udp4", "unix", "fifo"):
            call(one, server.addresses[one], document, server.reply_dir)
        header = re.sub(r"[^ -~]", "?", text)
        http_call("http", http, document, headers=basic(text, "x"))
        http_call("http", http, document, headers=basic("ann", "ann") | {"Host": header})
        http_call("http", http, document, headers=basic("ann", "ann") | {"X-Forwarded-For": VICTIM, "Origin": header})
        http_call("http", http, document, headers=basic("ann", "ann") | {"Forwarded": f"for={VICTIM}"})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """One with users, authorities and a certificate that none of them has signed."""
    write_users(tmp_path / "users", "ann")
    (tmp_path / "ca.pem").write_bytes(make_identity("ca.example", is_ca=True).pem)
    other = make_identity("other.example")
    (tmp_path / "other.pem").write_bytes(other.key_pem() + other.pem)
    return tmp_path


RULES = ("any deny core.kill no.*",)
OPTIONS = ("--http-users=users", "--tls-ca=ca.pem", *(f"--rule={rule}" for rule in RULES))


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_real_lines(directory: Path, log_format: str) -> None:
    """Every refusal over TCP is found, and no other line; with mode=calls, none that a web page can provoke."""
    with Server(directory, *OPTIONS, f"--log-format={log_format}") as server:
        refuse_all(server, directory)
        lines = list(server.log)
    assert found(lines, directory) == ["127.0.0.1"] * 8
    assert found(lines, directory, "calls") == ["127.0.0.1"] * 4


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_forged_lines(directory: Path, log_format: str) -> None:
    """Whatever clients send, by whatever way, nobody else is found."""
    with Server(directory, *OPTIONS, f"--log-format={log_format}", "--debug=3") as server:
        forge(server)
        lines = list(server.log)
    assert any(VICTIM in line for line in lines)
    assert set(found(lines, directory)) == {"127.0.0.1"}


def test_foreign_network(directory: Path) -> None:
    """A client outside http_allow is found, on each path."""
    for paths in ("yes", "no"):
        with Server(directory, "--http-allow=192.0.2.0/24", f"--fast-paths={paths}") as server:
            assert http_call("http", server.addresses["http"], ECHO).status == 403
            server.wait_for_log("outside http_allow")
            lines = list(server.log)
        assert found(lines, directory) == ["127.0.0.1"]


def test_forged_udp(directory: Path) -> None:
    """A client over UDP is not found, since its address may be anybody's."""
    with Server(directory, "--rule=udp 192.0.2.0/24 allow *") as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(ECHO, server.addresses["udp4"])
        line = server.wait_for_log("udp: nothing is allowed from 127")
    assert found([line], directory) == []


def formatted(event: LogEvent, log_format: str) -> str:
    """A line about an event, as it is written to a file, to syslog's, or as fail2ban reads it from the journal."""
    entry = Entry(1e9, LogLevel.warn, event["log_namespace"], event["message"], {}, "", None)
    if log_format == "syslog":
        lines = [line.decode().partition(">")[2] for line in syslog_lines(entry, "jsonrpcs")]
        return "\n".join(lines).replace(" jsonrpcs[", " host jsonrpcs[")
    if log_format == "journald":
        fields = journal_fields(entry, "jsonrpcs")
        return f"2001-09-09T01:46:40.000000 host {fields['SYSLOG_IDENTIFIER']}[7]: {fields['MESSAGE']}"
    return {"text": text_line, "json": json_line}[log_format](entry).decode().rstrip("\n")


@pytest.mark.parametrize("log_format", ["text", "json", "syslog", "journald"])
def test_formats(tmp_path: Path, log_format: str) -> None:
    """Each refusal has one form of line in each format; a line by others is not one, even with the same words."""
    refusing = "jsonrpcs_tx.access.refusallog"
    events = [
        {"log_namespace": refusing, "message": f"{transport}: {why} from 192.0.2.1{more}"}
        for transport in ("http", "https", "tcp")
        for why in (
            *(
                "authentication failed for user 'a'b'",
                "too many passwords for user ''",
                "malformed Authorization header",
            ),
            *(
                "'core.kill' is forbidden",
                "'x' is forbidden to user ann, a.example",
                "'x' is forbidden to user ann on node edge1",
                "'x' is forbidden on nodes a, b",
                "outside http_allow",
            ),
            *("unknown Host 'x' (see http_host)", "no client certificate", "invalid client certificate"),
            *("expired client certificate", "TLS handshake failed (wrong version number)"),
        )
        for more in ("", " (and 3 more)", " (and 1,234 more)")
    ]
    wrong = [
        {"log_namespace": refusing, "message": message}
        for message in (
            f"udp: 'core.kill' is forbidden from {VICTIM}",
            f"unix: 'x from {VICTIM}' is forbidden from uid=0 gid=0 pid=1",
            f"http: web page of foreign Origin 'x' (see http_origin) from {VICTIM}",
            f"http: 'x' is forbidden from {VICTIM} and more",
        )
    ]
    if log_format != "journald":  # there the field says who has logged it, see journalmatch
        wrong.append({"log_namespace": "shop", "message": f"http: outside http_allow from {VICTIM}"})
        wrong.append({"log_namespace": "shop", "message": f"[{refusing}#warn] http: outside http_allow from {VICTIM}"})
        wrong.append(
            {"log_namespace": "shop", "message": f"x\n[{refusing}#warn] http: outside http_allow from {VICTIM}"}
        )
    lines = [formatted(event, log_format) for event in (*events, *wrong) if "\n" not in event["message"]]
    logtype = "journal" if log_format == "journald" else "file"
    assert found(lines, tmp_path, logtype=logtype) == ["192.0.2.1"] * len(events)


def test_jail(tmp_path: Path) -> None:
    """The example of a jail is one that fail2ban takes, with the filter beside it."""
    root = tmp_path / "fail2ban"
    shutil.copytree("/etc/fail2ban", root)
    (root / "jail.d").mkdir(exist_ok=True)
    for extra in (root / "jail.d").iterdir():
        extra.unlink()
    shutil.copy(FAIL2BAN / "jail.d" / "jsonrpcs.conf", root / "jail.d")
    shutil.copy(FILTER, root / "filter.d")
    done = subprocess.run(["fail2ban-client", "-c", str(root), "-d"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    commands = [line for line in done.stdout.splitlines() if "'jsonrpcs'" in line]
    assert any("addfailregex" in line or "multi-set" in line for line in commands)
    assert not any("TLS handshake" in line for line in commands)  # mode=calls
