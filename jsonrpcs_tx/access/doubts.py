"""What a rule probably does not mean: conditions that fit nobody, and more or fewer parameters than a method takes."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, TypeAlias

from jsonrpcs_tx import catalogue
from jsonrpcs_tx.access.calls import CallPattern
from jsonrpcs_tx.access.patterns import matches
from jsonrpcs_tx.access.rules import Rule
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.protocols import PROTOCOLS

_WITHOUT_NODES: Final = frozenset(PROTOCOLS) - {"http", "https", "exec"}
"""Transports over which nothing calls a node."""

_MAX_NAMES: Final = 20
"""Names in a message."""

Counts: TypeAlias = Callable[[str], tuple[int, int | None] | None]
"""How many parameters a command takes: the least and the most, None for any number; None for an unknown command."""


def doubts(
    rules: Sequence[Rule],
    own: Counts,
    users: Collection[str] | None = None,
    nodes: Collection[str] = (),
    methods: Collection[str] | None = None,
) -> Iterator[StartError]:
    """Look for what is probably not meant.

    @param own: tells how many parameters one of this server's own commands takes.
    @param users: the names of users; None: they are not known.
    @param nodes: the names of nodes and their groups.
    @param methods: the names of this server's own commands; None: further ones may come.
    @return: what is doubtful, in words, with what is probably meant.
    """
    for rule in rules:
        for reason, allowed in (
            *_conditions(rule, users, nodes),
            *_parameters(rule, own),
            *(() if methods is None else _methods(rule, methods)),
        ):
            if rule.file:
                yield StartError("rule_file", rule.file, f"{rule.text!r:.200}: {reason}", allowed, rule.line)
            else:
                yield StartError("rule", rule.text, reason, allowed)


def _conditions(rule: Rule, users: Collection[str] | None, nodes: Collection[str]) -> Iterator[tuple[str, str]]:
    if rule.nodes and rule.transports <= _WITHOUT_NODES:
        yield f"no node can be called over {' or '.join(sorted(rule.transports))}", "node= with http, https or exec"
    for condition, patterns, names in (
        ("user", rule.users, users),
        ("tls", rule.tls_names, None),
        ("node", rule.nodes, nodes),
    ):
        for pattern in patterns:
            written = f"{condition}={pattern}"
            if names is not None and any(matches((pattern,), name) for name in names):
                continue
            parts = [part for part in pattern.strip("\"'").split(",") if part]
            if parts and parts != [pattern]:
                yield f"{written} is one name", " ".join(f"{condition}={part}" for part in parts)
            elif names is not None:
                what = "user" if condition == "user" else "node or group"
                near = catalogue.nearest(pattern, tuple(names), 1) if names else []
                meant = f"; did you mean {near[0]}?" if near else ""
                if what == "user":
                    listed = "the name of a user"
                else:
                    listed = ", ".join(sorted(names)[:_MAX_NAMES]) or "nodes in node or node_file first"
                yield f"{written}: there is no such {what}{meant}", listed


def _methods(rule: Rule, own: Collection[str]) -> Iterator[tuple[str, str]]:
    """Methods that no server is known to have. A node may have commands of its own, which are not known here: for it,
    only what looks like a mistake is doubtful.
    """
    calls = (*rule.allow, *rule.deny, *(call.method for call in (*rule.allow_calls, *rule.deny_calls)))
    for pattern in dict.fromkeys(calls):
        if pattern in own or catalogue.find(pattern) is not None:
            continue
        known = {*own, *catalogue.methods()}
        if "*" in pattern and any(matches((pattern,), name) for name in known):
            continue
        near = [] if "*" in pattern else catalogue.nearest(pattern, tuple(known), 1)
        if near or not rule.nodes:
            meant = f"; did you mean {near[0]}?" if near else ""
            yield f"{pattern}: no server is known to have such a method{meant}", "methods that a server has"


def _parameters(rule: Rule, own: Counts) -> Iterator[tuple[str, str]]:
    for calls, denies in ((rule.allow_calls, False), (rule.deny_calls, True)):
        for call in calls:
            tellers = [_catalogued] if rule.nodes else [own, _catalogued] if denies else [own]
            found = [counts for teller in tellers if (counts := teller(call.method)) is not None]
            if found and not any(_may_fit(call, *counts, denies) for counts in found):
                least, most = found[0]
                allowed = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
                number = 0 if call.parameters is None else len(call.parameters.values)
                yield f"{call.method} has {number} parameters here", f"{allowed}, which it takes"


def _may_fit(call: CallPattern, least: int, most: int | None, denies: bool) -> bool:
    """Whether a call with as many parameters as the method takes may fit. Where a rule denies, it may have more."""
    assert call.parameters is not None
    number = len(call.parameters.values)
    enough = number >= least or denies or call.parameters.more
    return enough and (most is None or number <= most)


def _catalogued(method: str) -> tuple[int, int | None] | None:
    """How many parameters a command of Kamailio's takes."""
    entry = catalogue.find(method)
    if entry is None:
        return None
    parameters = entry.parameters
    endless = bool(parameters) and parameters[-1].repeated
    return sum(not one.optional for one in parameters), None if endless else len(parameters)
