"""Whatever a command does, its request is answered, and so is the next one, over every transport."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from jsonrpcs_tx import MISSING
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.envelope import DIALECTS
from jsonrpcs_tx.rpc.faults import Fault, InvalidParams
from jsonrpcs_tx.rpc.registry import Registry, command
from jsonrpcs_tx.transports.persistentreader import FIRST_PAUSE, STEADY, PersistentReader
from tests import support
from tests.support import DATAGRAM_TRANSPORTS, ECHO, ECHO_REPLY, TRANSPORTS, Server, misbehaving

BUG = b'{"jsonrpc":"2.0","error":{"code":-32603,"message":"Internal Error"},"id":1}'
FAULTS = [
    ("raises.text-is-list", 400, "[]"),
    ("raises.twisted-cancelled", 500, "Command Cancelled"),
    ("raises.clinging", 500, "x"),
]


def request(method: str) -> bytes:
    return b'{"jsonrpc":"2.0","method":"%s","id":1}' % method.encode()


@pytest.fixture(scope="module", params=["yes", "no"], ids=["fast", "general"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    options = ("--commands=tests.support.misbehaving", f"--fast-paths={request.param}", f"--store-path={directory}")
    with Server(directory, *options) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_at_once(server: Server, transport: str) -> None:
    """A command that raises or returns anything at all gets an internal error; the next request is answered."""
    names = [*misbehaving.AT_ONCE]
    for name in names if transport != "https" else names[::4]:  # each has a handshake
        assert (name, server.call(transport, request(name))) == (name, BUG)
    assert server.call(transport, ECHO) == ECHO_REPLY
    for name, code, text in FAULTS:
        assert json.loads(server.call(transport, request(name)))["error"] == {"code": code, "message": text}


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["http", "https"])
def test_later(server: Server, transport: str) -> None:
    """So does one whose result comes later, or never should; no slot stays taken."""
    names = [*misbehaving.ASYNCHRONOUS, "async.used-deferred", "async.closed-coroutine"]  # these two once more
    for name in names if transport != "https" else names[::4]:
        assert (name, server.call(transport, request(name))) == (name, BUG)
    assert b'"result":1' in server.call(transport, request("good.awaitable"))
    left = server.call(transport, b'{"jsonrpc":"2.0","method":"cnt.get","params":["jsonrpc","async_in_flight"],"id":1}')
    assert left == b'{"jsonrpc":"2.0","result":0,"id":1}'


@pytest.mark.slow
def test_connection_lives(server: Server) -> None:
    """Over HTTP an internal error is an ordinary response, behind which others follow on the same connection."""
    with socket.create_connection(server.addresses["http"], support.PATIENCE) as client:
        for name in ("raises.KeyboardInterrupt", "later.SystemExit", "raises.BareFault"):
            client.sendall(support.http_request(request(name)))
            reply = client.recv(10_000)
            assert reply.startswith(b"HTTP/1.1 500 Internal Error\r\n")
            assert reply.endswith(BUG)


@pytest.mark.slow
def test_batch(server: Server) -> None:
    """In a batch only the request fails whose command does."""
    document = b"[" + b",".join([request("raises.KeyboardInterrupt"), ECHO, request("returns.missing")]) + b"]"
    for transport in ("unix", "tcp", "http"):
        assert server.call(transport, document) == b"[%b,%b,%b]" % (BUG, ECHO_REPLY, BUG)


@pytest.mark.slow
def test_stray_bytes_and_store_path(server: Server) -> None:
    """A document that is not UTF-8 and asks to be stored is answered with a parse error, and the next one as usual."""
    document = b'{"jsonrpc":"2.0","method":"core.version","store_path":"\xff","id":1}'
    for transport in ("unix", "udp4", "fifo", "tcp"):
        assert b"-32700" in server.call(transport, document)
        assert server.call(transport, ECHO) == ECHO_REPLY


@pytest.mark.slow
def test_log_names_the_type(server: Server) -> None:
    """The log says what a result may not hold."""
    for name, word in (("missing", "UnsetType"), ("bytes", "bytes"), ("nan", "nan"), ("same-key", "same key twice")):
        before = len(server.log)
        server.call("unix", request(f"returns.{name}"))
        server.wait_for_log(f"command returns.{name} failed", before)
        assert word in server.wait_for_log("Error: ", before)


@pytest.mark.slow
def test_reply_name_beyond_the_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply FIFO whose name is not ASCII gets its reply even in an ASCII locale, and reading goes on."""
    for name, value in (("LC_ALL", "C"), ("PYTHONUTF8", "0"), ("PYTHONCOERCECLOCALE", "0")):
        monkeypatch.setenv(name, value)
    with Server(tmp_path) as server:
        monkeypatch.undo()
        with support.ReplyFifo(server.reply_dir / "réponse") as reply:
            support.write_fifo(server.addresses["fifo"], b'{"reply_name":"r\xc3\xa9ponse",' + ECHO[1:])
            assert reply.read() == ECHO_REPLY
        support.write_fifo(server.addresses["fifo"], b'{"reply_name":"\xc3\xa4",' + ECHO[1:])  # nobody made it
        assert server.call("fifo", ECHO) == ECHO_REPLY


huge = st.just(0).map(lambda _: 10**5000)  # whose repr raises
codes = st.one_of(st.integers(), st.none(), st.text(), huge, st.booleans(), st.floats())
texts = st.one_of(st.text(st.characters()), st.none(), st.binary(), st.just("\ud800"))
any_errors = (
    st.builds(misbehaving.changed, code=codes, text=texts)
    | st.builds(InvalidParams, texts | huge)
    | st.sampled_from([*misbehaving.ERRORS.values()]).map(lambda make: make())
)
odd_values = [MISSING, b"x", float("nan"), "\ud800", 1.5, None, {1: 1, "1": 2}, misbehaving.cyclic(), print]
any_values = st.recursive(
    st.sampled_from(odd_values) | huge | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.one_of(st.text(), st.integers(), st.binary()), inner),
    max_leaves=6,
)


def reject(constant: str) -> None:
    raise AssertionError(constant)


@pytest.mark.slow
@given(any_values | any_errors, st.sampled_from(["return", "fail", "coroutine"]), st.sampled_from([*DIALECTS]))
def test_any_outcome(outcome: object, way: str, dialect: str) -> None:
    """Whatever comes of a command, its reply is valid JSON, with the result as it was returned or an error."""

    def give() -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def give_later() -> Any:
        return give()

    def give_failure() -> Any:
        return fail(outcome) if isinstance(outcome, BaseException) else give()

    method = command("m")({"return": give, "coroutine": give_later, "fail": give_failure}[way])
    dispatcher = Dispatcher(Registry(method), Clock(), dialect=DIALECTS[dialect])
    replies: list[Any] = []
    reply = dispatcher.dispatch(request("m"), Origin("http", asynchronous=True))
    reply.addBoth(replies.append) if isinstance(reply, Deferred) else replies.append(reply)
    assert type(replies[0]) is Reply
    answer = json.loads(replies[0].body, parse_constant=reject)
    assert answer["id"] == 1
    if "result" in answer:
        assert answer["result"] == json.loads(json.dumps(outcome))
    else:
        assert type(answer["error"]["code"]) is int
        assert type(answer["error"]["message"]) is str
    assert dispatcher.delayed.slots.taken == 0


def test_beside_the_command() -> None:
    """What fails beside the command, in the middle of the server, is answered as an internal error as well."""

    class Broken:
        def put(self, *arguments: object) -> None:
            raise KeyboardInterrupt

    dispatcher = Dispatcher(Registry(command("m")(lambda: 1)), Clock(), reply_store=Broken())  # type: ignore[arg-type] # wrong on purpose
    document = request("m").replace(b"}", b',"store_path":"x"}')
    assert dispatcher.dispatch(document, Origin("udp")) == Reply(
        BUG, -32603, "Internal Error", True, kind="internal_errors"
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("usage", value) for value in ("text", 500, Fault, misbehaving.BareFault(), misbehaving.Unwritable())),
        *(("interval", value) for value in (-1, "1", None, True, float("nan"), float("inf"))),
        *(("lock", value) for value in (1, b"x", True)),
        *(("timeout", value) for value in (0, -1, "1", True, float("nan"))),
        *(("stateless", value) for value in (1, None, "yes")),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_options(option: str, value: object) -> None:
    """An option of a command that is not what it must be is refused with the command's name, its file and line."""

    def method() -> None: ...

    if isinstance(value, misbehaving.Unwritable):
        with pytest.raises(BaseException):  # noqa: B017, PT011 # what it raises itself
            command("a.b", usage=value)(method)
        return
    with pytest.raises(TypeError, match=rf"command a\.b: .*method \(.*test_guard\.py:\d+\): {option}: must be "):
        command("a.b", **{option: value})(method)  # type: ignore[arg-type] # wrong on purpose


class ReaderReactor(Clock):
    """A clock that counts how often reading starts."""

    started = 0

    def addReader(self, reader: object) -> None:
        self.started += 1

    def removeReader(self, reader: object) -> None: ...

    removeWriter = removeReader


class Reader(PersistentReader):
    """Reads nothing."""

    def fileno(self) -> int:
        return 0


def test_lost_reader() -> None:
    """A reader that the reactor drops is read again soon, with an endless error once in a while; not when stopped."""
    clock: Any = ReaderReactor()
    reader = Reader(clock)
    reader.startReading()
    pauses = []
    for count in range(8):
        reader.connectionLost(Failure(ValueError()))
        (call,) = clock.getDelayedCalls()
        pauses.append(call.getTime() - clock.seconds())
        assert clock.started == count + 1
        clock.advance(pauses[-1])
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1, 1, 1])
    clock.advance(STEADY)
    reader.connectionLost(Failure(ValueError()))
    assert clock.getDelayedCalls()[0].getTime() - clock.seconds() == pytest.approx(FIRST_PAUSE)
    reader.stopReading()
    assert clock.getDelayedCalls() == []


READERS = """
from jsonrpcs_tx import command
from jsonrpcs_tx.datagrams import datagrambatch, datagramreader
from jsonrpcs_tx.transports import fifo

class Breaker:
    def __init__(self, service):
        pass

    @command("test.break")
    def break_readers(self) -> None:
        "Has each reader fail once, in the next turn."
        for kind in (datagramreader.DatagramReader, datagrambatch.BatchReader, fifo.FifoReader):
            kind.doRead = self.fail_once(kind, kind.doRead)

    def fail_once(self, kind, read):
        failed = set()
        def doRead(reader):
            if reader not in failed and type(reader) is kind:
                failed.add(reader)
                raise KeyboardInterrupt
            read(reader)
        return doRead
"""


@pytest.mark.slow
@pytest.mark.parametrize("fast", ["yes", "no"])
def test_lost_readers_read_again(tmp_path: Path, fast: str) -> None:
    """A reader that fails in itself is logged, and answers what came meanwhile when it reads again."""
    (tmp_path / "breaker.py").write_text(READERS)
    with Server(tmp_path, "--commands=breaker:Breaker", f"--fast-paths={fast}") as server:
        server.call("http", request("test.break"))
        for transport in (*DATAGRAM_TRANSPORTS, "fifo"):
            assert server.call(transport, ECHO) == ECHO_REPLY
            name = transport[:3] if transport != "fifo" and transport != "unix" else transport
            server.wait_for_log(f"{name}: KeyboardInterrupt; read again in 0.05 s")
