"""The commands htable.*: the recorded replies of Kamailio, and what differs from it."""

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from jsonrpcs_tx.commands.htable import Htable
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.registry import Registry
from jsonrpcs_tx.state.tables import StorageError, Table, Tables
from tests.support import DATA, ECHO, ECHO_REPLY, PATIENCE, Server, datagram_client

Call = Callable[..., Any]
NOON = time.mktime((2026, 1, 2, 12, 0, 0, 0, 0, -1))
SET = "Ok. Key set to new value."


class Service(SimpleNamespace):
    """A dispatcher with the commands, their tables and the clock of these."""

    def __init__(self, *definitions: str) -> None:
        self.clock = Clock()
        self.tables = Tables(self.clock, lambda: NOON + self.clock.seconds())
        for definition in definitions:
            self.tables.define(definition)
        self._dispatcher = Dispatcher(Registry(Htable(self.tables)), self.clock)

    def dispatch(self, document: bytes) -> Reply:
        reply = self._dispatcher.dispatch(document, Origin("test"))
        assert isinstance(reply, Reply)
        return reply

    def call(self, method: str, *params: object) -> Any:
        """The result, or the code and the text of the fault."""
        request = {"jsonrpc": "2.0", "method": "htable." + method, "params": params, "id": 1}
        reply = json.loads(self.dispatch(json.dumps(request).encode()).body)
        return reply["result"] if "result" in reply else (reply["error"]["code"], reply["error"]["message"])


class Memory:
    """Keeps the rows of one table; or fails, or says that it goes on."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.broken = False
        self.done = True

    def store(self, table: Table) -> bool:
        self._fail()
        self.rows = table.rows()
        return self.done

    def reload(self, table: Table) -> bool:
        self._fail()
        table.restore(table.read(self.rows))
        return self.done

    def _fail(self) -> None:
        if self.broken:
            raise StorageError("table a: disk full")


@pytest.fixture
def service() -> Service:
    return Service("a=>size=4;", "b=>size=3;autoexpire=60;initval=7;updateexpire=0;")


@pytest.fixture
def call(service: Service) -> Call:
    return service.call


def shape(value: Any) -> Any:
    """The keys and JSON types of a value."""
    if isinstance(value, dict):
        return {key: shape(member) for key, member in value.items()}
    if isinstance(value, list):
        return [shape(member) for member in value[:1]]
    return type(value).__name__


def test_conformance() -> None:
    """Each recorded request is answered as its kind demands."""
    recorded = json.loads((DATA / "htable.json").read_text())
    service = Service(recorded["settings"]["htable"])
    for step in recorded["steps"]:
        reply = service.dispatch(step["request"].encode())
        if step["kind"] == "exact":
            assert reply.body.decode() == step["dgram"], step["request"]
            assert (reply.code, reply.text) == (step["http"]["status"], step["http"]["reason"]), step["request"]
        elif step["kind"] == "volatile":
            assert shape(json.loads(reply.body)) == shape(json.loads(step["dgram"])), step["request"]
        else:
            assert step["kind"] == "invalid"
            assert json.loads(reply.body)["error"] == {"code": 500, "message": "Invalid Parameters"}


def test_volatile_are_the_reference_s() -> None:
    """Of the recorded requests, those whose values are free get the reference's values too."""
    recorded = json.loads((DATA / "htable.json").read_text())
    service = Service(recorded["settings"]["htable"])
    for step in recorded["steps"]:
        body = service.dispatch(step["request"].encode()).body.decode()
        if step["kind"] == "volatile":
            assert body == step["dgram"]


def test_list_tables(call: Call) -> None:
    """Tables are listed with their definitions, the last one first, as the reference does."""
    assert call("listTables") == [
        {"name": "b", "dbtable": "", "dbmode": 0, "expire": 60, "updateexpire": 0, "size": 8, "dmqreplicate": 0},
        {"name": "a", "dbtable": "", "dbmode": 0, "expire": 0, "updateexpire": 1, "size": 16, "dmqreplicate": 0},
    ]


def test_expire_text(service: Service, call: Call) -> None:
    """An expiry is shown in local time, in whole seconds."""
    assert call("setxs", "a", "k", "v", 90) == SET
    service.clock.advance(5)
    assert call("get", "a", "k") == {"item": {"name": "k", "value": "v", "flags": 2, "expire": "2026-01-02 12:01:30"}}


@pytest.mark.parametrize(("expire", "text"), [(500, "2026-01-02 12:08:20"), (0, "NEVER"), (-1, "NEVER")])
def test_setex(call: Call, expire: int, text: str) -> None:
    """setex sets when an item expires, and 0 or less means never."""
    call("seti", "b", "k", 1)
    assert call("setex", "b", "k", expire) == "Ok"
    assert call("get", "b", "k")["item"] == {"name": "k", "value": 1, "flags": 0, "expire": text}


def test_setex_without_the_item(call: Call) -> None:
    """setex of a key that is not there makes none."""
    assert call("setex", "b", "k", 100) == "Ok"
    assert call("dump", "b") == []


@pytest.mark.parametrize(("expire", "text"), [(500, "2026-01-02 12:08:20"), (0, "2026-01-02 12:01:00")])
def test_setx_in_a_table_that_expires(call: Call, expire: int, text: str) -> None:
    """setxs and setxi with 0 leave the expiry to the table."""
    call("setxs", "b", "s", "v", expire)
    call("setxi", "b", "i", 1, expire)
    assert call("get", "b", "s")["item"]["expire"] == text
    assert call("get", "b", "i")["item"]["expire"] == text


def test_expired(service: Service, call: Call) -> None:
    """An expired item is gone for all commands."""
    call("setxi", "a", "k", 1, 10)
    service.clock.advance(10)
    assert call("get", "a", "k") == (500, "Key name doesn't exist in htable.")
    assert call("delete", "a", "k") == (404, "Key not found in htable.")
    assert call("dump", "a") == []
    assert call("stats")[1] == {"name": "a", "slots": 16, "all": 0, "min": 0, "max": 0}


def test_initval_is_not_for_clients(call: Call) -> None:
    """A key that is not there is an error for clients, whatever the initval."""
    assert call("get", "b", "k") == (500, "Key name doesn't exist in htable.")


def test_stats(call: Call) -> None:
    """stats counts all items, and those of the emptiest and the fullest slot."""
    for key in "qwertyuiopasdfghjkl":
        call("seti", "b", key, 1)
    sizes = [entry["size"] for entry in call("dump", "b")]
    assert len(sizes) == 8
    assert call("stats")[0] == {"name": "b", "slots": 8, "all": 19, "min": min(sizes), "max": max(sizes)}


@pytest.mark.parametrize(
    ("method", "given", "text"),
    [
        ("get", 2, "Not enough parameters (htable name and key name)"),
        ("delete", 2, "Not enough parameters (htable name & key name"),
        ("sets", 3, "Not enough parameters (htable name, key name and value)"),
        ("seti", 3, "Not enough parameters (htable name, key name and value)"),
        ("setex", 3, "Not enough parameters (htable name, item name and expire)"),
        ("setxs", 4, "Not enough parameters (htable name, key name, value and expire)"),
        ("setxi", 4, "Not enough parameters (htable name, key name, value and expire)"),
        ("flush", 1, "No htable name given"),
        ("dump", 1, "No htable name given"),
    ],
)
def test_usage(call: Call, method: str, given: int, text: str) -> None:
    """Parameters that are missing, or are not names, are answered with the reference's text, for each command."""
    for params in (["a", "k", "v", 1][:count] for count in range(given)):
        assert call(method, *params) == (500, text)
    assert call(method, 5, "k", 1, 1) == (500, text)


@pytest.mark.parametrize(
    ("method", "params", "text"),
    [
        ("get", ["k"], "No such htable"),
        ("delete", ["k"], "No such htable"),
        ("sets", ["k", "v"], "No such htable"),
        ("setex", ["k", 1], "No such htable"),
        ("setxs", ["k", "v", 1], "Failed to set the item"),
        ("setxi", ["k", 1, 1], "Failed to set the item"),
        ("flush", [], "No such htable"),
        ("dump", [], "No such htable"),
    ],
)
def test_no_table(call: Call, method: str, params: list[Any], text: str) -> None:
    """A table that is not there, or differs in case, is answered with the reference's text."""
    assert call(method, "zz", *params) == (500, text)
    assert call(method, "A", *params) == (500, text)


@pytest.mark.parametrize(
    ("method", "params", "text"),
    [
        ("seti", [2**63], "value 9223372036854775808: must be text, or an integer from "),
        ("setxi", [-(2**63) - 1, 0], "value -9223372036854775809: must be text, or an integer from "),
        ("setxs", ["v", 2**31], "expiry 2147483648: must be at most 2147483647 seconds"),
        ("setex", [2**31], "expiry 2147483648: must be at most 2147483647 seconds"),
    ],
)
def test_out_of_range(call: Call, method: str, params: list[Any], text: str) -> None:
    """What is out of range is refused, not cut off, with a text that says what is allowed; the item stays."""
    call("seti", "a", "k", 1)
    code, message = call(method, "a", "k", *params)
    assert code == 500
    assert message.startswith("Invalid Parameters: " + text)
    assert call("get", "a", "k")["item"] == {"name": "k", "value": 1, "flags": 0, "expire": "NEVER"}


def test_integers_are_exact(call: Call) -> None:
    """Integers of 64 bits come back exactly; the reference cuts them off at 32."""
    for value in (2**31, 2**63 - 1, -(2**63)):
        call("seti", "a", "k", value)
        assert call("get", "a", "k")["item"]["value"] == value


@pytest.mark.parametrize(("text", "value"), [("v", 0), ("43", 43), ("-7", -7), ("4.5", 0), ("", 0)])
def test_setxi_text(call: Call, text: str, value: int) -> None:
    """setxi takes text, which the recorded replies demand: for the integer that it spells, other text for 0."""
    assert call("setxi", "a", "k", text, 0) == SET
    assert call("get", "a", "k")["item"]["value"] == value


def test_setex_text(call: Call) -> None:
    """setex of an item that is there does not take text for a time."""
    call("seti", "b", "k", 1)
    before = call("get", "b", "k")
    assert call("setex", "b", "k", "v") == (500, "Invalid Parameters")
    assert call("get", "b", "k") == before


@pytest.mark.parametrize("method", ["store", "reload"])
def test_without_database(call: Call, method: str) -> None:
    """Without a database, store and reload say so, whatever their parameters."""
    for params in ([], ["a"], ["zz"]):
        assert call(method, *params) == (500, "No htable db_url")


def test_store_and_reload(service: Service, call: Call) -> None:
    """store keeps a table, and reload gives it back, with the reference's texts."""
    service.tables.storage = Memory()
    call("setxs", "a", "k", "v", 90)
    assert call("store", "a") == "Ok. Htable successfully stored to DB."
    call("sets", "a", "k", "new")
    call("seti", "a", "other", 1)
    assert call("reload", "a") == "Ok. Htable reloaded."
    assert call("dump", "a") == [{"entry": 6, "size": 1, "slot": [{"name": "k", "value": "v", "type": "str"}]}]
    assert [(table["dbtable"], table["dbmode"]) for table in call("listTables")] == [("b", 1), ("a", 1)]
    for method in ("store", "reload"):
        assert call(method) == (500, "No htable name given")
        assert call(method, 5) == (500, "No htable name given")
        assert call(method, "zz") == (500, "No such htable")


def test_storage_goes_on(service: Service, call: Call) -> None:
    """While storing or reading goes on, the answer does not say that it is done."""
    service.tables.storage = memory = Memory()
    memory.done = False
    assert call("store", "a") == "Ok. Htable is being stored to DB."
    assert call("reload", "a") == "Ok. Htable is being reloaded."


PATIENT = f"""
from jsonrpcs_tx import command
from jsonrpcs_tx.state import tablestore

tablestore.WAIT = {PATIENCE}

@command("test.patient")
def patient() -> None: ...
"""
"""On a busy machine, the thread that stores may take longer than a server usually waits for it."""


@pytest.mark.slow
def test_locked_database(tmp_path: Path) -> None:
    """While another process has the database locked, storing over any transport is a fault, and nobody else waits."""
    (tmp_path / "patient.py").write_text(PATIENT)
    with Server(tmp_path, "--htable=a", "--htable-db=tables.db", "--commands=patient") as server:
        with closing(sqlite3.connect(tmp_path / "tables.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            store = b'{"jsonrpc":"2.0","method":"htable.store","params":["a"],"id":1}'
            with datagram_client(server.addresses["unix"]) as crowd:
                for _ in range(10):
                    crowd.send(store)
                started = time.monotonic()
                assert server.call("http", ECHO) == ECHO_REPLY
                assert time.monotonic() - started < 8  # a second for each, if it waited for the lock
                for _ in range(10):
                    error = json.loads(crowd.recv(10_000))["error"]
                    assert error["message"] == "Htable store failed: table a not stored: database is locked"
            for transport in ("fifo", "tcp", "http"):
                assert json.loads(server.call(transport, store))["error"]["code"] == 500
        assert json.loads(server.call("fifo", store))["result"] == "Ok. Htable successfully stored to DB."


def test_storage_fails(service: Service, call: Call) -> None:
    """Where storing fails, the answer says why."""
    service.tables.storage = memory = Memory()
    memory.broken = True
    assert call("store", "a") == (500, "Htable store failed: table a: disk full")
    assert call("reload", "a") == (500, "Htable reload failed: table a: disk full")
