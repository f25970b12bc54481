"""The gate before the audit log: which calls are entered, when, and with what; and that nothing else changes by it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from jsonrpcs_tx import Fault, InvalidParams, Settings, catalogue, command, makeService
from jsonrpcs_tx.access.auditentries import FAULT
from jsonrpcs_tx.access.auditlog import BURST
from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.errors import SettingError
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.faults import NodeFault
from jsonrpcs_tx.rpc.origin import Peer
from jsonrpcs_tx.rpc.registry import Registry
from jsonrpcs_tx.service import JsonRpcService


class Shop:
    """Commands of every kind."""

    def __init__(self) -> None:
        self.waited: Deferred[Any] = Deferred()

    @command("shop.sell")
    def sell(self, what: str, count: int = 1) -> str:
        return f"{count} {what}"

    @command("shop.look", changes=False)
    def look(self, what: str = "") -> str:
        return what

    @command("shop.login")
    def login(self, user: str, password: str) -> None:
        if password != "sesame":  # of the test
            raise Fault(401, "Go away")

    @command("shop.pay", secret=("card",))
    def pay(self, card: str, key: str) -> None:
        raise InvalidParams("no such card")

    @command("shop.break")
    def break_(self) -> None:
        raise ValueError("broken")

    @command("shop.wait")
    def wait(self) -> Deferred[Any]:
        return self.waited

    @command("shop.forgetful", timeout=5)
    async def forgetful(self) -> None:
        await Deferred()


class Served:
    """A service with an audit log, driven by hand."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.clock: Any = Clock()
        self.path = directory / "audit.log"
        self.shop = Shop()
        settings = Settings(
            audit="audit.log", run_dir=directory, load=("system", "htable"), htable="a=>size=4", **options
        )
        self.service: JsonRpcService = makeService(settings, self.clock, [self.shop])
        assert self.service.audit is not None
        self.service.audit.startService()
        self.find_peer = Peer(Caller("https", "192.0.2.1", "ann", ("a.example",)), 5060)

    def origin(self) -> Origin:
        facts: dict[str, Any] = {"address": "192.0.2.1", "user": "ann", "tls_names": ("a.example",)}
        return self.service.dispatcher.origin("https", True, 1, find_peer=lambda: self.find_peer, **facts)

    def call(self, method: str, *params: Any, **more: Any) -> Reply | Deferred[Reply]:
        document = {"jsonrpc": "2.0", "method": method, "params": list(params), "id": 1, **more}
        return self.service.dispatcher.dispatch(json.dumps(document).encode(), self.origin())

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What is in the file; the clock goes on by nothing."""
        self.clock.advance(0)
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]

    def entered(self, *names: str) -> list[tuple[Any, ...]]:
        """Some members of each line."""
        return [tuple(line.get(name) for name in names) for line in self.lines]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    assert made.service.audit is not None
    made.service.audit.stopService()


def test_change(served: Served) -> None:
    """A call of a command that changes something is entered with who, what and how."""
    served.call("shop.sell", "pear", 3, id="order-7")
    (line,) = served.lines
    assert line.pop("ms") >= 0
    assert line.pop("time")
    assert line == {
        "outcome": "result",
        "code": 200,
        "transport": "https",
        "address": "192.0.2.1",
        "port": 5060,
        "user": "ann",
        "tls_names": ["a.example"],
        "method": "shop.sell",
        "params": ["pear", 3],
        "id": "order-7",
    }


def test_stored_replies(tmp_path: Path) -> None:
    """A call whose reply is written to a file changes something, whatever its command does: it is entered, with the
    file. Over transports that store nothing it is not.
    """
    (tmp_path / "stored").mkdir()
    served = Served(tmp_path, store_path=tmp_path / "stored")
    document = b'{"jsonrpc":"2.0","method":"shop.look","id":1,"store_path":"a\\u001b"}'
    served.service.dispatcher.dispatch(document, served.service.dispatcher.origin("unix"))
    served.call("shop.look", store_path="b")
    served.call("shop.sell", "pear", store_path="c")
    assert served.entered("transport", "method", "outcome", "store_path") == [
        ("unix", "shop.look", "result", "a\x1b"),
        ("https", "shop.sell", "result", None),
    ]


def test_reads_and_unknown_methods(served: Served, tmp_path: Path) -> None:
    """A call that reads, one of no command and an invalid request are not entered, unless all calls are to be."""
    calls = (("shop.look", "x"), ("no.such", "x"), ("htable.get", "a", "k"), ("system.listMethods",))
    for one in calls:
        served.call(*one)
    served.service.dispatcher.dispatch(b"{", served.origin())
    assert served.lines == []
    (tmp_path / "all").mkdir()
    everything = Served(tmp_path / "all", audit_level="all")
    for one in calls:
        everything.call(*one)
    assert everything.entered("method", "code", "params") == [
        ("shop.look", 200, ["x"]),
        ("no.such", 500, "(hidden: the method is not known)"),
        ("htable.get", 500, ["a", "k"]),
        ("system.listMethods", 200, []),
    ]


def test_faults(served: Served) -> None:
    """A call that ends with an error is entered with the code and the text that its client gets."""
    served.call("shop.login", "ann", "wrong")
    served.call("shop.sell")
    served.call("shop.pay", "4711", "k")
    served.call("shop.break")
    served.call("shop.wait", id=5)
    served.shop.waited.errback(Fault(503, "Later"))
    assert served.entered("outcome", "code", "text") == [
        ("fault", 401, "Go away"),
        ("fault", 500, "Invalid Parameters"),
        ("fault", 500, "Invalid Parameters: no such card"),
        ("fault", -32603, "Internal Error"),
        ("fault", 503, "Later"),
    ]


def test_secrets(served: Served) -> None:
    """Secrets are hidden: by the names of parameters, and by what a command says."""
    served.call("shop.login", "ann", "sesame")
    served.call("shop.login", params={"x": "ann", "y": "sesame"})
    served.call("shop.pay", "4711", "k")
    served.call("htable.sets", "a", "key", "value")
    served.call("htable.sets", "a", "db_password", "sesame")
    assert b"sesame" not in served.path.read_bytes()
    assert served.entered("params") == [
        (["ann", "(hidden)"],),
        ({"x": "ann", "y": "(hidden)"},),
        (["(hidden)", "k"],),
        (["a", "key", "value"],),
        (["a", "db_password", "(hidden)"],),
    ]


def test_refused_by_rules(tmp_path: Path) -> None:
    """Each call that rules refuse is entered, whether it would change something or not, and whether there is such a
    method.
    """
    served = Served(tmp_path, rule=["https allow *", "any deny shop.* no.*"])
    for method in ("shop.sell", "shop.look", "no.such"):
        served.call(method, "pear")
    assert served.entered("outcome", "code", "text", "method", "params") == [
        ("refused", 403, "Forbidden", "shop.sell", ["pear"]),
        ("refused", 403, "Forbidden", "shop.look", ["pear"]),
        ("refused", 403, "Forbidden", "no.such", "(hidden: the method is not known)"),
    ]


def test_fault_403_is_none(served: Served) -> None:
    """A command's own 403 is a fault."""
    served.service.registry.add(command("shop.closed")(_closed))
    served.call("shop.closed")
    assert served.entered("outcome", "code") == [("fault", 403)]


def _closed() -> None:
    raise Fault(403, "Forbidden")


def test_asynchronous(served: Served) -> None:
    """An asynchronous command is entered when it ends, with how it has ended: once, whatever comes after it."""
    first = served.call("shop.wait")
    assert isinstance(first, Deferred)
    assert served.lines == []
    served.shop.waited.callback("done")
    late = served.call("shop.forgetful")
    left = served.call("shop.forgetful")
    assert isinstance(late, Deferred)
    assert isinstance(left, Deferred)
    left.cancel()
    served.clock.advance(5)
    assert served.entered("method", "outcome", "code", "text") == [
        ("shop.wait", "result", 200, None),
        ("shop.forgetful", "cancelled", 500, "Command Cancelled"),
        ("shop.forgetful", "timed out", 504, "Command Timed Out After 5 s"),
    ]


def test_caller_of_an_asynchronous_command(served: Served) -> None:
    """It is entered as called by who has called it, though others have called since."""
    served.call("shop.wait")
    served.find_peer = Peer(Caller("https", "192.0.2.9"), 1)
    served.call("shop.sell", "pear")
    served.shop.waited.callback(1)
    assert served.entered("method", "address") == [("shop.sell", "192.0.2.9"), ("shop.wait", "192.0.2.1")]


def test_batch(served: Served) -> None:
    """Each request of a batch has an entry of its own."""
    one = {"jsonrpc": "2.0", "method": "shop.sell", "params": ["pear"]}
    batch = [one | {"id": 1}, one | {"id": 2, "method": "shop.look"}, 7, one | {"id": 3, "params": []}]
    served.service.dispatcher.dispatch(json.dumps(batch).encode(), served.origin())
    assert served.entered("id", "code") == [(1, 200), (3, 500)]


@pytest.mark.parametrize("dialect", ["kamailio", "jsonrpc2"])
def test_notifications(tmp_path: Path, dialect: str) -> None:
    """A notification is entered with what has come of it, though nobody is told."""
    served = Served(tmp_path, dialect=dialect)
    for name in ("pear", 1.5):
        document = {"jsonrpc": "2.0", "method": "shop.sell", "params": [name]}
        served.service.dispatcher.dispatch(json.dumps(document).encode(), served.origin())
    invalid = 500 if dialect == "kamailio" else -32602
    assert served.entered("outcome", "code", "id") == [("result", 200, None), ("fault", invalid, None)]


def test_from_within(served: Served) -> None:
    """Calls by the program itself are entered, those within a command before that."""
    document = b'{"jsonrpc":"2.0","method":"shop.sell","params":["pear"],"id":1}'

    @command("shop.sell_twice")
    def sell_twice() -> None:
        served.service.jsonrpc_exec(document)
        raise Fault(500, "No more pears")

    served.service.registry.add(sell_twice)
    served.call("shop.sell_twice")
    assert served.entered("transport", "method", "outcome") == [
        ("exec", "shop.sell", "result"),
        ("https", "shop.sell_twice", "fault"),
    ]


def test_calls_with_python_values(tmp_path: Path) -> None:
    """So are those that give Python values, and get them, with how they have ended."""
    served = Served(tmp_path, rule=["any deny shop.break"])
    served.service.call("shop.sell", "pear", 3)
    served.service.call("shop.login", user="ann", password="sesame")  # of the test
    failing = [
        served.service.call("shop.login", "ann", "wrong"),
        served.service.call("shop.break"),
        served.service.call("shop.sell", object()),
        served.service.call("no.such"),
        served.service.call("shop.forgetful"),
    ]
    left = served.service.call("shop.forgetful")
    left.cancel()
    served.service.call("shop.look", "x")
    served.clock.advance(5)
    for one in (*failing, left):
        one.addErrback(lambda failure: failure.trap(Fault))
    assert served.entered("transport", "method", "outcome", "code", "params") == [
        ("exec", "shop.sell", "result", 200, ["pear", 3]),
        ("exec", "shop.login", "result", 200, {"user": "ann", "password": "(hidden)"}),
        ("exec", "shop.login", "fault", 401, ["ann", "(hidden)"]),
        ("exec", "shop.break", "refused", 403, []),
        ("exec", "shop.sell", "fault", 500, None),
        ("exec", "shop.forgetful", "cancelled", 500, []),
        ("exec", "shop.forgetful", "timed out", 504, []),
    ]


def test_functions_around(served: Served) -> None:
    """What a function around calls makes of them is what is entered."""

    def refuse(call: Any, proceed: Any) -> Any:
        raise Fault(503, "Closed")

    served.service.around(refuse)
    served.call("shop.sell", "pear")
    assert served.entered("code", "text") == [(503, "Closed")]


@pytest.mark.slow
def test_hostile_requests(served: Served) -> None:
    """What a client sends makes a line neither long nor more than one, whatever it is."""
    hostile = "\n\x00\x7f\x9b\u202e\u2028\ud800" * 10_000
    served.call("shop.sell", hostile, hostile, id=hostile)
    served.call("shop.sell", params={hostile: [hostile] * 100})
    served.call("shop.sell", *([[[]]] * 5000), id=10**300)
    document = b'{"jsonrpc":"2.0","method":"shop.sell","params":["' + b"\xff" * 100 + b'"],"id":1}'
    served.service.dispatcher.dispatch(document, served.origin())
    data = served.path.read_bytes()
    served.clock.advance(0)
    data = served.path.read_bytes()
    assert len(served.lines) == data.count(b"\n") == len(data.decode().splitlines())
    assert max(map(len, data.splitlines())) < 30_000
    assert data.replace(b"\n", b"").decode().isprintable()


def test_hostile_method(tmp_path: Path) -> None:
    """So does the name of a method that is refused."""
    served = Served(tmp_path, rule="any deny *")
    served.call("x\n" * 100_000)
    (line,) = served.lines
    assert line["method"] == "x\n" * 64 + "... (200,000 in all)"


def test_flood_of_refusals(tmp_path: Path) -> None:
    """Nobody who may not call can fill the disk."""
    served = Served(tmp_path, rule="any deny *")
    for _ in range(BURST + 100):
        served.call("shop.sell", "pear")
    assert BURST <= len(served.lines) <= BURST + 20
    other = Peer(Caller("https", "192.0.2.7"), 1)
    served.find_peer = other
    served.call("shop.sell", "pear")
    assert served.lines[-1]["address"] == "192.0.2.7"
    assert served.lines[-1]["held_back"] >= 80


def test_turned_away(served: Served) -> None:
    """A document that is refused before is entered: each of its requests, or one line if it is not a request."""
    dispatcher = served.service.dispatcher
    one = '{"jsonrpc":"2.0","method":"shop.login","params":["ann","sesame"],"id":1}'
    for document in (one, f"[{one},{one}]", "{", "", "[" + ",".join([one] * 100) + "]", one + " " * 70_000):
        dispatcher.turned_away(served.find_peer, 401, "authentication failed", document.encode(), "bob")
    assert served.entered("method") == [("shop.login",)] * 3 + [(None,)] * 2 + [("shop.login",)] * 32 + [(None,)]
    assert set(served.entered("outcome", "code", "text", "claimed_user")) == {
        ("refused", 401, "authentication failed", "bob")
    }
    assert b"sesame" not in served.path.read_bytes()


def test_off() -> None:
    """Without the setting the dispatcher is the one without the gate."""
    service = makeService(Settings(), Clock())
    assert service.audit is None
    assert type(service.dispatcher) is Dispatcher


def test_settings() -> None:
    """The level is one of two."""
    with pytest.raises(SettingError, match="audit_level: 'some' is not allowed; allowed: changes or all"):
        Settings(audit_level="some")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"changes": 1}, "changes: allowed is True or False"),
        ({"secret": "password"}, "secret: allowed are names of parameters in a tuple"),
        ({"secret": (1,)}, "secret: allowed are names of parameters in a tuple"),
    ],
)
def test_bad_options(options: dict[str, Any], says: str) -> None:
    """What the decorator is told is checked."""
    with pytest.raises(TypeError, match=says):
        command("m", **options)(_closed)


def test_unknown_secret() -> None:
    """So is that a secret parameter exists."""
    with pytest.raises(TypeError, match=r"command m: .*secret: it has no parameter passwort"):
        Registry(command("m", secret=["passwort"])(_closed))


def test_families_agree_with_the_catalogue() -> None:
    """Our own commands change something where the catalogue says that Kamailio's do; it lacks four."""
    registry = makeService(Settings(load="all"), Clock()).registry
    unknown = {name for name in registry if catalogue.find(name) is None}
    assert {name: registry[name].changes for name in unknown} == {
        "core.sleep": False,
        "htable.stored": True,
        "jsonrpc.health": False,
        "rpc.discover": False,
    }
    for name in registry.keys() - unknown:
        entry = catalogue.find(name)
        assert entry
        assert registry[name].changes == (entry.effect != catalogue.READ), name


def test_stateless_commands(tmp_path: Path) -> None:
    """A worker may answer what is not entered; whatever is goes to the main process, which alone writes."""
    served = Served(tmp_path, rule=["https allow *", "any deny sum.secret"])

    @command("sum.up", stateless=True, changes=False)
    @command("sum.secret", stateless=True, changes=False)
    @command("sum.change", stateless=True)
    def sum_up() -> None:
        pass

    served.service.registry.add(sum_up)
    dispatcher = served.service.dispatcher

    def is_stateless(*methods: str) -> bool:
        requests = [json.dumps({"jsonrpc": "2.0", "method": method, "id": 1}) for method in methods]
        document = requests[0] if len(requests) == 1 else f"[{','.join(requests)}]"
        return dispatcher.stateless(dispatcher.read(document.encode()), served.origin())

    assert is_stateless("sum.up")
    assert is_stateless("sum.up", "sum.up")
    assert not is_stateless("sum.secret")
    assert not is_stateless("sum.change")
    assert not is_stateless("sum.up", "sum.change")
    assert served.lines == []


def noted(failure: Failure, codes: list[int]) -> None:
    """Note the code of a fault."""
    codes.append(failure.value.code)  # type: ignore[union-attr] # it is a fault


class FullDisk:
    """In place of the writing of a service's audit file: fails while it is full."""

    def __init__(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        sink: Any = served.service.audit._sink  # type: ignore[union-attr] # it has one
        self._write = sink._file.write
        monkeypatch.setattr(sink._file, "write", self.write)

    def write(self, lines: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self._write(lines)


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path, audit_required=True, rule=["https allow * deny core.*", "exec allow *"])
    yield made
    assert made.service.audit is not None
    made.service.audit.stopService()


def test_required(strict: Served) -> None:
    """With audit_required, a call that changes something has a line before it is run, and one when it has ended."""
    seen: list[list[Any]] = []

    @command("shop.count")
    def count() -> int:
        """Counts the lines that there are."""
        seen.append(strict.entered("outcome", "method", "code", "id", "params", "user"))
        return len(seen[0])

    strict.service.registry.add(count)
    strict.call("shop.count", id="x")
    assert seen == [[("begun", "shop.count", 0, "x", [], "ann")]]
    strict.call("shop.look", "a")
    strict.call("core.kill")
    strict.call("no.such")
    strict.call("shop.login", "ann", "sesame")
    assert strict.entered("outcome", "method", "params")[1:] == [
        ("result", "shop.count", []),
        ("refused", "core.kill", "(hidden: the method is not known)"),
        ("begun", "shop.login", ["ann", "(hidden)"]),
        ("result", "shop.login", ["ann", "(hidden)"]),
    ]


def test_required_on_a_full_disk(strict: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then no change is run whose line cannot be written: it is refused with 503. Reads go on, and changes once there
    is room again.
    """
    disk = FullDisk(strict, monkeypatch)
    for _ in range(3):
        refused = strict.call("shop.wait")
        assert isinstance(refused, Reply)
        assert (refused.code, refused.text, refused.outcome) == (503, "Audit Log Unavailable", "refused")
    read = strict.call("shop.look", "a")
    assert isinstance(read, Reply)
    assert read.code == 200
    batch = [{"jsonrpc": "2.0", "method": f"shop.{name}", "params": ["a"], "id": name} for name in ("sell", "look")]
    answer = strict.service.dispatcher.dispatch(json.dumps(batch).encode(), strict.origin())
    assert isinstance(answer, Reply)
    assert [("result" in one, one["id"]) for one in json.loads(answer.body)] == [(False, "sell"), (True, "look")]
    failures: list[Any] = []
    strict.service.call("shop.sell", "pear").addErrback(noted, failures)
    assert failures == [503]
    assert strict.service.audit is not None
    assert strict.service.audit.problem is not None
    disk.full = False
    sold = strict.call("shop.sell", "pear")
    assert isinstance(sold, Reply)
    assert sold.code == 200
    assert strict.service.audit.problem is None
    assert strict.entered("outcome", "note", "lost") == [
        (None, "lines are missing here", 5),
        ("begun", None, None),
        ("result", None, None),
    ]


def test_required_before_the_log_is_open(tmp_path: Path) -> None:
    """A program whose server does not run yet can change nothing."""
    settings = Settings(audit="audit.log", run_dir=tmp_path, load=(), audit_required=True)
    service = makeService(settings, Clock(), [Shop()])
    failures: list[Any] = []
    service.call("shop.sell", "pear").addErrback(noted, failures)
    assert failures == [503]


def test_required_without_a_log() -> None:
    """audit_required needs an audit log."""
    with pytest.raises(SettingError, match=r"audit_required.*with the setting audit"):
        makeService(Settings(audit_required=True), Clock())


class Node:
    """A command that stands for those of a node, and ends in each way that a forwarded call can."""

    @command("dispatcher.reload")
    def end(self, how: str) -> Reply:
        """Ends in a way."""
        if how == "result":
            return Reply(b'{"jsonrpc":"2.0","result":1,"id":1}')
        if how == "fault":
            return Reply(b'{"jsonrpc":"2.0","error":{"code":500,"message":"x"},"id":1}', 500, "x", True, FAULT)
        if how == "down":
            raise NodeFault(503, "Node Is Down", sent=False)
        if how == "silent":
            raise NodeFault(504, "Node Has Not Answered", sent=True)
        raise ValueError(how)


def test_node(tmp_path: Path) -> None:
    """A call that is forwarded has its node, and what has become of it there."""
    served = Served(tmp_path)
    served.service.registry.add(Node(), replace=True)

    def call(method: str, *params: object) -> None:
        document = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
        origin = replace(served.origin(), node="edge1", nodes=frozenset(("edge1", "edge")))
        served.service.dispatcher.dispatch(json.dumps(document).encode(), origin)

    for how in ("result", "fault", "down", "silent", "bug"):
        call("dispatcher.reload", how)
    served.service.change(rule=["any node=edge1 allow nothing.here"])
    call("dispatcher.reload", "fault")
    assert served.entered("node", "outcome", "node_outcome", "code") == [
        ("edge1", "result", "result", 200),
        ("edge1", "fault", "fault", 500),
        ("edge1", "fault", "not sent", 503),
        ("edge1", "timed out", "no answer", 504),
        ("edge1", "fault", "no answer", -32603),
        ("edge1", "refused", "not sent", 403),
    ]
    assert served.lines[0]["ms"] >= 0
    assert served.service.audit is not None
    served.service.audit.stopService()


def test_no_node(served: Served) -> None:
    """A call that is not forwarded has neither."""
    served.call("shop.sell", "pear")
    assert served.entered("node", "node_outcome") == [(None, None)]
