"""The same requests, made up by hypothesis, to the real Kamailio and to this server: a difference has its reason."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jsonrpcs_tx import Settings, makeService
from jsonrpcs_tx.rpc.binding import Mismatch
from tests.support import Server
from tests.support.kamailio import Kamailio
from tests.support.likeness import is_like

pytestmark = pytest.mark.slow

Request = dict[str, Any]

EXCLUDED = {
    "core.kill": "it ends the server",
    "cfg.reset": "the original hangs after it",
    "cfg.add_group_inst": "instances of a group stay, and change what comes after",
    "cfg.del_group_inst": "as above",
    "cfg.del": "as above",
    "cfg.del_delayed": "as above",
    "cfg.set_delayed": "a mistake in it makes the original fail until a rollback",
    "mod.stats": "the original has its own memory by module; here it needs PYTHONTRACEMALLOC",
    "htable.setex": "without autoexpire the original takes it and does nothing; see docs/kamailio.md",
    "htable.setxs": "the original shows the time until expiry as a date in 1970",
}
"""Commands that are not compared, and why."""

OWN_FACTS = (
    *("core.arg", "core.flags", "core.info", "core.modules", "core.ps", "core.psx", "core.pwd", "core.runinfo"),
    *("core.shmmem", "core.sockets_list", "core.tcp_info", "core.tcp_list", "core.tcp_options", "core.uptime"),
    *("core.version", "corex.list_aliases", "corex.list_sockets", "system.listMethods", "system.methodHelp"),
    *("stats.get_statistics", "stats.fetch", "stats.fetchn", "stats.clear_statistics", "cfg.list", "cfg.get"),
    *("cnt.list_groups", "cnt.grps_list", "cnt.list_vars", "cnt.var_list", "cnt.get", "cnt.get_raw", "cnt.help"),
    *("cnt.get_vars", "cnt.grp_get_all", "cnt.reset", "htable.listTables", "htable.stats", "cfg.help"),
    *("dispatcher.list", "core.psa", "core.ppdefines", "core.ppdefines_full", "core.udp4_raw_info"),
    *("pkg.info", "pkg.stats", "shm.info", "shm.stats"),
)
"""Commands that tell of the server itself: when both succeed, the types are compared."""


@attrs.frozen
class Difference:
    """A difference that there may be, and why it is for the better.

    @ivar applies: whether a request and the two results or errors, theirs and ours, differ by this.
    """

    why: str
    applies: Callable[[Request, Any, Any], bool]


def outcome(reply: dict[str, Any]) -> Any:
    return reply["error"] if "error" in reply else ("result", reply.get("result"))


def values(request: Request) -> list[Any]:
    params = request.get("params", [])
    return list(params.values()) if isinstance(params, dict) else list(params)


REGISTRY = makeService(Settings(load="all")).registry


def does_not_fit(request: Request, theirs: Any, ours: Any) -> bool:
    """Whether a parameter is missing or of the wrong type, and that is what the error says."""
    try:
        REGISTRY[request["method"]].binding.positional(values(request))
    except Mismatch:
        return isinstance(ours, dict) and ours["code"] in (400, 500)
    return False


def is_inexact(value: Any) -> bool:
    """Whether the original cannot hold a number: it has 32 bits for most, and no fractions."""
    return isinstance(value, bool | float) or (isinstance(value, int) and not 0 <= value < 2**31)


DIFFERENCES = (
    Difference(
        "safer: a parameter that is missing or of the wrong type is a clear error, not a 0 or an empty success",
        does_not_fit,
    ),
    Difference(
        "better: numbers stay what they are; the original has 32 bits, cuts fractions off, turns negative ones over",
        lambda request, theirs, ours: any(map(is_inexact, values(request))),
    ),
    Difference(
        "safer: an invalid destination is a clear error, where the original says Ok and adds nothing",
        lambda request, theirs, ours: (
            request["method"] in ("dispatcher.add", "dispatcher.remove")
            and isinstance(ours, dict)
            and ours["message"].startswith(("Adding dispatcher dst failed: ", "Invalid Parameters"))
        ),
    ),
    Difference(
        "better: the original mistakes escaped characters beyond U+FFFF",
        lambda request, theirs, ours: any(char >= "\U00010000" for char in json.dumps(request, ensure_ascii=False)),
    ),
    Difference(
        "better: several delayed changes are all shown",
        lambda request, theirs, ours: request["method"] == "cfg.diff" and isinstance(ours[1], list),
    ),
    Difference(
        "better: signatures are known here",
        lambda request, theirs, ours: request["method"] == "system.methodSignature",
    ),
    Difference(
        "better: an array of shared variables, not an object with members of one name",
        lambda request, theirs, ours: request["method"] == "pv.shvGet" and "items" in ours[1],
    ),
    Difference(
        "better: no line break at the end of an error",
        lambda request, theirs, ours: isinstance(theirs, dict) and theirs["message"] == ours["message"] + "\n",
    ),
    Difference(
        "each server has counters, variables and help texts of its own",
        lambda request, theirs, ours: request["method"] in OWN_FACTS,
    ),
)
"""In their order; the first that applies counts."""

METHODS: list[str] = []
"""Filled from what both sides list."""

TEXTS = st.sampled_from(
    [
        "a",
        "b",
        "k",
        "k2",
        "number",
        "text",
        "int",
        "str",
        "pid",
        "index",
        "v",
        "core",
        "debug",
        "nope",
        "",
        "all",
        "core:",
        "core.echo",
        "ip",
        "a",
        "sip:127.0.0.1:5090",
    ]
) | st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers(0, 9) | st.sampled_from([-1, 2**31 - 1, 2**31, 2**53 + 1, 1.5, -2.7])
VALUES = TEXTS | NUMBERS | st.none() | st.booleans()
PARAMS = st.lists(VALUES, max_size=4) | st.dictionaries(st.text("abc", max_size=2), VALUES, max_size=4)
IDS = st.integers(0, 2**40) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)


def fitting(method: str) -> st.SearchStrategy[list[Any]]:
    """Parameters of the types that a command takes."""
    by_type = {str: TEXTS, int: st.integers(0, 9), float: st.integers(0, 9), bool: st.booleans(), type(None): st.none()}
    command = REGISTRY.get(method)
    wanted = [] if command is None else [*command.binding.parameters]
    if command is not None and command.binding.rest is not None:
        wanted.append(command.binding.rest)
    return st.tuples(*(st.one_of([by_type[kind] for kind in p.types]) for p in wanted)).map(list)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A request: any method, any parameters, the members in any order."""
    members: Request = {
        "jsonrpc": "2.0",
        "method": draw(st.sampled_from(METHODS) | st.just("no.such")),
        "id": draw(IDS),
    }
    if draw(st.booleans()):
        members["params"] = draw(PARAMS)
    return {name: members[name] for name in draw(st.permutations(list(members)))}


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    with Kamailio(tmp_path_factory.mktemp("kamailio")) as running:
        yield running


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("ours"), *Kamailio.OPTIONS, "--compatibility=5.6") as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def methods(kamailio: Kamailio, ours: Server) -> None:
    """All commands that both have."""
    document = b'{"jsonrpc":"2.0","method":"system.listMethods","id":1}'
    theirs = json.loads(kamailio.call(document) or b"")["result"]
    METHODS[:] = [
        method
        for method in json.loads(ours.call("unix", document))["result"]
        if method in theirs and method not in EXCLUDED
    ]
    assert len(METHODS) > 50


def same(request: Request, theirs: dict[str, Any], ours: dict[str, Any]) -> str | None:
    """Compare two replies.

    @return: why they may differ; None where they do not.
    @raise AssertionError: they differ, and nothing says why.
    """
    assert ours["id"] == request["id"]
    if ours == theirs:
        return None
    mine, other = outcome(ours), outcome(theirs)
    if mine == other:
        return "better: exact ids"
    for difference in DIFFERENCES:
        if difference.applies(request, other, mine):
            if (
                request["method"] in OWN_FACTS
                and isinstance(mine, tuple)
                and isinstance(other, tuple)
                and mine[1]
                and other[1]
            ):
                assert is_like(mine[1], other[1], open_keys=True) or type(mine[1]) is type(other[1])
            return difference.why
    raise AssertionError(f"{json.dumps(request)}: Kamailio says {theirs}, this server {ours}")


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_same_requests(kamailio: Kamailio, ours: Server, data: st.DataObject) -> None:
    """Requests in a row are answered alike, but for the differences that have a reason."""
    begin = [
        ("htable.flush", ["a"]),
        ("cfg.rollback", []),
        ("cfg.seti", ["core", "debug", 2]),
        ("dispatcher.reload", []),
        ("dispatcher.ping_active", [1]),
        ("pv.shvSet", ["number", "int", 5]),
        ("pv.shvSet", ["text", "str", "hello"]),
    ]
    for method, params in begin:
        document = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}).encode()
        kamailio.call(document)
        ours.call("unix", document)
    for request in data.draw(st.lists(requests(), min_size=1, max_size=6)):
        document = json.dumps(request).encode()
        theirs = kamailio.call(document)
        mine = ours.call("unix", document)
        if theirs is None:  # it is gone, or hangs: ours answers all the same
            assert json.loads(mine)["id"] == request["id"]
            kamailio.stop()
            kamailio.start()
            return
        if same(request, json.loads(theirs), json.loads(mine)) is not None:
            return  # what the two hold may differ from here on
