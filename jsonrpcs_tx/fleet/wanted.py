"""What is wanted of the servers behind the gateways of a fleet: what was set there, and is set again after a restart.

It does no I/O.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from jsonrpcs_tx.state.sharing import Shareable

MAX_WANTED: Final = 10_000
"""Settings that are remembered, for all nodes together."""

_END: Final = "\0"
"""Ends each part of a key. No part contains it."""

_MAX_EXPIRY: Final = 2**31 - 1
"""Seconds of the longest expiry that Kamailio takes."""

_HTABLE_SETS: Final = ("htable.sets", "htable.seti", "htable.setxs", "htable.setxi")


class Call(msgspec.Struct, array_like=True, frozen=True):
    """A call that sets something again.

    @ivar method: the command.
    @ivar params: JSON, an array.
    @ivar until: when what it sets expires, in milliseconds of the stream's time; None: never.
    """

    method: str
    params: str
    until: int | None = None

    def at(self, ms: int) -> "Call | None":
        """The call to make now: an item gets the time that it has left; None: it has expired.

        @param ms: now, in milliseconds of the stream's time.
        """
        if self.until is None:
            return self
        if self.until <= ms:
            return None
        values = msgspec.json.decode(self.params)
        values[-1] = -((ms - self.until) // 1000)
        return _call(self.method, values)


class Effect(msgspec.Struct, array_like=True, frozen=True):
    """What a call changes of what is wanted.

    @ivar key: what is set. What was remembered under this key, or one that begins with it, is forgotten.
    @ivar call: sets it again; None: it is not set any more.
    """

    key: str
    call: Call | None


def effects(method: str, params: bytes, ms: int, names: Collection[str]) -> list[Effect]:
    """What a call that has succeeded changes of what is wanted.

    @param params: JSON, an array or an object; empty: it has no parameters.
    @param ms: when it was made, in milliseconds of the stream's time.
    @param names: what is remembered: C{dispatcher}, C{htable:NAME} and C{cfg:GROUP}.
    """
    try:
        given = msgspec.json.decode(params) if params else []
    except msgspec.DecodeError:
        return []
    values = list(given.values()) if isinstance(given, dict) else given
    if not isinstance(values, list):
        return []
    words = [str(value) for value in values]
    if any(_END in word for word in words):
        return []
    kind = method.partition(".")[0]
    if kind == "dispatcher":
        return _of_dispatcher(method, values, words) if kind in names else []
    if not words or f"{kind}:{words[0].partition('[')[0]}" not in names:
        return []
    if kind == "htable":
        return _of_table(method, values, words, ms)
    return _of_variables(method, values, words) if kind == "cfg" else []


def _key(*parts: str) -> str:
    return "".join(part + _END for part in parts)


def _call(method: str, values: Sequence[Any], until: int | None = None) -> Call:
    return Call(method, msgspec.json.encode(values).decode(), until)


def _of_dispatcher(method: str, values: Sequence[Any], words: Sequence[str]) -> list[Effect]:
    if method == "dispatcher.reload":
        return [Effect(_key("dispatcher"), None)]
    if method == "dispatcher.set_state" and len(words) == 3:
        everything = words[2] == "all"
        key = _key("dispatcher", words[1], "state") if everything else _key("dispatcher", words[1], "state", words[2])
        return [Effect(key, _call(method, values))]
    if method == "dispatcher.set_duid_state" and len(words) == 3:
        return [Effect(_key("dispatcher", words[1], "duid", words[2]), _call(method, values))]
    if method == "dispatcher.add" and len(words) >= 2:
        return [Effect(_key("dispatcher", words[0], "destination", words[1]), _call(method, values))]
    if method == "dispatcher.remove" and len(words) == 2:
        state = Effect(_key("dispatcher", words[0], "state", words[1]), None)
        return [state, Effect(_key("dispatcher", words[0], "destination", words[1]), _call(method, values))]
    return []


def _of_table(method: str, values: Sequence[Any], words: Sequence[str], ms: int) -> list[Effect]:
    if method in ("htable.flush", "htable.reload"):
        return [Effect(_key("htable", words[0]), None)]
    if len(words) < 2:
        return []
    item = ("htable", words[0], words[1])
    if method == "htable.delete":
        return [Effect(_key(*item), None)]
    if method == "htable.setex" and len(words) == 3 and _is_expiry(words[2]):
        until = ms + 1000 * int(words[2]) if int(words[2]) else None
        return [Effect(_key(*item, "expiry"), _call(method, values, until))]
    if method in _HTABLE_SETS and len(words) >= 3:
        expires = int(words[3]) if len(words) > 3 and _is_expiry(words[3]) else 0
        call = _call(method, values[:4], ms + 1000 * expires if expires else None)  # further ones mean nothing
        return [Effect(_key(*item), None), Effect(_key(*item, "value"), call)]
    return []


def _is_expiry(word: str) -> bool:
    """Whether a word is a number of seconds as it is written, however the server reads what is none."""
    return word.isascii() and word.isdigit() and len(word) <= 10 and int(word) <= _MAX_EXPIRY


def _of_variables(method: str, values: Sequence[Any], words: Sequence[str]) -> list[Effect]:
    if method == "cfg.reset":
        return [Effect(_key("cfg", words[0]), None)]
    if method == "cfg.del" and len(words) == 2:
        return [Effect(_key("cfg", *words), None)]
    if method == "cfg.del_group_inst":
        return [Effect(_key("cfg", words[0]), None), Effect(_key("cfg instance", words[0]), None)]
    if method == "cfg.add_group_inst":
        return [Effect(_key("cfg instance", words[0]), _call(method, values))]
    if method in ("cfg.set", "cfg.seti", "cfg.sets", "cfg.set_now_int", "cfg.set_now_string") and len(words) == 3:
        return [Effect(_key("cfg", words[0], words[1]), _call(method, values))]
    return []


class Wanted(Shareable):
    """What is remembered for each node. The gateways of a fleet share it.

    @ivar dropped: settings that were not remembered, since there were too many.
    @ivar last: the highest number of a turn that is remembered.
    """

    OPERATIONS: ClassVar[dict[str, int]] = {"want": 4, "replace": 1}

    def __init__(self) -> None:
        self.dropped: int = 0
        self.last: int = 0
        self._nodes: dict[str, dict[str, Call]] = {}
        self._fences: dict[str, int] = {}

    def want(self, node: str, module: str, fence: int, changes: list[Any]) -> Any:
        """Remember what a call has set.

        @param node: the name of the node.
        @param module: the module that was changed. Its changes take turns.
        @param fence: the number of the turn, which is higher for later turns; 0: there was no turn.
        @param changes: the effects, see L{effects}.
        @return: whether it counts, because nothing of a later turn was remembered before.
        """
        if self.share is not None:
            return self.share.submit("want", node, module, fence, changes)
        turn = _key(node, module)
        if fence and fence < self._fences.get(turn, 0):
            return False
        kept = self._nodes.setdefault(node, {})
        for effect in msgspec.convert(changes, list[Effect]):
            for key in [key for key in kept if key.startswith(effect.key)]:
                del kept[key]
            if effect.call is None:
                continue
            if self.count() >= MAX_WANTED:
                self.dropped += 1
            else:
                kept[effect.key] = effect.call
        if fence:
            self._fences[turn] = fence
            self.last = max(self.last, fence)
        return True

    def of(self, node: str) -> Mapping[str, Call]:
        """The calls that set everything again on a node, by key, in the order in which they were made."""
        return self._nodes.get(node, {})

    def count(self, node: str | None = None) -> int:
        """How many settings are remembered, for one node or for all."""
        return sum(map(len, self._nodes.values())) if node is None else len(self._nodes.get(node, ()))

    def contents(self) -> dict[str, Any]:
        """All that is remembered."""
        nodes = {
            node: [[key, [call.method, call.params, call.until]] for key, call in kept.items()]
            for node, kept in self._nodes.items()
        }
        return {"nodes": nodes, "fences": dict(self._fences)}

    def replace(self, contents: dict[str, Any]) -> None:
        """Replace all that is remembered by what L{contents} has returned."""
        self._nodes = {
            node: {key: msgspec.convert(call, Call) for key, call in kept} for node, kept in contents["nodes"].items()
        }
        self._fences = dict(contents["fences"])
        self.last = max(self._fences.values(), default=0)

    def touches(self, operation: str, arguments: Sequence[Any]) -> str | None:
        """The node and the module that a change is about."""
        return _key(*arguments[:2]) if operation == "want" else None
