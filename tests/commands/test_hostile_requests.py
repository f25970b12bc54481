"""No request for a built-in command holds up the others: each, with hostile parameters in the largest request that a
transport takes, with a server that has a lot to tell of.

What is measured is CPU time, of which 50 ms are allowed. The tests allow four times that, and the best of three tries,
since machines differ; what they are to find takes seconds.
"""

import itertools
import json
import time

import pytest
from twisted.internet import reactor

from jsonrpcs_tx import JsonRpcService, Settings, makeService
from jsonrpcs_tx.rpc.dispatcher import Origin, Reply
from jsonrpcs_tx.rpc.envelope import MAX_VALUES, Envelope, Malformed, Request
from jsonrpcs_tx.state.variables import Variable

LARGEST = 1_048_576
"""The default of C{http_max_body}; no other transport takes as much."""
ROOM = LARGEST - 200
MOST_TIME = 0.2
"""Seconds of CPU that a request may take."""
ORIGIN = Origin("http", asynchronous=True)


def repeated(item: str) -> str:
    return "[" + ",".join([item] * (ROOM // (len(item) + 1))) + "]"


def numbered(pattern: str, count: int = MAX_VALUES - 10) -> str:
    return "[" + ",".join(pattern % number for number in range(count)) + "]"


def few(item: str) -> str:
    """As many as a document may have."""
    return "[" + ",".join([item] * min(MAX_VALUES - 10, ROOM // (len(item) + 1))) + "]"


HOSTILE = {
    "many empty strings": repeated('""'),
    "as many numbers as allowed": few("1"),
    "many huge numbers": repeated("1e999999999"),
    "as many infinite numbers as allowed": few("1e400"),
    "many long integers": few("9" * 1000),
    "one long integer": "[" + "9" * ROOM + "]",
    "one long fraction": '["a","b",0.' + "9" * (ROOM - 12) + "]",
    "one long string": json.dumps(["x" * ROOM]),
    "long strings": json.dumps(["few", "x" * (ROOM // 3), "y" * (ROOM // 3)]),
    "one string of escapes": '["' + '\\"' * (ROOM // 2) + '"]',
    "one string of brackets and commas": '["' + "[,{" * (ROOM // 3) + '"]',
    "nested": "[" * (ROOM // 2) + "]" * (ROOM // 2),
    "nested many times": repeated("[" * 20 + "]" * 20),
    "many members": "{" + numbered('"k%d":1e400')[1:-1] + "}",
    "every counter many times": few('"all"'),
    "one counter many times": few('"c"'),
    "many counters": '["all",' + numbered('"c%d"')[1:],
    "many groups": numbered('"g%d:"'),
    "no more than a name": '["few"]',
    "the group of an instance": json.dumps(["shop[" + "1" * ROOM + "]", "v1"]),
    "a set of destinations": '["ip",1,"all"]',
    "many attributes": json.dumps([1, "sip:a", 0, 0, "weight=1;" * (ROOM // 9)]),
    "a long URI": json.dumps([1, "sip:" + "x@" * (ROOM // 2)]),
    "full": '["full"]',
}


ALL_IN_READING = {
    "many empty strings",
    "many huge numbers",
    "nested",
    "nested many times",
    "one long fraction",
    "one string of escapes",
    "as many infinite numbers as allowed",
    "many long integers",
    "one long integer",
    "long strings",
    "many members",
    "one string of brackets and commas",
}
"""What takes its time, if it takes any, before a command is found, and so need not be tried with each."""

SEVERAL = ("core.version", "core.echo", "core.printi", "htable.sets", "cfg.set", "dispatcher.add", "stats.fetch")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> JsonRpcService:
    """A server with much of everything."""
    directory = tmp_path_factory.mktemp("hostile")
    (directory / "list").write_text(
        "".join(f"1 sip:10.0.{n >> 8}.{n & 255};transport=tcp 0 {n % 7} duid=d{n};weight=5\n" for n in range(10_000))
    )
    settings = Settings(
        load="all", run_dir=str(directory), list_file="list", reload_delta=0, htable=["big=>size=14", "few=>size=3"]
    )
    made = makeService(settings, reactor)
    fill_tables(made)
    for name in ("shop", "texts"):
        made.variables.add(name, [Variable(f"v{n}", n if name == "shop" else "x") for n in range(1000)])
    for number in range(1000):
        made.counters.counter("bulk", f"c{number}")
        made.counters.counter(f"g{number}", "c")
    return made


def fill_tables(service: JsonRpcService) -> None:
    """Have one table of 100,000 items, and one of as many whose keys have the same hash, which case does not change."""
    keys = map("".join, itertools.product(*[(letter, letter.upper()) for letter in "abcdefghijklmnopq"]))
    for number, key in enumerate(itertools.islice(keys, 100_000)):
        service.tables["big"].set(f"key{number}", number if number % 2 else str(number), 60_000)
        service.tables["few"].set(key, number, 60_000)


def measure(service: JsonRpcService, method: str, params: str) -> tuple[float, int]:
    """The CPU time that a request takes, in seconds, and the length of the reply; 0 for one that comes later."""
    document = f'{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":1}}'.encode()
    assert len(document) <= LARGEST
    started = time.thread_time()
    reply = service.dispatcher.dispatch(document, ORIGIN)
    taken = time.thread_time() - started
    if isinstance(reply, Reply):
        return taken, len(reply.body)
    reply.addErrback(lambda failure: None).cancel()
    return taken, 0


def most_time() -> float:
    """L{MOST_TIME}, or more while the machine is slow: three times what it takes to write 100,000 records."""
    started = time.thread_time()
    json.dumps([{"name": f"k{number}", "value": number} for number in range(100_000)])
    return max(MOST_TIME, 3 * (time.thread_time() - started))


@pytest.mark.slow
@pytest.mark.parametrize("label", HOSTILE)
def test_no_command_takes_long(service: JsonRpcService, label: str) -> None:
    """Whatever the parameters are, every command is done in good time."""
    methods = SEVERAL if label in ALL_IN_READING else sorted(service.registry.keys() - {"core.kill"})
    for method in methods:
        if "few" not in service.tables or not service.tables["few"].find("abcdefghijklmnopq"):
            fill_tables(service)  # they were flushed
        tries = (measure(service, method, HOSTILE[label])[0] for _ in range(3))
        assert any(taken < MOST_TIME for taken in tries), method


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "params", "least"),
    [
        ("htable.dump", '["big"]', 100_000 * 40),
        ("htable.dump", '["few"]', 100_000 * 40),
        ("dispatcher.list", '["full"]', 10_000 * 200),
        ("stats.fetchn", '["all"]', 2000 * 5),
        ("cfg.list", "[]", 2000 * 5),
        ("cfg.get", '["shop"]', 1000 * 5),
    ],
)
def test_large_results(service: JsonRpcService, method: str, params: str, least: int) -> None:
    """What there is much of comes whole, and in good time."""
    tries = [measure(service, method, params) for _ in range(3)]
    assert min(taken for taken, _ in tries) < most_time()
    assert min(length for _, length in tries) > least


@pytest.mark.slow
def test_sources_are_read_once(service: JsonRpcService) -> None:
    """However many patterns there are, what was counted elsewhere is collected once a call."""
    collected: list[int] = []
    service.counters.sources.append(lambda: collected.append(1))
    try:
        measure(service, "stats.fetch", '["all",' + numbered('"c%d"', 1000)[1:])
        assert len(collected) == 1
    finally:
        service.counters.sources.pop()


@pytest.mark.slow
def test_counters_come_once(service: JsonRpcService) -> None:
    """A counter that several patterns name is listed once, in the order of the patterns."""
    document = b'{"jsonrpc":"2.0","method":"stats.get_statistics","params":["c2","bulk:","c2","all","c2"],"id":1}'
    reply = service.dispatcher.dispatch(document, ORIGIN)
    assert isinstance(reply, Reply)
    names = [line.partition(" ")[0] for line in json.loads(reply.body)["result"]]
    assert names[:3] == ["bulk:c2", "bulk:c0", "bulk:c1"]
    assert len(names) == len(set(names)) > 2000


@pytest.mark.parametrize("item", ['""', "1", "[]", "{}", '{"a":1}', "1e400", '"a,b"'])
def test_most_values(item: str) -> None:
    """A document has so many values and no more, of whatever kind; further ones are no longer looked at."""
    decode = Envelope().read
    each = 2 if item == '{"a":1}' else 1
    brackets = 1 if item in ("[]", "{}") else 0
    most = (MAX_VALUES - 6) // (each + brackets) if each == 1 else (MAX_VALUES - 6) // 2
    document = b'{"jsonrpc":"2.0","method":"m","params":[%s],"id":1}'
    for count, kind in ((most, Request), (2 * most, Malformed)):
        assert type(decode(document % b",".join([item.encode()] * count))) is kind


@pytest.mark.parametrize("text", ["," * LARGEST, "[" * LARGEST, '\\",' * (LARGEST // 3), "\\\\," * (LARGEST // 3), "{"])
def test_separators_in_strings(text: str) -> None:
    """What looks like many values within a string is one."""
    document = f'{{"jsonrpc":"2.0","method":"m","params":["{text}","{"x" * LARGEST}"],"id":1}}'.encode()
    request = Envelope().read(document)
    assert isinstance(request, Request)
    assert isinstance(request.params, list)
    assert len(request.params) == 2


@pytest.mark.slow
def test_set_state_of_all(service: JsonRpcService) -> None:
    """Setting the state of 10,000 destinations at once takes as long as setting one, for each."""
    for state, letters in (("ip", "IP"), ("a", "AX")):
        taken, _ = measure(service, "dispatcher.set_state", f'["{state}",1,"all"]')
        assert taken < MOST_TIME
        assert {one.letters for one in service.destinations[1]} == {letters}


@pytest.mark.parametrize("broken", [b"[%s", b"[%s,]", b"[%s]]", b'["\xff",%s]'])
def test_too_many_values_in_broken_json(broken: bytes) -> None:
    """What is not JSON is a parse error, however many values it holds."""
    read = Envelope().read(broken % b",".join([b"[1]"] * MAX_VALUES))
    assert isinstance(read, Malformed)
    assert read.error.code == -32700
