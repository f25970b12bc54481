"""What is remembered of calls that set something."""

import json
from typing import Any

import msgspec
import pytest

from jsonrpcs_tx.fleet.wanted import Wanted, effects

NAMES = ("dispatcher", "htable:ban", "cfg:core")


def made(wanted: Wanted, method: str, *params: Any, fence: int = 0, ms: int = 0) -> Any:
    """Remember a call that has succeeded."""
    found = effects(method, json.dumps(params).encode(), ms, NAMES)
    return wanted.want("k", method.partition(".")[0], fence, msgspec.to_builtins(found))


def calls(wanted: Wanted, ms: int = 0) -> list[tuple[Any, ...]]:
    """What would be set again."""
    found = [call.at(ms) for call in wanted.of("k").values()]
    return [(call.method, *json.loads(call.params)) for call in found if call is not None]


@pytest.mark.parametrize(
    ("first", "then", "kept"),
    [
        (("htable.sets", "ban", "k", "1"), ("htable.seti", "ban", "k", 2), [("htable.seti", "ban", "k", 2)]),
        (("htable.sets", "ban", "k", "1"), ("htable.delete", "ban", "k"), []),
        (("htable.sets", "ban", "k", "1"), ("htable.flush", "ban"), []),
        (("htable.sets", "ban", "k", "1"), ("htable.delete", "ban", "kk"), [("htable.sets", "ban", "k", "1")]),
        (("dispatcher.set_state", "ip", 1, "sip:a"), ("dispatcher.reload",), []),
        (
            ("dispatcher.set_state", "ip", 1, "sip:a"),
            ("dispatcher.set_state", "ap", 1, "all"),
            [("dispatcher.set_state", "ap", 1, "all")],
        ),
        (
            ("cfg.seti", "core", "debug", 3),
            ("cfg.set_now_int", "core", "debug", 4),
            [("cfg.set_now_int", "core", "debug", 4)],
        ),
        (("cfg.seti", "core", "debug", 3), ("cfg.reset", "core"), []),
        (("cfg.seti", "tcp", "debug", 3), ("htable.sets", "other", "k", "1"), []),
        (("core.echo", "x"), ("htable.get", "ban", "k"), []),
    ],
)
def test_last_one_counts(first: tuple[Any, ...], then: tuple[Any, ...], kept: list[tuple[Any, ...]]) -> None:
    """The last setting is wanted; one that was removed is not."""
    wanted = Wanted()
    made(wanted, *first)
    made(wanted, *then)
    assert calls(wanted) == kept


def test_expiry() -> None:
    """An item that expires is set again for the time that it has left, and no more when it has expired."""
    wanted = Wanted()
    made(wanted, "htable.setxs", "ban", "k", "v", 60, ms=1000)
    assert calls(wanted, 31_000) == [("htable.setxs", "ban", "k", "v", 30)]
    assert calls(wanted, 61_000) == []


@pytest.mark.parametrize("expiry", ["\u00b2", "9" * 30, "9" * 5000, 10**30, 2**31, -5, 1.5, True, None, [1], {"a": 1}])
def test_odd_expiry(expiry: Any) -> None:
    """Whatever a server may take for an expiry, the call is remembered as it was, and can be shared."""
    wanted = Wanted()
    made(wanted, "htable.setxs", "ban", "k", "v", expiry)
    assert calls(wanted, 10**15) == [("htable.setxs", "ban", "k", "v", expiry)]
    assert msgspec.msgpack.encode(wanted.contents())
    made(wanted, "htable.setex", "ban", "l", expiry)
    assert len(wanted.of("k")) == 1


def test_surplus() -> None:
    """Parameters behind the expiry, which Kamailio ignores, are not taken for it."""
    wanted = Wanted()
    made(wanted, "htable.setxs", "ban", "k", "v", 60, 1, ms=1000)
    assert calls(wanted, 31_000) == [("htable.setxs", "ban", "k", "v", 30)]


def test_fence() -> None:
    """What a gateway reports late of an earlier turn does not count."""
    wanted = Wanted()
    assert made(wanted, "htable.sets", "ban", "k", "new", fence=7)
    assert not made(wanted, "htable.sets", "ban", "k", "old", fence=6)
    assert calls(wanted) == [("htable.sets", "ban", "k", "new")]
    copy = Wanted()
    copy.replace(wanted.contents())
    assert copy.contents() == wanted.contents()
    assert not made(copy, "htable.sets", "ban", "k", "old", fence=6)


@pytest.mark.parametrize("params", [b"", b"{", b"3", b'["ban"]', b'["ban","k\\u0000","v"]', b'[["ban"],"k","v"]'])
def test_odd_params(params: bytes) -> None:
    """Calls with parameters that do not fit are not remembered."""
    assert effects("htable.sets", params, 0, NAMES) == []
