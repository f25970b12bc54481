"""Targets for access control: rules, and files of users."""

import ipaddress
import itertools
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import attrs
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from fuzz.common import CUT, check_message, scratch
from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.calls import CallPattern
from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.access.passwords import Bcrypt, Scrypt
from jsonrpcs_tx.access.rules import Rule, read_rule
from jsonrpcs_tx.access.users import read_users
from jsonrpcs_tx.access.usersfile import UsersFile
from jsonrpcs_tx.errors import SettingError, StartError
from jsonrpcs_tx.protocols import with_own

ADDED: Final = "bus"
"""The name of a transport that a program has added."""

TRANSPORTS: Final = with_own({ADDED: ("user", "uid")})

CALLERS: Final = (
    Caller("exec"),
    Caller("fifo"),
    Caller("unix"),
    Caller("unix", uid=0, gid=0),
    Caller("unix", uid=5, gid=4294967294),
    *(
        Caller(transport, address)
        for transport in ("udp", "tcp", "http", "https")
        for address in ("127.0.0.1", "127.9.9.9", "::1", "192.0.2.7", "2001:db8::1")
    ),
    Caller("http", "127.0.0.1", user="ann"),
    Caller("http", "192.0.2.7", user="a*"),
    Caller("https", "192.0.2.7", user="ann", tls_names=("Ops.example.COM", "b")),
    Caller("https", "2001:db8::1", tls_names=("ops.example.com",)),
    Caller(ADDED),
    Caller(ADDED, user="ann", uid=0),
)

METHODS: Final = ("core.kill", "core.ps", "stats.fetch", "Core.kill", "x", "*", "core.\nkill")

KNOWN_OVER: Final = {
    "network": {"udp", "tcp", "http", "https"},
    "user": {"http", "https", ADDED},
    "tls": {"https"},
    "uid": {"unix", "http", "https", ADDED},
    "gid": {"unix", "http", "https"},
}
"""The transports whose callers can have what a condition asks for."""

MAX_RULES: Final = 8

NODES: Final = (frozenset[str](), frozenset(("edge1", "edge")))

PARAMS: Final[tuple[list[Any], ...]] = (
    [],
    [1],
    ["1"],
    ["ban_table", "x"],
    ["ban_table", 1.0, True],
    ["a\0", "i:1", -1],
    [None, [], {}],
    [2**32 + 1, 2**9999, Decimal("1e9999")],
)


@attrs.frozen
class _Oracle:
    """The meaning of a rule, found without the code under test.

    @ivar transports: named ones; empty: any.
    @ivar conditions: what is asked for, by its kind.
    """

    transports: frozenset[str]
    conditions: dict[str, list[str]]
    allow: list[str]
    deny: list[str]

    @classmethod
    def of(cls, text: str) -> "_Oracle":
        parts: dict[str, list[str]] = {"": [], "allow": [], "deny": []}
        part = ""
        for word in text.split():
            if word in ("allow", "deny"):
                part = word
            else:
                parts[part].append(word)
        transports: set[str] = set()
        conditions: dict[str, list[str]] = {}
        for word in parts[""]:
            kind, equals, value = word.partition("=")
            if equals:
                conditions.setdefault(kind, []).append(value)
            elif "." in word or ":" in word or word.isdigit():
                conditions.setdefault("network", []).append(word)
            else:
                transports.add(word)
        named = frozenset() if "any" in transports else frozenset(transports)
        return cls(named, conditions, parts["allow"], parts["deny"])

    def fits(self, caller: Caller) -> bool:
        """Whether it is for a caller."""
        return (not self.transports or caller.transport in self.transports) and all(
            _meets(caller, kind, values) for kind, values in self.conditions.items()
        )

    def closes(self, transport: str) -> bool:
        """Whether it allows anything to somebody over a transport."""
        could = all(transport in KNOWN_OVER[kind] for kind in self.conditions)
        return bool(self.allow) and (transport in self.transports or (not self.transports and could))


def _meets(caller: Caller, kind: str, values: Sequence[str]) -> bool:
    if kind == "network":
        return caller.address is not None and any(
            ipaddress.ip_address(caller.address) in ipaddress.ip_network(value) for value in values
        )
    if kind == "user":
        return caller.user is not None and any(_matches(value, caller.user) for value in values)
    if kind == "tls":
        return any(_matches(_lower(value), _lower(name)) for value in values for name in caller.tls_names)
    return getattr(caller, kind) in map(int, values)


def _lower(name: str) -> str:
    return name.encode(errors="surrogateescape").lower().decode(errors="surrogateescape")


def _matches(pattern: str, name: str) -> bool:
    """Whether a pattern matches, by looking for the texts between the stars one after another, as a person would."""
    first, *others = pattern.split("*")
    if not others:
        return name == pattern
    if not name.startswith(first):
        return False
    position, last = len(first), others.pop()
    for part in others:
        position = name.find(part, position)
        if position < 0:
            return False
        position += len(part)
    return len(name) - len(last) >= position and name.endswith(last)


def rules(data: bytes) -> None:
    """Lines are either rules, or refused with what is allowed; and rules decide as they are written.

    What is denied is denied, whatever else allows it. Only a rule that allows something opens anything to other
    machines, and such a rule closes its transport to everybody that no rule allows anything.
    """
    found: list[Rule] = []
    read: list[tuple[Rule, _Oracle]] = []
    for line in data.decode(errors="surrogateescape").split("\n")[:MAX_RULES]:
        try:
            rule = read_rule(line, TRANSPORTS)
        except SettingError as error:
            check_message(error)
            continue
        found.append(rule)
        if rule.allow_calls or rule.deny_calls or rule.roles or rule.nodes:
            continue
        oracle = _Oracle.of(line)
        owners = (*oracle.conditions.get("uid", ()), *oracle.conditions.get("gid", ()))
        if all(map(str.isdigit, owners)):  # the names of users are looked up on this machine
            read.append((rule, oracle))
    _check_decisions(read)
    _check_calls(found)


def _check_decisions(read: Sequence[tuple[Rule, _Oracle]]) -> None:
    access = AccessControl(rule for rule, _ in read)
    without_denials = AccessControl(attrs.evolve(rule, deny=()) for rule, _ in read)
    oracles = [oracle for _, oracle in read]
    patterns = {pattern.replace("*", "") for oracle in oracles for pattern in (*oracle.allow, *oracle.deny)}
    for caller, method in itertools.product(CALLERS, (*METHODS, *sorted(patterns)[:20])):
        fitting = [oracle for oracle in oracles if oracle.fits(caller)]
        allowed = any(_matches(pattern, method) for oracle in fitting for pattern in oracle.allow)
        denied = any(_matches(pattern, method) for oracle in fitting for pattern in oracle.deny)
        is_open = caller.is_local() and not any(oracle.closes(caller.transport) for oracle in oracles)
        verdict = access.allows(caller, method)
        assert verdict == ((allowed or is_open) and not denied), (str(caller), method, oracles)
        assert not verdict or access.admits(caller), (str(caller), method, oracles)
        assert not verdict or without_denials.allows(caller, method), (str(caller), method, oracles)


def _check_calls(rules: Sequence[Rule]) -> None:
    """What rules say of parameters and nodes.

    What is allowed with some parameters only is allowed with no others: each has the text of its pattern. What is
    denied stays denied with further parameters, and on nodes if the rule names none. No denial allows anything.
    """
    access = AccessControl(rules)
    denying = [attrs.evolve(rule, allow=(), allow_calls=(), roles=frozenset()) for rule in rules]
    open_to_all = AccessControl([read_rule("any allow *"), read_rule("any node=* allow *"), *denying])
    without_denials = AccessControl(attrs.evolve(rule, deny=(), deny_calls=()) for rule in rules)
    everywhere = AccessControl([read_rule("any node=* allow *"), *(rule for rule in denying if not rule.nodes)])
    calls = [call for rule in rules for call in (*rule.allow_calls, *rule.deny_calls)]
    methods = [call.method.replace("*", "") for call in calls][:4]
    near = [[_near(value.parts) for value in call.parameters.values] for call in calls[:4] if call.parameters]
    for caller, method, nodes in itertools.product(CALLERS[::3], ("core.kill", *methods), NODES):
        for params in (*PARAMS, *near, *([*one, "x"] for one in near)):
            verdict = access.allows(caller, method, params, nodes)
            assert not verdict or access.admits(caller), (str(caller), method, params)
            assert not verdict or without_denials.allows(caller, method, params, nodes), (str(caller), method, params)
            allowed = open_to_all.allows(caller, method, params, nodes)
            assert allowed or not open_to_all.allows(caller, method, [*params, "x"], nodes) or _grows(calls, params)
            assert allowed or nodes or not everywhere.allows(caller, method, params, frozenset("n"))
    for call, values in itertools.product(calls, (*PARAMS, *near)):
        assert call.parameters is not None
        if call.parameters.allow(values, None):
            assert len(values) == len(call.parameters.values) or call.parameters.more
            assert call.parameters.deny(values, None), (call, values)
            for pattern, value in zip(call.parameters.values, values, strict=False):
                text = value if type(value) is str else json.dumps(int(value) if type(value) is float else value)
                assert pattern.is_any or _matches_parts(pattern.parts, text), (pattern, value)


def _grows(calls: Sequence[CallPattern], params: Sequence[Any]) -> bool:
    """Whether a pattern is for more parameters than these, so that one more may be another than the denied one."""
    return any(call.parameters is not None and len(call.parameters.values) > len(params) for call in calls)


def _near(parts: Sequence[str]) -> Any:
    """A value that fits a pattern, or nearly so: a number if it looks like one."""
    text = "1".join(parts)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text


def _matches_parts(parts: Sequence[str], text: str) -> bool:
    """The same as L{_matches}, for a pattern whose texts may have stars."""
    return _matches("*".join(part.replace("*", "\0") for part in parts), text.replace("*", "\0"))


CHEAP: Final = 2**20
"""The memory of hashing in bytes up to which a password is hashed here."""

PASSWORDS: Final = (b"", b"x", b"secret", b"a\0b", b"\xff", b"x" * 100)


def users(data: bytes) -> None:
    """A file gives users, or an error that names the line; checking a password against them raises nothing unexpected.

    After a cut comes what a client sends. Only a client with the right password gets in, and only as its own user: a
    name and a password that together have the same bytes as a right pair are a different pair.
    """
    lines, *sent = data.split(CUT)
    try:
        found = read_users(lines)
    except ValueError as error:
        check_message(error, "line ")
        found = {}
    for name in found:
        assert name.decode().isprintable()
        assert b":" not in name
    if not found or not all(map(_is_cheap, found.values())):
        return
    passwords = (*PASSWORDS, *sent[:2])
    right = {(name, word): known.verify(word) for name, known in found.items() for word in passwords}
    assert all(type(verdict) is bool for verdict in right.values())
    _check_logins(lines, [*right, *itertools.product((b"", b"root", *sent[:2]), passwords)], right)


def _is_cheap(known: Scrypt | Bcrypt) -> bool:
    return isinstance(known, Scrypt) and 128 * known.n * known.r * known.p <= CHEAP


def _check_logins(lines: bytes, pairs: list[tuple[bytes, bytes]], right: dict[tuple[bytes, bytes], bool]) -> None:
    """Each pair in turn, then the same bytes split elsewhere, and the pair again."""
    try:
        checker = UsersFile(scratch(lines), Clock(), maybeDeferred)
    except StartError as error:
        check_message(error, "http_users: ")
        return
    for name, password in pairs[:20]:
        whole = name + b"\0" + password
        moved = [(whole[:at], whole[at + 1 :]) for at, byte in enumerate(whole) if not byte]
        for pair in [(name, password), *moved, (name, password)]:
            outcome = _login(checker, *pair)
            assert outcome in ((pair[0], b"refused") if right.get(pair) else (b"refused",)), (pair, outcome)


def _login(checker: UsersFile, name: bytes, password: bytes) -> bytes:
    """The user as which a client gets in; C{refused} if it does not."""
    outcome: list[Any] = []
    answer: Deferred[Any] = checker.requestAvatarId(UsernamePassword(name, password))
    answer.addBoth(outcome.append)
    (result,) = outcome
    if isinstance(result, Failure):
        result.trap(UnauthorizedLogin)
        return b"refused"
    return bytes(result)
