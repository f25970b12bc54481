"""What pages show that no other test runs: commands and configurations, as they stand, in a copy of this machine."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator

import pytest

from jsonrpcs_tx.access.rules import read_rule
from tests.support import REPOSITORY
from tests.support.machine import Machine
from tests.support.pages import Block, blocks
from tests.support.programs import need
from tests.support.screens import Screen
from tests.support.tls import make_identity
from tests.support.users import cheap

pytestmark = pytest.mark.slow

ECHO = """'{"jsonrpc":"2.0","method":"core.echo","params":["x"],"id":1}'"""
REPLY = '{"jsonrpc":"2.0","result":["x"],"id":1}'
CURL = f"curl -s --retry 5 --retry-connrefused -d {ECHO}"


def block(page: str, containing: str) -> Block:
    """The block of a page that contains a text."""
    (found,) = [one for one in blocks(REPOSITORY / "docs" / f"{page}.md") if containing in one.text]
    return found


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("machine")) as made:
        yield made


def identity(machine: Machine, name: str, path: str) -> None:
    """Write a certificate with its key, and one without it beside it, and have the name lead to this machine."""
    made = make_identity(name)
    machine.write(path, (made.key_pem() + made.pem).decode(), 0o600)
    machine.write(f"{path}.crt", made.pem.decode())
    machine.run(f"echo 127.0.0.1 {name} >> /etc/hosts")


@pytest.mark.parametrize("page", ["access", "console", "metrics", "openrpc"])
def test_rules(page: str) -> None:
    """What a page shows as rules are rules."""
    shown = [
        line
        for one in blocks(REPOSITORY / "docs" / f"{page}.md")
        if one.language == "text"
        for line in one.text.splitlines()
    ]
    rules = [line for line in shown if re.search(r" (allow|deny|role) ", line)]
    assert rules
    for line in rules:
        read_rule(line.replace("gid=adm", "gid=0"))


def test_access(machine: Machine) -> None:
    """docs/access.md: its settings are accepted, its line for nginx as well, and its command makes a user."""
    need("nginx", "nginx-light")
    for text in ("http_host =", "http_origin =", "haproxy:tcp:8080", "http_proxy ="):
        settings = block("access", text).text
        assert tomllib.loads(settings)
        machine.write("x.toml", settings)
        assert machine.run("twistd jsonrpcs --config x.toml --check").endswith("jsonrpcs: no errors\n")
    machine.run(f"echo sesame | {block('access', 'jsonrpcs_tx.credentials ann').text}")
    machine.write("x.toml", 'http_listen = "tcp:8080:interface=127.0.0.1"\nhttp_users = "users"\n')
    machine.run("twistd jsonrpcs --config x.toml")
    assert machine.run(f"{CURL} -u ann:sesame http://127.0.0.1:8080/RPC") == REPLY
    lines = block("access", "proxy_set_header Host").text
    machine.write(
        "nginx.conf",
        f"events {{}}\nhttp {{ server {{ location / {{ proxy_pass http://127.0.0.1:8080;\n{lines} }} }} }}\n",
    )
    machine.run("mkdir -p /var/log/nginx; nginx -t -p $PWD -e error.log -c nginx.conf")


def test_console(machine: Machine) -> None:
    """docs/console.md: its command serves the console, and nginx has it at a path of its own, as shown."""
    need("nginx", "nginx-light")
    machine.run(block("console", "twistd jsonrpcs").text)
    get = "curl -s -L --retry 5 --retry-connrefused"
    page = machine.run(f"{get} http://localhost:8080/console")
    assert "<!doctype html>" in page.lower()
    machine.stop("twistd.pid")
    machine.write(
        "x.toml",
        'http_listen = "tcp:8080:interface=127.0.0.1"\nhttp_host = "pbx.example.com"\nhttp_proxy = "127.0.0.1"\n',
    )
    machine.run("twistd jsonrpcs --config x.toml")
    location = block("console", "location /pbx/").text
    machine.write("nginx.conf", f"pid nginx.pid;\nevents {{}}\nhttp {{ server {{ listen 80;\n{location} }} }}\n")
    machine.run("mkdir -p /var/log/nginx; nginx -p $PWD -e error.log -c nginx.conf")
    machine.run("echo 127.0.0.1 pbx.example.com >> /etc/hosts")
    machine.run(f"{get} http://localhost:8080/console")
    assert machine.run(f"{get} http://pbx.example.com/pbx/console") == page
    assets = re.findall(r'(?:href|src)="(assets/[\w./-]+)"', page)
    assert assets
    machine.run(" && ".join(f"{get} -f -o /dev/null http://pbx.example.com/pbx/console/{one}" for one in assets))


def test_metrics(machine: Machine) -> None:
    """docs/metrics.md: its commands print the page, and Prometheus, configured as shown, scrapes a server and its
    nodes.
    """
    need("prometheus", "prometheus")
    need("jq", "jq")
    assert "\njsonrpcs_" in machine.run(block("metrics", "--metrics /metrics").text)
    machine.stop("twistd.pid")
    machine.run("twistd --pidfile=node.pid --logfile=node.log jsonrpcs --dgram-socket /run/node.sock --load all")
    identity(machine, "sip1.example.com", "server.pem")
    machine.write("users", f"prometheus:{cheap('secret')}\n", 0o600)
    rules = block("metrics", "allow metrics").text
    machine.write("rules", rules)
    machine.write(
        "x.toml",
        'https_listen = "tcp:8443:interface=127.0.0.1"\ntls_certificate = "server.pem"\nhttp_users = "users"\n'
        'rule_file = "rules"\nhttp_host = "sip1.example.com"\nmetrics = "/metrics"\nmetrics_interval = 0.5\n'
        'node = ["edge1=unix:/run/node.sock", "edge2=unix:/run/node.sock"]\n',
    )
    machine.run("twistd jsonrpcs --config x.toml")
    machine.write("/etc/prometheus/jsonrpcs.password", "secret", 0o644)
    machine.run("cp server.pem.crt /etc/prometheus/jsonrpcs.pem")
    jobs = block("metrics", "job_name: jsonrpcs").text + block("metrics", "job_name: kamailio").text
    machine.write("prometheus.yml", f"global:\n  scrape_interval: 1s\n{jobs}")
    machine.run("promtool check config prometheus.yml")
    options = "--config.file=prometheus.yml --storage.tsdb.path=data --web.listen-address=127.0.0.1:9090"
    machine.run(f"prometheus {options} > prometheus.log 2>&1 &")
    query = "curl -sf 'http://127.0.0.1:9090/api/v1/query?query=up==1' | jq -r '.data.result[].metric.instance' | sort"
    found = machine.run(f"until {query} | grep -c . | grep -q 3; do sleep 0.2; done; {query}")
    assert found.split() == ["edge1", "edge2", "sip1.example.com:8443"]


def test_gateway_nodes(machine: Machine) -> None:
    """docs/gateway.md: the file of nodes is one."""
    machine.write("nodes", block("gateway", "edge2=http://10.0.0.7").text)
    identity(machine, "ca.example", "ca.pem")
    machine.run("mkdir -p /etc/jsonrpcs; cp ca.pem.crt /etc/jsonrpcs/ca.pem")
    machine.write("/etc/jsonrpcs/media.password", "secret\n", 0o600)
    assert machine.run("twistd jsonrpcs --node-file nodes --check") == "jsonrpcs: no errors\n"


def test_fleet_user(machine: Machine) -> None:
    """docs/fleet.md: a user of Redis with the rights that it shows is enough for a fleet."""
    need("redis-server", "redis-server")
    machine.write("users.acl", block("fleet", "user fleet on").text + "user default off\n")
    machine.write("redis.conf", "unixsocket /run/redis.sock\nport 0\naclfile /srv/guide/users.acl\ndaemonize yes\n")
    machine.run("redis-server redis.conf")
    machine.write("fleet.secret", "x" * 32, 0o600)
    machine.write("fleet.password", "PASSWORD\n", 0o600)
    machine.write(
        "x.toml",
        'fleet = "redis+unix:/run/redis.sock?user=fleet&password_file=fleet.password"\n'
        'fleet_name = "fleet"\nfleet_secret = "fleet.secret"\nload = ["all"]\n'
        'dgram_socket = "rpc.sock"\n'
        'htable = ["ban=>size=4"]\nfleet_share = ["htable:ban"]\nfleet_node = "one"\n',
    )
    machine.run("twistd jsonrpcs --config x.toml")
    call = "jsonrpcs --to unix:$PWD/rpc.sock"
    machine.run(f"until {call} fleet.status | grep -q 'together: true'; do sleep 0.1; done; {call} htable.sets ban a 1")
    assert "NOPERM" not in machine.run("cat twistd.log")


def test_command_line(machine: Machine) -> None:
    """docs/cli.md: the profiles of its configuration lead to their servers, its session in the shell goes as shown, and
    its line for bash completes.
    """
    machine.run("mkdir -p /run/kamailio")
    identity(machine, "edge.example.com", "edge.pem")
    machine.run("cp edge.pem.crt /etc/ssl/edge.pem")
    machine.write("users", f"ops:{cheap('sesame')}\n", 0o600)
    machine.write("list", "2 sip:127.0.0.1:5080 0\n")
    machine.write(
        "x.toml",
        'dgram_socket = ["/run/kamailio/kamailio_rpc.sock", "udp:127.0.0.1:8090"]\ntls_certificate = "edge.pem"\n'
        'https_listen = "tcp:8443:interface=127.0.0.1"\nhttp_host = "edge.example.com"\nhttp_users = "users"\n'
        'load = ["all"]\nlist_file = "list"\n',
    )
    machine.run("twistd jsonrpcs --config x.toml")
    machine.wait_for("serving ", "twistd.log")
    machine.write("/etc/jsonrpcs/config.toml", block("cli", "[profiles.local]").text)
    machine.write("/usr/local/bin/pass", '#!/bin/sh\ntest "$*" = "show kamailio/edge" && echo sesame\n', 0o755)
    assert machine.run("jsonrpcs core.echo x") == "x\n"
    assert machine.run("jsonrpcs --to edge core.echo x") == "x\n"

    session = block("cli", "$ jsonrpcs --to").text.splitlines()
    with Screen(machine.words(session[0].removeprefix("$ ")), machine.environment) as screen:
        for line in session[1:]:
            prompt, is_prompt, entered = line.partition(">")
            screen.wait_for(rf"^{re.escape(prompt)}>$" if is_prompt else re.escape(line.rstrip(".")))
            if entered:
                screen.type(f"{entered.strip()}\r")
        screen.type("\4")
        assert screen.end() == 0
    assert json.loads(machine.path("dispatcher.json").read_text())["NRSETS"] == 1
    bash = block("cli", "completion bash").text.splitlines()[0]
    assert "jsonrpcs" in machine.run(f"{bash}\ncomplete -p jsonrpcs")


def test_error_reply(machine: Machine) -> None:
    """docs/faults.md: the reply that it shows is one."""
    shown = block("faults", '"data":{"parameter":"level"').text
    machine.run("twistd jsonrpcs --http-listen tcp:8080:interface=127.0.0.1 --dialect jsonrpc2")
    request = """'{"jsonrpc":"2.0","method":"corex.debug","params":["x"],"id":1}'"""
    printed = machine.run(f"curl -s --retry 5 --retry-connrefused http://127.0.0.1:8080/RPC -d {request}")
    assert printed == shown.strip()


def test_kamcli(machine: Machine) -> None:
    """docs/kamailio.md: kamcli calls with the configuration that it shows."""
    need("kamcli", "kamcli")
    machine.run(
        "mkdir -p /run/jsonrpcs; twistd jsonrpcs --dgram-socket /run/jsonrpcs/kamailio_rpc.sock --pretty-format 1"
    )
    machine.wait_for("serving ", "twistd.log")
    machine.write("kamcli.ini", block("kamailio", "srvaddr=").text)
    assert "x y" in machine.run("kamcli -c kamcli.ini rpc core.echo x y").replace("\n- ", " ")


def test_openrpc(machine: Machine) -> None:
    """docs/openrpc.md: its command serves the program, and jsonrpcs writes the description to a file."""
    machine.write("shop.py", block("openrpc", '@command("shop.find"').text)
    machine.run(f"{block('openrpc', 'venv/bin/twistd jsonrpcs').text}\n{CURL} http://127.0.0.1:8080/RPC")
    machine.run(f"export JSONRPCS_TO=http://127.0.0.1:8080/RPC\n{block('openrpc', 'rpc.discover >').text}")
    document = json.loads(machine.path("openrpc.json").read_text())
    assert "shop.find" in {one["name"] for one in document["methods"]}


def test_caddy(machine: Machine) -> None:
    """docs/howto-proxies.md: Caddy, configured as shown, passes on calls, and rules see the client, who cannot forge
    another address. Only its certificate is from its own authority, not from one on the Internet.
    """
    need("caddy", "caddy")
    machine.run("mkdir -p /run/jsonrpcs; echo 127.0.0.1 rpc.example.com >> /etc/hosts")
    settings = block("howto-proxies", "http_proxy").text.partition("<<'END'\n")[2].partition("END\n")[0]
    given = tomllib.loads(settings)
    listens = [one for one in given["http_listen"] if one.startswith("unix:")]
    assert listens
    machine.write(
        "x.toml",
        f"http_listen = {json.dumps(listens)}\nhttp_proxy = {json.dumps(given['http_proxy'])}\n"
        'http_host = "rpc.example.com"\n'
        'rule = ["http 127.0.0.2 allow core.echo"]\nhttp_allow = "127.0.0.2"\nhttp_group = "caddy"\n',
    )
    machine.run("twistd jsonrpcs --config x.toml")
    machine.write(
        "Caddyfile", "{\n\tlocal_certs\n\tskip_install_trust\n}\n" + block("howto-proxies", "reverse_proxy").text
    )
    machine.wait_for("serving ", "twistd.log")
    machine.run("mkdir -p /srv/caddy; chown caddy /srv/caddy; cp Caddyfile /srv/caddy")
    rights = "--inh-caps +net_bind_service --ambient-caps +net_bind_service"
    as_caddy = f"setpriv --reuid caddy --regid caddy --clear-groups {rights}"
    machine.run(f"cd /srv/caddy; HOME=/srv/caddy {as_caddy} caddy run --config Caddyfile > caddy.log 2>&1 &")
    curl = f"curl -s -k --retry 20 --retry-delay 1 --retry-all-errors https://rpc.example.com/RPC -d {ECHO}"
    forged = "-H 'X-Forwarded-For: 127.0.0.2' -H 'Forwarded: for=127.0.0.2'"
    assert machine.run(f"{curl} --interface 127.0.0.2") == REPLY
    assert "403" in machine.run(f"{curl} --interface 127.0.0.3 {forged} -o /dev/null -w '%{{http_code}}' --retry 0")


def test_tools_of_developers() -> None:
    """The programs of the repository take the options with which pages call them."""
    pages = (REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").glob("*.md"))
    calls = {
        (module, options)
        for page in pages
        for one in blocks(page)
        for module, options in re.findall(r"python -m ((?:bench|fuzz)(?:\.\w+)?)((?: [^#&\n]+)?)", one.text)
    }
    assert len(calls) >= 8
    for module, options in sorted(calls):
        path = REPOSITORY / module.replace(".", "/")
        source = (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
        for option in re.findall(r"--[a-z-]+", options):
            assert f'add_argument("{option}"' in source, (module, option)
    sessions = re.findall(r"^(?:\S+/)?nox -s (\w+)", (REPOSITORY / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    functions = {
        one.name for one in ast.parse((REPOSITORY / "noxfile.py").read_text()).body if isinstance(one, ast.FunctionDef)
    }
    assert sessions
    assert {*sessions} <= functions
