"""docs/operations.md: its commands are run as they stand in a copy of this machine, and all that it shows of the
server's output is what the server prints.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jsonrpcs_tx.access.passwords import make_hash
from tests.support import DATA, REPOSITORY
from tests.support.machine import Machine
from tests.support.pages import Block, blocks
from tests.support.programs import need
from tests.support.tls import make_identity

pytestmark = pytest.mark.slow

PAGE = REPOSITORY / "docs" / "operations.md"
LOG = "/var/log/jsonrpcs/server.log"
PID = "/run/jsonrpcs/twistd.pid"
CLIENTS = ("192.0.2.1/32", "192.0.2.7/32", "192.0.2.10/32", "192.0.2.11/32", "2001:db8::1/128")
"""The addresses that the page has for clients and servers."""
SHOP = '''
from jsonrpcs_tx import Fault, command

@command("shop.find", changes=False)
def find(name: str) -> str:
    """Fails."""
    raise ValueError(name)

@command("shop.sell", secret=("pin",))
def sell(user: str, pin: str, fruit: str) -> int:
    """Sells fruit."""
    raise Fault(404, "No such fruit")
'''
KILL = """'{"jsonrpc":"2.0","method":"core.kill","id":1}'"""
ECHO = """'{"jsonrpc":"2.0","method":"core.echo","id":1}'"""


def block(containing: str) -> Block:
    """The block of the page that contains a text."""
    (found,) = [one for one in blocks(PAGE) if containing in one.text]
    return found


def lines_of(text: str) -> list[str]:
    return text.strip().splitlines()


def without_numbers(text: str) -> str:
    """A text with 0 for every number, such as a count or a time."""
    return re.sub(r"[0-9]+(?:,[0-9]{3})*", "0", text)


def objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects of lines."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def users(*names: str) -> str:
    """A file of users whose passwords are their names."""
    return "".join(f"{name}:{make_hash(name.encode(), n=2, r=1)}\n" for name in names)


def start(machine: Machine, *options: str, twistd: str = f"--logfile={LOG} --pidfile={PID}") -> str:
    """Run the server as a daemon with a configuration, and wait until it serves.

    @return: how to stop it.
    """
    log = re.search(r"--logfile=(\S+)", twistd)
    before = len(machine.run(f"cat {log[1]} 2>/dev/null || true")) if log else 0
    machine.run(f"twistd {twistd} jsonrpcs --config server.toml {' '.join(options)}")
    if log:
        machine.wait_for("serving ", log[1], before)
    pid_file = re.search(r"--pidfile=(\S+)", twistd)
    assert pid_file
    return pid_file[1]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One with the addresses of the page and the directories that the package makes."""
    with Machine(tmp_path_factory.mktemp("machine")) as made:
        for address in CLIENTS:
            made.run(f"ip addr add {address} dev lo")
        made.run(
            "mkdir -p /run/jsonrpcs /var/log/jsonrpcs; systemd-sysusers /dev/stdin < contrib/systemd/jsonrpcs.sysusers"
        )
        made.write("shop.py", SHOP)
        yield made


@pytest.fixture(autouse=True)
def _clean(machine: Machine) -> Iterator[None]:
    """Ends what a test has left running, so that the next one finds the ports free."""
    yield
    machine.run("for pid in /run/jsonrpcs/*.pid twistd.pid; do test ! -e $pid || kill $(cat $pid) || true; done")


def test_before_the_start(machine: Machine) -> None:
    """The example is a configuration without errors, and what is in force can be used as one."""
    printed = machine.run(block("--example-config").text)
    _, found, shown = printed.partition("jsonrpcs: no errors\n")
    assert found
    machine.write("shown.toml", shown)
    again = machine.run("twistd jsonrpcs --config shown.toml --show-settings")
    assert tomllib.loads(again) == tomllib.loads(shown) != {}
    assert re.match(r"jsonrpcs_tx \S+, Twisted \S+, Python \S+\n$", machine.run("twistd jsonrpcs --version"))


def test_errors_of_check(machine: Machine) -> None:
    """--check prints the page's errors for such files."""
    shown = block("fifo_nmae").text
    machine.write("jsonrpcs.toml", '\nrule_file = "/etc/jsonrpcs/rules"\nfifo_nmae = "x"\nfifo_mode = 660\n')
    machine.write("/etc/jsonrpcs/rules", "any allow core.*\nudp 192.0.2.0/33 allow *\n")
    printed = lines_of(machine.run("twistd jsonrpcs --config jsonrpcs.toml --check", 1))
    assert len(printed) == len(lines_of(shown))
    for line, expected in zip(printed, lines_of(shown), strict=True):
        assert line.startswith(expected.removesuffix("...")), line


def test_places(machine: Machine) -> None:
    """A daemon writes to the files that its options name."""
    machine.write("jsonrpcs.toml", "")
    machine.run(block("--logfile=/var/log/jsonrpcs/jsonrpcs.log").text)
    machine.wait_for("serving ", "/var/log/jsonrpcs/jsonrpcs.log")
    machine.stop("/run/jsonrpcs/jsonrpcs.pid")
    assert not machine.path("twistd.log").exists()


def test_users_and_files(machine: Machine) -> None:
    """twistd --uid makes the server another user's, who must be able to read what is read again."""
    commands = block("--uid jsonrpcs").text
    shown = block("tls_private_key: /etc/ssl/key.pem").text
    identity = make_identity("server.example")
    machine.write("/etc/ssl/cert.pem", identity.pem.decode())
    machine.write("/etc/ssl/key.pem", identity.key_pem().decode(), 0o600)
    tls = 'tls_certificate = "/etc/ssl/cert.pem"\ntls_private_key = "/etc/ssl/key.pem"\nrun_dir = "/run/jsonrpcs"\n'
    machine.write("/etc/jsonrpcs.toml", f'{tls}https_listen = "tcp:8443:interface=127.0.0.1"\n')
    machine.run("chown jsonrpcs /run/jsonrpcs")
    refused = machine.run(commands, 1)
    assert without_numbers(refused) == without_numbers(shown)
    machine.run("chown jsonrpcs /etc/ssl/key.pem")
    machine.run(commands)
    machine.wait_for("serving ", "twistd.log")
    owned = machine.run(
        "ps -o user= -p $(cat /run/jsonrpcs/jsonrpcs.pid); stat -c %U /run/jsonrpcs/jsonrpcs.pid twistd.log"
    )
    assert owned.split() == ["jsonrpcs"] * 3
    machine.stop("/run/jsonrpcs/jsonrpcs.pid")


def test_signals(machine: Machine) -> None:
    """SIGHUP logs each outcome as the page shows it, in this order."""
    shown = lines_of(block("certificates reloaded").text)
    identity = make_identity("server.example")
    machine.write("server.pem", (identity.key_pem() + identity.pem).decode(), 0o600)
    machine.write("users", users(*"abcdefg"), 0o600)
    machine.write("/etc/rules", "any allow core.*\n")
    machine.write("list", "1 sip:192.0.2.20\n")
    machine.write(
        "server.toml",
        'https_listen = "tcp:8443:interface=127.0.0.1"\ntls_certificate = "server.pem"\nhttp_users = "users"\n'
        'rule_file = "/etc/rules"\nlist_file = "list"\n',
    )
    pid_file = start(machine)
    machine.write("/etc/rules", "any allow core.*\nudp allow\n")
    before = len(machine.path(LOG).read_text())
    machine.run(f"kill -HUP $(cat {pid_file})")
    log = machine.wait_for("destinations ", LOG, before)
    assert [line.partition("] ")[2] for line in lines_of(log) if "reloaded" in line or "destinations" in line] == shown
    machine.stop(pid_file)


def install_units(machine: Machine) -> None:
    """Install what the units expect, with a stand-in for systemd that is their manager here."""
    need("systemd-analyze", "systemd")
    machine.run("mkdir -p /usr/lib/jsonrpcs-tx /etc/sysusers.d /etc/tmpfiles.d")
    machine.run(f"ln -sfn {Path(sys.prefix)}/bin /usr/lib/jsonrpcs-tx/bin")
    machine.run(f"install {REPOSITORY}/tests/packaging/systemctl /usr/local/bin/systemctl")


def test_systemd(machine: Machine) -> None:
    """The commands install units that systemd accepts, and the service answers, at last on the sockets that it is
    passed; the manager is a stand-in that reads the units.
    """
    install_units(machine)
    machine.write("/etc/jsonrpcs/jsonrpcs.toml", "")
    machine.run("userdel jsonrpcs; rm -rf /run/jsonrpcs")
    installing = block("install -m 644").text
    assert machine.run(installing)
    unit_files = "/etc/systemd/system/jsonrpcs*.service /etc/systemd/system/jsonrpcs*.socket"
    assert machine.run(f"SYSTEMD_OFFLINE=1 systemd-analyze verify --man=no {unit_files}") == ""
    echo = "jsonrpcs --to unix:/run/jsonrpcs/kamailio_rpc.sock core.echo hello"
    assert machine.run(echo) == "hello\n"
    settings = block('"systemd:http"').text
    machine.write("/etc/jsonrpcs/jsonrpcs.toml", f'{settings}tls_self_signed = true\nrule = ["any allow *"]\n')
    machine.run("chown -R root:jsonrpcs /etc/jsonrpcs")
    machine.run(block("jsonrpcs-http.socket").text)
    assert machine.run(echo) == "hello\n"
    for target in ("http://127.0.0.1:8080/RPC", "tcp:127.0.0.1:8092", "udp:127.0.0.1:8090"):
        assert machine.run(f"jsonrpcs --to {target} core.echo hello") == "hello\n"
    assert machine.run("jsonrpcs --to fifo:/run/jsonrpcs/kamailio_rpc.fifo core.echo hello") == "hello\n"
    assert '"result"' in machine.run(f"curl -s -k https://127.0.0.1:8443/RPC -d {ECHO}")
    machine.run("systemctl stop jsonrpcs.service; rm -f /etc/systemd/system/jsonrpcs* /etc/systemd/system/*/jsonrpcs*")


def test_container(machine: Machine) -> None:
    """podman knows the options of the page, and the image's commands, run as its user without rights, are a server and
    a health check that passes. No image is built.
    """
    need("podman", "podman")
    commands = block("podman build").text
    recipe = (REPOSITORY / "packaging" / "Containerfile").read_text()
    storage = "--storage-driver=vfs --root=/srv/podman --runroot=/run/podman"
    for command in lines_of(commands):
        offline = re.sub(r"^podman (build|run)", rf"podman {storage} \1 --pull=never", command)
        said = machine.run(f"cd {REPOSITORY}; {offline} 2>&1 && exit 1 || true")
        assert re.search("image not known|does not exist", said), said
    assert f"#   {lines_of(commands)[1]}\n" in recipe
    (make,) = re.findall(r"^RUN (install -d .*\\\n.*)", recipe, re.MULTILINE)

    def words(instruction: str) -> str:
        (found,) = re.findall(rf"^{instruction} (\[.*\])$", recipe, re.MULTILINE)
        return " ".join(json.loads(found))

    server, health = f"{words('ENTRYPOINT')} {words('CMD')}", words("HEALTHCHECK .* CMD")
    as_user = "setpriv --reuid 10001 --regid 10001 --clear-groups --bounding-set=-all --no-new-privs"
    inside = f"cd /srv/jsonrpcs; export JSONRPCS_TO=unix:/srv/jsonrpcs/kamailio_rpc.sock; {as_user}"
    machine.run(make)
    machine.run(f"{inside} {server} > /tmp/container.log 2>&1 & echo $! > /run/jsonrpcs/container.pid")
    machine.wait_for("serving ", "/tmp/container.log")
    machine.run(f"{inside} {health}")
    machine.stop("/run/jsonrpcs/container.pid")


def test_health(machine: Machine) -> None:
    """A full disk is what the page shows of it, with status 503; the table of the checks names all that there are."""
    shown = json.loads(block('"status": "fail"').text)
    machine.run("mkdir -p /small; mount -t tmpfs -o size=128k,mode=755 none /small")
    machine.write(
        "server.toml",
        'http_listen = "tcp:8080:interface=127.0.0.1"\nhtable = ["a=>size=4"]\nhtable_db = "/small/tables.db"\n'
        f'htable_db_interval = 1\naudit = "audit.log"\nlist_file = "{DATA}/dispatcher.list"\n',
    )
    pid_file = start(machine)
    asking = "curl -s -w '%{http_code}' http://127.0.0.1:8080/health"
    assert machine.run(asking).endswith("200")
    big = json.dumps({"jsonrpc": "2.0", "method": "htable.sets", "params": ["a", "k", "x" * 150_000], "id": 1})
    machine.write("big.json", big)
    machine.run("curl -s -d @big.json http://127.0.0.1:8080/RPC")
    answer = machine.run(f"until {asking} | grep 503; do sleep 0.1; done")
    report = json.loads(answer.rpartition("503")[0])
    assert report["status"] == shown["status"]
    assert {name: report["checks"][name] for name in shown["checks"]} == shown["checks"]
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text().partition("| check | fails |")[2].partition("\n\n")[0], re.M)
    assert len(rows) == 8
    assert report["checks"].keys() - {"fleet", "nodes", "workers", "server"} <= set(rows)
    machine.run("umount -l /small")
    machine.stop(pid_file)


def test_haproxy(machine: Machine) -> None:
    """HAProxy finds the page's servers alive, one of them at an endpoint for PROXY lines."""
    need("haproxy", "haproxy")
    need("socat", "socat")
    shown = block("option httpchk").text
    (endpoint,) = re.findall(r'# (http_listen = \["haproxy:tcp:8080)"\]', shown)
    machine.write("server.toml", 'rule = ["http allow *"]\nhttp_allow = ["192.0.2.0/24"]\n')
    frontend = "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n"
    frontend += "global\n  stats socket /run/haproxy.sock\n"
    machine.write("haproxy.cfg", frontend + shown)
    start(machine, "--http-listen=tcp:8080:interface=192.0.2.10")
    second = endpoint.partition('"')[2] + ":interface=192.0.2.11"
    start(machine, f"--http-listen={second}", twistd="--logfile=/tmp/second.log --pidfile=/run/jsonrpcs/second.pid")
    machine.run("haproxy -D -p /run/jsonrpcs/haproxy.pid -f haproxy.cfg")
    states = "echo 'show stat' | socat - UNIX:/run/haproxy.sock | cut -d, -f2,18,37 | grep '^[ab],'"
    up = machine.run(f"until {states} | grep -c UP,L7OK | grep 2 > /dev/null; do sleep 0.1; done; {states}")
    assert lines_of(up) == ["a,UP,L7OK", "b,UP,L7OK"]
    for pid_file in (PID, "/run/jsonrpcs/second.pid", "/run/jsonrpcs/haproxy.pid"):
        machine.stop(pid_file)


def fail_over_http(machine: Machine) -> None:
    """Have 192.0.2.7 call a command that raises an exception."""
    request = """'{"jsonrpc":"2.0","method":"shop.find","params":["x"],"id":1}'"""
    assert "error" in machine.run(f"curl -s --interface 192.0.2.7 http://192.0.2.10:8080/RPC -d {request}")


OPEN = """http_listen = "tcp:8080:interface=192.0.2.10"\nrule = ["any allow *"]\nhttp_allow = ["192.0.2.0/24"]
commands = ["shop"]
"""


def test_json_log(machine: Machine) -> None:
    """A failed command has the page's entry in a log of JSON."""
    shown = json.loads(block('"level":"critical"').text)
    machine.write("server.toml", f'{OPEN}log_format = "json"\n')
    pid_file = start(machine, twistd=f"--logfile=/tmp/json.log --pidfile={PID}")
    fail_over_http(machine)
    log = machine.wait_for('"critical"', "/tmp/json.log")
    (entry,) = [one for one in objects(log) if one["level"] == "critical"]
    assert entry["traceback"].startswith(shown["traceback"].removesuffix("..."))
    assert list(entry) == list(shown)
    varying = {"time": "", "traceback": "", "port": 0}
    assert entry | varying == shown | varying
    machine.stop(pid_file)


def test_journal(machine: Machine) -> None:
    """The page's commands find in systemd's journal what was logged, and who has changed something."""
    need("journalctl", "systemd")
    reading = block("journalctl -t jsonrpcs -p warning").text
    auditing = block("JSONRPCS_MODULE=jsonrpcs_tx.access.auditlog").text
    machine.run("mkdir -p /run/systemd/journal /run/log/journal /run/systemd/netif")
    machine.run("/lib/systemd/systemd-journald > /dev/null 2>&1 & echo $! > /run/jsonrpcs/journald.pid")
    machine.run("until test -S /run/systemd/journal/socket; do sleep 0.05; done")
    machine.write("server.toml", f'{OPEN}log_format = "journald"\naudit = "journald"\nhtable = ["a=>size=4"]\n')
    pid_file = start(machine, twistd=f"--pidfile={PID}")
    machine.run("until curl -s http://192.0.2.10:8080/health; do sleep 0.05; done")
    fail_over_http(machine)
    flush = """'{"jsonrpc":"2.0","method":"htable.flush","params":["a"],"id":7}'"""
    machine.run(f"curl -s http://192.0.2.10:8080/RPC -d {flush}")
    machine.run("until journalctl | grep shop.find > /dev/null; do sleep 0.05; done")
    machine.run("until journalctl | grep htable.flush > /dev/null; do sleep 0.05; done")
    serious, of_client, as_json = (machine.run(line) for line in lines_of(reading))
    assert "command shop.find failed" in serious
    assert "serving " not in serious
    assert "command shop.find failed" in of_client
    entries = objects(as_json)
    assert [(one["PRIORITY"], one["JSONRPCS_PEER"]) for one in entries] == [("2", "192.0.2.7")]
    (entry,) = objects(machine.run(auditing))
    assert (entry["PRIORITY"], json.loads(entry["JSONRPCS_PARAMS"]), entry["JSONRPCS_METHOD"]) == (
        "5",
        ["a"],
        "htable.flush",
    )
    machine.stop(pid_file)
    machine.stop("/run/jsonrpcs/journald.pid")


def test_log_lines(machine: Machine) -> None:
    """The log says as the page shows that it was opened again, and how many lines are missing after a full disk."""
    reopened = block("logs reopened").text
    lost = block("lines of the log are lost").text
    machine.write("server.toml", f"{OPEN}debug = 3\n")
    pid_file = start(machine)
    machine.run(f"kill -USR1 $(cat {pid_file})")
    log = machine.wait_for("logs reopened", LOG)
    assert without_numbers(reopened) in without_numbers(log)
    machine.stop(pid_file)

    machine.run("mkdir -p /small; mount -t tmpfs -o size=64k,mode=755 none /small")
    pid_file = start(machine, twistd=f"--logfile=/small/server.log --pidfile={PID}")
    machine.run("head -c 1M /dev/zero > /small/filler || true")
    ask = f"curl -s -o /dev/null http://192.0.2.10:8080/RPC -d {ECHO.replace('core.echo', 'no.such')}"
    machine.run(f"for n in $(seq 150); do {ask}; done; rm /small/filler; {ask}")
    log = machine.wait_for("are lost here", "/small/server.log")
    assert without_numbers(lost) in without_numbers(log)
    machine.stop(pid_file)
    machine.run("umount -l /small")


def audited(machine: Machine, more: str = "") -> str:
    """Start a server with the page's settings for the audit log."""
    settings = block("audit_required = false").text
    machine.write("users", users("ann"), 0o600)
    machine.write(
        "server.toml",
        'http_listen = "tcp:8080:interface=127.0.0.1"\nhttp_users = "users"\nhtable = ["a=>size=4"]\n'
        f'commands = ["shop"]\nrule = ["http user=ann allow *", "any deny core.kill"]\n{settings}{more}',
    )
    machine.run("rm -f /var/log/jsonrpcs/audit.log")
    return start(machine)


def ask(method: str, number: int, *params: str, user: str = "ann:ann") -> str:
    """A command that calls one over HTTP."""
    request = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": number})
    return f"curl -s -o /dev/null -u {user} http://127.0.0.1:8080/RPC -d '{request}'\n"


def test_audit(machine: Machine) -> None:
    """The calls that the page tells of have its lines, and jq finds in them what the page says."""
    need("jq", "jq")
    shown = objects(block('"claimed_user":"ann"').text)
    pid_file = audited(machine, f'list_file = "{DATA}/dispatcher.list"\n')
    machine.run(
        ask("htable.flush", 7, "a")
        + ask("shop.sell", 8, "ann", "1234", "kumquat")
        + ask("htable.flush", 9, "a", user="ann:wrong")
        + ask("core.kill", 10)
    )
    log = machine.path("/var/log/jsonrpcs/audit.log").read_text()
    entries = objects(log)
    assert [list(entry) for entry in entries] == [list(entry) for entry in shown]
    varying = {"time": "", "port": 0, "ms": 0}
    assert [entry | varying for entry in entries] == [entry | varying for entry in shown]
    machine.run(ask("dispatcher.set_state", 11, "ip", "1", "sip:127.0.0.1:5080"))
    found = machine.run(f"cd /var/log/jsonrpcs\n{block('jq -c').text}").splitlines()
    assert [entry["id"] for entry in objects(found[0])] == [11]
    assert found[1].split() == ["2", "127.0.0.1"]
    machine.stop(pid_file)


def test_lost_audit_lines(machine: Machine) -> None:
    """After a full disk the audit log says how many lines are missing, as the page shows."""
    shown = json.loads(block("lines are missing here").text)
    machine.run("mkdir -p /small; mount -t tmpfs -o size=64k,mode=755 none /small")
    machine.run("mount --bind /small /var/log/jsonrpcs")
    pid_file = audited(machine)
    machine.run("head -c 1M /dev/zero > /small/filler || true")
    fill = ask("htable.flush", 1, "a")
    count = shown["lost"]
    full = len(objects(machine.path("/small/audit.log").read_text()))
    for number in range(200):
        machine.run(fill if number else "true")
        if len(objects(machine.path("/small/audit.log").read_text())) == full and number > 1:
            break
        full = len(objects(machine.path("/small/audit.log").read_text()))
    machine.run(fill * (count - 2) + "rm /small/filler\n" + fill)
    (note,) = [one for one in objects(machine.path("/small/audit.log").read_text()) if "note" in one]
    assert list(note) == list(shown)
    assert note["note"] == shown["note"]
    assert note["lost"] > 0
    machine.stop(pid_file)
    machine.run("umount -l /var/log/jsonrpcs; umount -l /small")


REFUSING = {
    "calls": """
        http_listen = "tcp:8080:interface=192.0.2.10"
        https_listen = ["tcp:8443:interface=192.0.2.10", 'tcp6:8443:interface=2001\\:db8\\:\\:1']
        tcp_socket = "tcp:192.0.2.10:8092"
        dgram_socket = ["udp:192.0.2.10:8090", "/run/jsonrpcs/rpc.sock"]
        dgram_mode = "0666"
        tls_certificate = "server.pem"
        tls_ca = "ca.pem"
        http_users = "users"
        http_allow = ["192.0.2.0/24", "2001:db8::/32"]
        rule = ["http https tcp unix allow *", "udp 203.0.113.0/24 allow *", "any deny core.kill"]
        """,
    "gateway": """
        https_listen = "tcp:9443:interface=192.0.2.10"
        tls_certificate = "server.pem"
        http_users = "users"
        http_allow = "192.0.2.0/24"
        node = "edge1=unix:/run/jsonrpcs/none.sock"
        rule = ["https node=* allow *", "https node=* deny core.kill"]
        """,
    "others": """
        http_listen = "tcp:9080:interface=192.0.2.10"
        http_allow = "192.0.2.7"
        rule = "http allow *"
        """,
    "guesses": """
        http_listen = "tcp:9081:interface=192.0.2.10"
        http_allow = "192.0.2.0/24"
        http_users = "users"
        rule = "http allow *"
        """,
}
"""Servers that refuse clients: each has a burst of lines of its own for an address."""
REFUSED = f"""
curl="curl -s -k -o /dev/null --interface 192.0.2.1"
plain=http://192.0.2.10:8080/RPC
tls=https://192.0.2.10:8443/RPC
$curl -u ann:wrong $plain -d {KILL}
curl -s -k -o /dev/null --cert ops.pem -H "Authorization: Basic ?" "https://[2001:db8::1]:8443/RPC" -d {KILL}
echo {KILL} | nc -N -s 192.0.2.1 192.0.2.10 8092
$curl -u ann:ann --cert ops.pem $tls -d {KILL}
$curl -u ann:ann https://192.0.2.10:9443/RPC/edge1 -d {KILL}
$curl http://192.0.2.10:9080/RPC -d {ECHO} || true
$curl -u ann:ann -H "Host: evil.example" $plain -d {ECHO}
$curl -u ann:ann -H "Origin: http://evil.example" $plain -d {ECHO}
$curl $tls -d {ECHO} || true
$curl --cert stranger.pem $tls -d {ECHO} || true
openssl s_client -connect 192.0.2.10:8443 -bind 192.0.2.1 -tls1_1 -cipher DEFAULT@SECLEVEL=0 < /dev/null || true
echo {KILL} | nc -u -w 1 -s 192.0.2.1 192.0.2.10 8090 || true
setpriv --reuid 1000 --regid 1000 --clear-groups jsonrpcs --to unix:/run/jsonrpcs/rpc.sock core.kill || true
for n in $(seq 10); do $curl -H "Host: evil.example" http://192.0.2.10:9081/RPC -d {ECHO}; done
sleep 0.5
until grep -q "too many passwords" /tmp/guesses.log; do
    n=$((n + 1)); $curl -u ann:guess$n http://192.0.2.10:9081/RPC -d {ECHO}
done
"""
"""Clients that are refused. The last one has too many lines before it has too many passwords, or it would have lines
only for those that are checked.
"""


def test_refused_clients(machine: Machine) -> None:
    """Clients that are refused have the page's lines in the log, and the shipped filter finds them as the page says."""
    for program, package in (("nc", "netcat-openbsd"), ("openssl", "openssl"), ("fail2ban-regex", "fail2ban")):
        need(program, package)
    shown = lines_of(block("outside http_allow from").text)
    authority = make_identity("ca.example", is_ca=True)
    ops, stranger = make_identity("ops.example.com", authority), make_identity("ops.example.com")
    machine.write("ca.pem", authority.pem.decode())
    for name, identity in (("server", make_identity("server.example")), ("ops", ops), ("stranger", stranger)):
        machine.write(f"{name}.pem", (identity.key_pem() + identity.pem).decode(), 0o600)
    machine.write("users", users("ann"), 0o600)
    for name, settings in REFUSING.items():
        machine.write("server.toml", settings)
        start(machine, twistd=f"--logfile=/tmp/{name}.log --pidfile=/run/jsonrpcs/{name}.pid")
    machine.run(REFUSED)

    def alike(line: str) -> str:
        return re.sub(r" \(and [\d,]+ more\)|pid=\d+", "", line)

    for name in REFUSING:
        machine.stop(f"/run/jsonrpcs/{name}.pid")
    logs = [line for name in REFUSING for line in lines_of(machine.run(f"cat /tmp/{name}.log"))]
    logged = [line for line in logs if "refusallog#warn" in line]
    assert {alike(line) for line in shown} == {alike(line.partition("] ")[2]) for line in logged}

    head = logged[0].partition("http")[0]
    machine.write(LOG, "".join(f"{head}{line}\n" for line in shown))
    found = machine.run(block("fail2ban-regex").text)
    uncounted = [line for line in shown if re.match("udp:|unix:", line) or "Origin" in line]
    assert f" {len(shown) - len(uncounted)} matched, {len(uncounted)} missed" in found
    calls = machine.run(f"fail2ban-regex {LOG} 'jsonrpcs[mode=calls]'")
    others = [line for line in shown if re.search("Host|certificate|TLS", line)]
    assert f" {len(shown) - len(uncounted) - len(others)} matched" in calls
    jail = machine.run("fail2ban-client -c /etc/fail2ban -d")
    assert "'jsonrpcs'" in jail
