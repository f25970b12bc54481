"""Rules that are allowed, but can never fit, or not as they are meant."""

import signal
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from jsonrpcs_tx import Settings, check, command, makeService
from jsonrpcs_tx.access.doubts import doubts
from jsonrpcs_tx.access.rules import read_rule
from jsonrpcs_tx.log import throttle
from tests.support import Server, run_twistd, users
from tests.support.logs import logged

NODES = ("edge1", "edge")
USERS = ("ann", "noc")
OWN = {"shop.order": (1, 2), "htable.sets": (3, 3), "shop.any": (0, None)}


def found(line: str) -> list[str]:
    return [str(one) for one in doubts([read_rule(line)], OWN.get, USERS, NODES)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "any node=egde allow *",
            "there is no such node or group; did you mean edge?; allowed: edge, edge1",
        ),
        ("any node=edge,edge4 allow *", "node=edge,edge4 is one name; allowed: node=edge node=edge4"),
        ("any node=edge node=x* deny *", "node=x*: there is no such node or group; allowed: edge, edge1"),
        ("any node=Edge allow *", "node=Edge: there is no such node or group; did you mean edge?"),
        ("http user=noc,ann allow *", "user=noc,ann is one name; allowed: user=noc user=ann"),
        ('http user="noc" allow *', 'user="noc" is one name; allowed: user=noc'),
        ("http user='noc' allow *", "is one name; allowed: user=noc"),
        ("http user=anne allow *", "user=anne: there is no such user; did you mean ann?; allowed: the name of a user"),
        ("http user=bob deny *", "user=bob: there is no such user; allowed"),
        ("https tls=a.example,b.example allow *", "is one name; allowed: tls=a.example tls=b.example"),
        ("udp node=edge allow *", "no node can be called over udp; allowed: node= with http, https or exec"),
        ("udp 10.0.0.1 node=edge role read", "no node can be called over udp"),
        ("uid=0 unix node=edge allow *", "no node can be called over unix"),
        ("any allow shop.order(a, b, c)", "shop.order has 3 parameters here; allowed: 1 to 2, which it takes"),
        ("any allow shop.order()", "shop.order has 0 parameters here"),
        ("any allow htable.sets t *", "htable.sets has 2 parameters here; allowed: 3, which it takes"),
        ("any node=edge allow dispatcher.set_state * 1", "dispatcher.set_state has 2 parameters here; allowed: 3"),
        ("any deny dispatcher.set_state(*, 1, *, *)", "dispatcher.set_state has 4 parameters here"),
        ("any node=edge allow stats.fetch()", "stats.fetch has 0 parameters here; allowed: 1 or more"),
    ],
)
def test_doubtful(line: str, says: str) -> None:
    """What can never fit is said, with what may be meant."""
    (one,) = found(line)
    assert one.startswith(f"rule: {line}: ")
    assert says in one


def test_no_nodes() -> None:
    """Where there are no nodes, rules for them say how to have some."""
    (one,) = doubts([read_rule("https node=* allow *")], OWN.get)
    assert str(one).endswith(": node=*: there is no such node or group; allowed: nodes in node or node_file first")


@pytest.mark.parametrize(
    "line",
    [
        "any allow *",
        "any node=* allow *",
        "any node=e* deny core.kill",
        "https user=ann user=n* node=edge1 role read",
        "any 10.0.0.1 node=edge allow *",
        "any allow shop.order(a) shop.order(a, b) shop.order(...) shop.any(a, b, c)",
        "any allow not.known(a, b)",
        "any allow htable.*(t, ...)",
        "any deny htable.sets t *",
        "any deny dispatcher.set_state * 1 *",
        "any node=edge allow core.echo(a, b, c, d) core.kill() core.kill(15)",
    ],
)
def test_sure(line: str) -> None:
    """Nothing is said of what may fit."""
    assert found(line) == []


METHODS = ("shop.order", "htable.sets", "shop.any", "core.list")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("any allow shop.ordr", "shop.ordr: no server is known to have such a method; did you mean shop.order?"),
        ("any deny core.kil", "core.kil: no server is known to have such a method; did you mean core.kill?"),
        (
            "any node=edge allow dispatcher.relaod",
            "did you mean dispatcher.reload?; allowed: methods that a",
        ),
        ("any allow zzz.*", "zzz.*: no server is known to have such a method; allowed"),
        ("any allow qqqqqqqq(a)", "qqqqqqqq: no server is known to have such a method; allowed"),
    ],
)
def test_unknown_methods(line: str, says: str) -> None:
    """A method that no server is known to have is doubtful, once all of this one are known."""
    (one,) = doubts([read_rule(line)], OWN.get, USERS, NODES, METHODS)
    assert says in str(one)
    assert list(doubts([read_rule(line)], lambda _: None, USERS, NODES)) == []


@pytest.mark.parametrize(
    "line",
    [
        "any allow shop.order shop.* * *.list core.kill dispatcher.reload htable.sets(a, *, *)",
        "any deny *.reload*",
        "any node=edge allow own.program qqqqqqqq.* zzz.*",
        "any role read",
    ],
)
def test_known_methods(line: str) -> None:
    """Methods of this server and of Kamailio are known, and so are patterns that one of them fits. A node may have
    others.
    """
    assert list(doubts([read_rule(line)], OWN.get, USERS, NODES, METHODS)) == []


class Programs(TestCase):
    """Rules of programs."""

    def setUp(self) -> None:
        throttle.clear()  # trial has no fixtures

    async def test_own_commands(self) -> None:
        """Commands that a program adds to a server before it starts are known when it does."""

        @command("shop.order")
        def order() -> None: ...

        listen = ["tcp:0:interface=127.0.0.1"]
        service = makeService(
            Settings(rule=["any allow shop.order shop.oder"], transport=1, http_listen=listen), reactor
        )
        self.addCleanup(service.stopService)
        service.registry.add(order)
        with logged() as lines:
            service.startService()
        (told,) = [line for line in lines if "no server is known" in line]
        assert "shop.oder: no server is known to have such a method; did you mean shop.order?" in told


def test_users_of_a_checker() -> None:
    """Where users are not in a file, only the form of their names is doubtful."""
    rules = [read_rule("http user=anybody allow *"), read_rule("http user=a,b allow *")]
    (one,) = doubts(rules, OWN.get)
    assert "user=a,b is one name" in str(one)


def test_check_of_programs() -> None:
    """Doubts are no errors to a program that checks its settings."""
    assert check(Settings(rule=["any node=egde allow *"], node=["edge=unix:/x"], transport=0), reactor) == []


@pytest.mark.slow
def test_check(tmp_path: Path) -> None:
    """--check prints each with its file and line, and is content; the start and a reload log them."""
    users.write(tmp_path / "users", "ann")
    (tmp_path / "users").chmod(0o600)
    (tmp_path / "rules").write_text("# rules\nhttp user=ann allow *\nhttp user=bob allow *\n")
    (tmp_path / "settings.toml").write_text(
        'rule_file = "rules"\nhttp_users = "users"\nnode = ["edge1=unix:/x group=edge"]\n'
        'rule = [\n  "any node=edge deny core.kill",\n  "any node=egde deny core.kill",\n]\n'
    )
    done = run_twistd(tmp_path, "jsonrpcs", "--config", "settings.toml", "--check")
    lines = done.stderr.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[-1] == "jsonrpcs: no errors"
    one, other = (line.removeprefix("jsonrpcs: warning: ") for line in lines[:2])
    assert one.startswith("settings.toml:6: rule: any node=egde deny core.kill: node=egde: there is no such node"), one
    assert other.startswith(f"{tmp_path}/rules:3: rule_file: 'http user=bob allow *': user=bob: there is no"), other
    assert len(lines) == 3
    with Server(tmp_path, "--rule-file=rules", "--http-users=users") as server:
        server.wait_for_log("user=bob: there is no such user")
        (tmp_path / "rules").write_text("http user=carl allow *\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("line 1: 'http user=carl allow .*': user=carl: there is no such user")
