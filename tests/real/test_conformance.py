"""What the real Kamailio answered is answered here, over every transport: tests/data has the replies of 5.6.3, and of
6.1.4 in a directory of its own.

Each file is a scenario: its steps are sent in order to a server that starts with the file's settings. A step's kind
says what it binds us to: C{exact}, the same bytes; C{unordered}, the same but for the order of sets and of targets
within a set; C{volatile}, the same keys and types; C{dialect}, the same in dialect kamailio; C{extension} and
C{invalid}, what L{BETTER} and L{INVALID} say, where the original loses something, answers nonsense or dies.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support import (
    DATA,
    ECHO,
    ECHO_REPLY,
    TRANSPORTS,
    ReplyFifo,
    Server,
    datagram_client,
    with_reply_name,
    write_fifo,
)
from tests.support.likeness import is_like

pytestmark = pytest.mark.slow

VERSIONS = {"5.6": DATA, "6.1": DATA / "kamailio-6.1"}
"""The recordings for each value of the setting C{compatibility}."""

STATELESS = ("core", "echo", "ids", "errors", "system")
"""Scenarios that leave the server as it was, so that all transports can share one."""

STATEFUL = ("corex", "cfg", "htable", "stats", *(f"dispatcher{number}" for number in range(1, 6)))
STATEFUL_TRANSPORTS = ("unix", "udp4", "fifo", "http")

OPEN = ("stats.fetch", "stats.fetchn", "cnt.grp_get_all", "cfg.get", "core.flags")
"""Methods whose keys are names of counters and variables: each server has its own."""

MAY_BE_EMPTY = ("core.tcp_list", "corex.list_aliases")

ECHOED = '{"jsonrpc":"2.0","result":["x",1],"id":%s}'
PARSE_ERROR = (400, '{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse Error"},"id":null}')
BAD_PARAMETERS = (500, '{"jsonrpc":"2.0","error":{"code":500,"message":"Invalid Parameters"},"id":1}')


DONE = (200, '{"jsonrpc":"2.0","result":{},"id":1}')


def bad_request(id: str) -> tuple[int, str]:
    return 400, f'{{"jsonrpc":"2.0","error":{{"code":-32600,"message":"Invalid Request"}},"id":{id}}}'


def fault(code: int, message: str) -> tuple[int, str]:
    return code, f'{{"jsonrpc":"2.0","error":{{"code":{code},"message":"{message}"}},"id":1}}'


BETTER: dict[tuple[str, int], tuple[int, str]] = {
    ("core", 25): (200, '{"jsonrpc":"2.0","result":["0","-1","65536","4294967295"],"id":1}'),
    ("ids", 11): (200, ECHOED % "1.5"),
    ("ids", 12): (200, ECHOED % "null"),
    ("ids", 13): (200, ECHOED % "true"),
    ("ids", 14): (200, ECHOED % "12345678901234567890"),
    ("ids", 15): (200, ECHOED % "9007199254740993"),
    ("errors", 31): (200, '{"jsonrpc":"2.0","result":[["array"]],"id":1}'),
    ("cfg", 20): BAD_PARAMETERS,
    ("stats", 17): fault(400, "non-existent counter core.nope"),
    ("stats", 19): fault(400, "non-existent counter core.nope"),
}
"""The HTTP status and the reply of C{extension} steps."""

NOT_KEPT = ("dispatcher4", 11)
"""A list that 5.6 shows after commands that it has refused: they left a destination that nobody has added."""

INVALID: dict[tuple[str, int], tuple[int, str]] = {
    ("corex", 4): BAD_PARAMETERS,
    **{("echo", step): BAD_PARAMETERS for step in (7, 8, 9, 10, 13)},
    **{("errors", step): bad_request("1") for step in range(5, 15)},
    **{("errors", step): bad_request("null") for step in (15, 16, 17, 18, 21, 22, 23)},
    **{("errors", step): PARSE_ERROR for step in (19, 20, 24, 25)},
    ("errors", 26): (200, "[" + ECHOED % "1" + "]"),
    ("errors", 27): bad_request("null"),
    ("errors", 32): BAD_PARAMETERS,
    ("htable", 8): BAD_PARAMETERS,
    ("cfg", 17): BAD_PARAMETERS,
    ("cfg", 29): BAD_PARAMETERS,
    ("dispatcher2", 5): BAD_PARAMETERS,
}
"""The HTTP status and the reply of C{invalid} steps."""

LATER: dict[tuple[str, str], tuple[int, str]] = {
    ("errors", '{"jsonrpc":"2.0","method":"core.kill","params":["x"],"id":1}'): BAD_PARAMETERS,
    ("cfg", '{"jsonrpc":"2.0","method":"cfg.reset","params":["core","debug"],"id":1}'): DONE,
    ("cfg", '{"jsonrpc":"2.0","method":"cfg.seti","params":["core","debug",99999],"id":1}'): fault(
        400, "Failed to set the variable: debug: allowed is an integer from -5 to 9, not 99999"
    ),
}
"""The HTTP status and the reply of steps that were recorded of 6.1 only, and are nonsense, or left out, there."""

JSONRPC2: dict[tuple[str, int], bytes] = {
    ("ids", 16): b"",
    ("ids", 17): b"",
    **{
        ("errors", step): b'{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":%s}'
        % (b'"s"' if step == 4 else b"1")
        for step in range(5)
    },
}
"""The replies of C{dialect} steps in dialect jsonrpc2; an empty one means no reply."""


@cache
def scenario(name: str, version: str = "5.6") -> dict[str, Any]:
    """A scenario with its settings and steps.

    Each step gets C{answer}: what ours must say where that is not what was recorded. The later recordings were made of
    the same requests, so what binds us to them is said once, by request.
    """
    first = json.loads((DATA / f"{name}.json").read_text())
    answers = {(name, step["request"]): answer_to(name, number) for number, step in enumerate(first["steps"])}
    kinds = {step["request"]: step["kind"] for step in first["steps"]}
    steps = first["steps"] if version == "5.6" else json.loads((VERSIONS[version] / f"{name}.json").read_text())
    for number, step in enumerate(steps):
        key = (name, step["request"])
        step["answer"] = LATER.get(key) or answers.get(key)
        step["kind"] = "invalid" if key in LATER else kinds.get(step["request"], "exact")
        if version == "5.6" and (name, number) == NOT_KEPT:
            step["kind"] = "not kept"
    return {**first, "steps": steps}


def answer_to(name: str, number: int) -> tuple[int, str] | None:
    return BETTER.get((name, number)) or INVALID.get((name, number))


def options(name: str, version: str) -> list[str]:
    """The options for a scenario's settings."""
    settings = {**scenario(name)["settings"], "compatibility": version}
    if "list_file" in settings:
        settings["list_file"] = str(DATA / settings["list_file"])
    if version == "6.1":
        settings["reload_delta"] = 0  # as it was recorded
    return [f"--{setting.replace('_', '-')}={value}" for setting, value in settings.items()]


def carries(transport: str, document: str) -> bool:
    """Whether a transport can carry a document: TCP, without frames, leaves what follows a whole one, and the FIFO
    needs one that shows where it ends and has room for a reply_name.
    """
    framed = document.startswith(("{", "[")) and document.endswith(("}", "]"))
    if transport == "tcp":
        return framed or "}" not in document
    return transport != "fifo" or (framed and "{" in document and document != "{}")


def sorted_sets(text: str) -> str:
    """A reply of dispatcher.list with its sets and targets in one order, its members in theirs; without their places in
    the sets, which follow from the order, and with identifiers, which each server makes, reduced to their form.
    """
    reply = json.loads(re.sub(r'"dspt(-[0-9a-f]+){4}"', '"dspt"', text))
    for record in reply["result"]["RECORDS"]:
        places = [target["DEST"].pop("IDX", None) for target in record["SET"]["TARGETS"]]
        assert places in ([None] * len(places), list(range(len(places))))
        record["SET"]["TARGETS"].sort(key=json.dumps)
    reply["result"]["RECORDS"].sort(key=json.dumps)
    return json.dumps(reply)


def reason_of(reply: str) -> str:
    """The HTTP reason that belongs to a reply."""
    value = json.loads(reply)
    return str(value["error"]["message"]) if "error" in value else "OK"


def check(name: str, step: dict[str, Any], reply: bytes, status: int | None, reason: str | None) -> None:
    """Check a reply, and over HTTP the status and reason.

    @raise AssertionError: it is not what the step's kind binds us to.
    """
    recorded = step["http"]
    if step["kind"] in ("extension", "invalid"):
        wanted_status, wanted = step["answer"]
        assert reply.decode() == wanted
        assert status in (None, wanted_status)
        assert reason in (None, reason_of(wanted))
        return
    if step["kind"] in ("exact", "dialect"):
        assert reply.decode() == recorded["body"]
    elif step["kind"] == "not kept":
        sets = {record["SET"]["ID"]: record["SET"]["TARGETS"] for record in json.loads(reply)["result"]["RECORDS"]}
        assert sorted(target["DEST"]["URI"] for target in sets[3]) == ["sip:10.0.0.2:5060", "sip:10.0.0.3:5060"]
    elif step["kind"] == "unordered":
        assert sorted_sets(reply.decode()) == sorted_sets(recorded["body"])
    else:
        method = json.loads(step["request"])["method"]
        ours, theirs = json.loads(reply), json.loads(recorded["body"])
        if "error" in theirs:
            assert ours == theirs
        else:
            assert {**ours, "result": None} == {**theirs, "result": None}
            assert is_like(ours["result"], theirs["result"], method in OPEN), f"{reply!r} is not like {theirs!r}"
            assert ours["result"] or not theirs["result"] or method in MAY_BE_EMPTY
    assert status in (None, recorded["status"])
    assert reason in (None, recorded["reason"])


def has_layout(step: dict[str, Any]) -> bool:
    """Whether the reply with pretty_format 1 was recorded, and binds us to the byte."""
    return step["kind"] in ("exact", "dialect") and isinstance(step.get("dgram_pretty"), str)


def play(server: Server, name: str, version: str, transport: str, pretty: bool = False) -> None:
    """Send the steps of a scenario over a transport, and check the replies, and that the server goes on after them."""
    for number, step in enumerate(scenario(name, version)["steps"]):
        document = step["request"]
        if not carries(transport, document):
            continue
        status = reason = None
        if transport in ("http", "https"):
            response = server.http(document.encode(), transport)
            reply, status, reason = response.body, response.status, response.reason
        else:
            reply = server.call(transport, document.encode())
        try:
            if not pretty:
                check(name, step, reply, status, reason)
            elif has_layout(step):
                assert reply.decode() == step["dgram_pretty"]
        except Exception as error:
            raise AssertionError(f"{name}, step {number}, {step['kind']}: {document}: {error}") from error
    if not pretty:
        assert server.call(transport, ECHO) == ECHO_REPLY


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", STATELESS)
def test_stateless(server: Server, name: str, transport: str) -> None:
    """What leaves the server as it was is answered as recorded."""
    play(server, name, "6.1", transport)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("older"), "--compatibility=5.6") as running:
        yield running


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", STATELESS)
def test_stateless_older(older: Server, name: str, transport: str) -> None:
    """The same, of the older version."""
    play(older, name, "5.6", transport)


@pytest.mark.parametrize("transport", STATEFUL_TRANSPORTS)
@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("version", VERSIONS)
def test_stateful(tmp_path: Path, version: str, name: str, transport: str) -> None:
    """What changes the server is answered as recorded, from a fresh start."""
    with Server(tmp_path, *options(name, version)) as server:
        play(server, name, version, transport)


def with_layout(version: str, names: tuple[str, ...]) -> list[str]:
    """The scenarios in which replies with pretty_format 1 were recorded."""
    return [name for name in names if any(map(has_layout, scenario(name, version)["steps"]))]


@pytest.mark.parametrize("version", VERSIONS)
def test_pretty_format(tmp_path: Path, version: str) -> None:
    """With pretty_format 1 the reply has Kamailio's layout, to the byte."""
    with Server(tmp_path, "--pretty-format=1", f"--compatibility={version}") as server:
        for name in with_layout(version, STATELESS):
            play(server, name, version, "unix", pretty=True)


@pytest.mark.parametrize(
    ("version", "name"), [(version, name) for version in VERSIONS for name in with_layout(version, STATEFUL)]
)
def test_pretty_format_of_changes(tmp_path: Path, version: str, name: str) -> None:
    """So has the reply to what changes the server."""
    settings = [option for option in options(name, version) if not option.startswith("--pretty-format")]
    with Server(tmp_path, "--pretty-format=1", *settings) as server:
        play(server, name, version, "unix", pretty=True)


@pytest.fixture(scope="module")
def jsonrpc2_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("jsonrpc2"), "--dialect=jsonrpc2") as running:
        yield running


def before_echo(server: Server, transport: str, document: bytes) -> bytes:
    """Send a document and then an echo from one client, and return the first reply."""
    if transport == "fifo":
        with ReplyFifo(server.reply_dir / "notified") as reply:
            requests = (with_reply_name(request, "notified") for request in (document, ECHO))
            write_fifo(server.addresses["fifo"], b"".join(requests))
            return reply.read()
    with datagram_client(server.addresses[transport]) as client:
        client.send(document)
        client.send(ECHO)
        return client.recv(65_536)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("key", list(JSONRPC2), ids=lambda key: f"{key[0]}-{key[1]}")
def test_jsonrpc2(jsonrpc2_server: Server, key: tuple[str, int], transport: str) -> None:
    """In dialect jsonrpc2 errors are the specification's, with HTTP status 200, and notifications are not answered."""
    name, number = key
    document = scenario(name)["steps"][number]["request"].encode()
    if transport in ("http", "https"):
        response = jsonrpc2_server.http(document, transport)
        assert (response.status, response.body) == (200, JSONRPC2[key])
    elif JSONRPC2[key] or transport == "tcp":  # which closes the connection after one document
        assert jsonrpc2_server.call(transport, document) == JSONRPC2[key]
    else:
        assert before_echo(jsonrpc2_server, transport, document) == ECHO_REPLY


def test_every_step_is_bound() -> None:
    """Every recorded step that is not to be answered as it was has an answer here."""
    steps = {
        (name, number): step["kind"]
        for name in (*STATELESS, *STATEFUL)
        for number, step in enumerate(scenario(name)["steps"])
    }
    assert {key for key, kind in steps.items() if kind == "extension"} == set(BETTER)
    assert {key for key, kind in steps.items() if kind == "invalid"} == set(INVALID)
    assert {key for key, kind in steps.items() if kind == "dialect"} == set(JSONRPC2)
