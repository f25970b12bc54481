"""Who may call what: rules that allow methods to callers, or deny them.

A rule is one line: whom it is for, then what is allowed to them, denied to them, or both::

    udp 192.0.2.0/24 allow dispatcher.* core.ps deny core.kill
    https tls=ops.example.com allow *
    http https user=ann allow stats.* deny *.reset*
    unix gid=adm allow core.*
    any deny core.kill

Whom it is for: names of transports, or C{any}; addresses and networks; C{user=}, C{tls=}, C{uid=} and C{gid=}; in any
order. A rule fits a caller if one condition of each kind that it has fits. C{any}, or no transport, means every
transport that can know what the rule asks for, and every transport that a program adds. In methods, users and TLS names
C{*} stands for any characters, or for no character. Case counts, except in the ASCII letters of TLS names.

The rules decide together, in no order:

  1. A method that a rule for the caller denies is forbidden.
  2. Otherwise a method that a rule for the caller allows may be called.
  3. Otherwise, if any rule allows anything to anybody over the caller's transport, the method is forbidden.
  4. Otherwise callers of this machine may call it (those without an address, as over the FIFO, a Unix socket or from
     the program itself, and those from a loopback address), and others may not.

So one rule with C{allow} closes its transport to all whom no rule allows anything, and C{deny} never opens one.
"""

import ipaddress
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import attrs
import msgspec

from jsonrpcs_tx import owners
from jsonrpcs_tx.addresses import Network, is_in
from jsonrpcs_tx.errors import SettingError
from jsonrpcs_tx.protocols import ADDRESS, PROTOCOLS, knowing

MAX_CALLERS: Final = 4096
"""Callers of whom is remembered which rules fit."""

MAX_DECISIONS: Final = 16_384
"""Decisions that are remembered."""

MAX_METHOD: Final = 128
"""Characters of a method's name above which the decision is not remembered, so that long names fill no memory."""

TRANSPORTS: Final = tuple(PROTOCOLS)
FORM: Final = "TRANSPORT NETWORK user=NAME tls=NAME uid=USER gid=GROUP (one at least) allow METHOD... deny METHOD..."
"""What a rule looks like, in words."""

_ASCII_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
"""Lower case for TLS names. That of Unicode would make other letters the same, such as K and the Kelvin sign."""

_ALL: Final = ("*",)
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


class Caller(msgspec.Struct, frozen=True, cache_hash=True):
    """What a transport knows of who calls. Where it can be, one is made for a connection, not for each request.

    @ivar transport: one of L{TRANSPORTS}, or the name of one that a program has added.
    @ivar address: IP address; None for callers that have none, as those of a Unix socket, who are of this machine.
    @ivar user: the user that HTTP authentication has verified; None if there was none.
    @ivar tls_names: the names in the client's certificate, which was verified.
    @ivar uid: number of the user at the other end of a Unix socket; None if it is not known.
    @ivar gid: the same of the group: that of the process, none of the further ones that the user is in.
    """

    transport: str
    address: str | None = None
    user: str | None = None
    tls_names: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def __str__(self) -> str:
        """Who it is, for the log: one line, whatever the names are."""
        facts = [("user", self.user), *(("tls", name) for name in self.tls_names), ("uid", self.uid), ("gid", self.gid)]
        known = [f"{fact}={value!a}" for fact, value in facts if value is not None]
        return " ".join((self.transport, *([] if self.address is None else [self.address]), *known))

    def is_local(self) -> bool:
        """Whether it is of this machine.

        @raise ValueError: the address is not an IP address.
        """
        return self.address is None or is_in(self.address, _LOOPBACK)


@attrs.frozen
class Rule:
    """Whom a rule is for, and what it allows or denies them. Made by L{read_rule}.

    @ivar transports: those of L{TRANSPORTS} that it is for.
    @ivar added: whether it is also for every transport that a program has added.
    @ivar networks: those that it is for; empty: all, and callers without an address.
    @ivar users: patterns of HTTP users; empty: everybody. The next three are alike.
    @ivar tls_names: patterns of names in the client's certificate, in lower case.
    @ivar uids: users at the other end of a Unix socket.
    @ivar gids: their groups.
    @ivar allow: patterns of methods.
    @ivar deny: the same.
    """

    transports: frozenset[str]
    added: bool = False
    networks: tuple[Network, ...] = ()
    users: tuple[str, ...] = ()
    tls_names: tuple[str, ...] = ()
    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    @property
    def facts(self) -> frozenset[str]:
        """What it asks for besides transport and address: some of C{user}, C{tls}, C{uid} and C{gid}."""
        asked = {"user": self.users, "tls": self.tls_names, "uid": self.uids, "gid": self.gids}
        return frozenset(fact for fact, values in asked.items() if values)

    def fits(self, caller: Caller) -> bool:
        """Whether it is for a caller.

        @raise ValueError: the caller's address is not an IP address.
        """
        return (
            self.is_for(caller.transport)
            and (not self.networks or (caller.address is not None and is_in(caller.address, self.networks)))
            and (not self.users or (caller.user is not None and _matches(self.users, caller.user)))
            and (not self.tls_names or any(_matches(self.tls_names, _lower(name)) for name in caller.tls_names))
            and (not self.uids or caller.uid in self.uids)
            and (not self.gids or caller.gid in self.gids)
        )

    def is_for(self, transport: str) -> bool:
        """Whether it is for some callers over a transport."""
        return transport in self.transports or (self.added and transport not in TRANSPORTS)

    def opens(self, transport: str) -> bool:
        """Whether it allows anything, over a transport, to some caller who is not of this machine."""
        only_local = self.networks and all(network.is_loopback for network in self.networks)
        return bool(self.allow) and self.is_for(transport) and not (only_local or self.uids or self.gids)


class Access:
    """Decides who may call what.

    A decision that was made before costs well under a microsecond. What is remembered is bounded, see L{MAX_CALLERS},
    L{MAX_DECISIONS} and L{MAX_METHOD}.

    @param rules: all of them; their order does not count.
    @ivar trivial: there are none: callers of this machine may call everything, and others nothing.
    @ivar facts: what some rule asks for besides transport and address: of C{user}, C{tls}, C{uid} and C{gid}. What is
        not in it, no transport needs to find out.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = tuple(rules)
        self.trivial = not self._rules
        self.facts: frozenset[str] = frozenset().union(*(rule.facts for rule in self._rules))
        self._patterns = lru_cache(MAX_CALLERS)(self._find_patterns)
        self._known = lru_cache(MAX_DECISIONS)(self._decide)

    def allows(self, caller: Caller, method: str) -> bool:
        """Whether a caller may call a method.

        @param method: the name of a command, or any other.
        @raise ValueError: the caller's address is not an IP address.
        """
        return self._known(caller, method) if len(method) <= MAX_METHOD else self._decide(caller, method)

    def admits(self, caller: Caller) -> bool:
        """Whether a caller may call anything. If not, a datagram needs no answer, not even an error.

        @return: False only if each pattern that the caller is allowed is within one that the caller is denied.
        @raise ValueError: the caller's address is not an IP address.
        """
        allow, deny = self._patterns(caller)
        # A pattern of denied methods that matches the text of another pattern, stars and all, matches all of that one.
        return not all(_matches(deny, pattern) for pattern in allow)

    def covers(self, transport: str, address: str | None) -> bool:
        """Whether a listener may be opened: only callers of this machine reach it, or a rule allows others something.

        @param transport: one of L{TRANSPORTS}.
        @param address: IP address that is listened on; C{0.0.0.0}, C{::} or empty: all; None: it is a file.
        @raise ValueError: the address is not an IP address.
        """
        if address is None or (address and is_in(address, _LOOPBACK)):
            return True
        return any(rule.opens(transport) for rule in self._rules)

    def _find_patterns(self, caller: Caller) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The patterns of what a caller is allowed, and of what is denied."""
        rules = [rule for rule in self._rules if rule.fits(caller)]
        allow = tuple(pattern for rule in rules for pattern in rule.allow)
        deny = tuple(pattern for rule in rules for pattern in rule.deny)
        by_default = caller.is_local() and not any(rule.allow and rule.is_for(caller.transport) for rule in self._rules)
        return allow or (_ALL if by_default else ()), deny

    def _decide(self, caller: Caller, method: str) -> bool:
        allow, deny = self._patterns(caller)
        return _matches(allow, method) and not _matches(deny, method)


def read_rule(text: str) -> Rule:
    """Read a rule; the documentation of this module says what it looks like.

    @param text: one line. Names of users and groups of this machine are looked up now.
    @raise SettingError: of the setting C{rule}: the text is not a rule, a user or group does not exist, or no caller
        would ever fit, since a transport does not know what is asked for.
    """
    try:
        whom, methods = _split(text.split())
        return _build(_read_conditions(whom), methods)
    except ValueError as error:
        raise SettingError("rule", text, str(error)) from None


@attrs.frozen
class _Conditions:
    """Whom a rule is for, word by word.

    @ivar transports: names of transports, and C{any}.
    @ivar facts: what is after the equals sign, by C{user}, C{tls}, C{uid} and C{gid}.
    """

    transports: set[str]
    networks: list[Network]
    facts: dict[str, list[str]]


def _split(words: Iterable[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Split the words of a rule into whom it is for, and the patterns after C{allow} and C{deny}.

    @raise ValueError: something is missing, or a pattern is not allowed; the message says what is. So it is below.
    """
    whom: list[str] = []
    methods: dict[str, list[str]] = {}
    part = whom
    for word in words:
        if word in ("allow", "deny"):
            part = methods.setdefault(word, [])
        else:
            part.append(word)
    if not whom or not methods:
        raise ValueError(FORM)
    for keyword, patterns in methods.items():
        if not patterns:
            raise ValueError(f"methods after {keyword}, such as core.* or *")
        for pattern in patterns:
            _check_method(pattern)
    return whom, methods


def _check_method(pattern: str) -> None:
    if _is_condition(pattern):
        raise ValueError(f"{pattern} before allow and deny: {FORM}")
    if not re.fullmatch(r"[!-~]+", pattern) or re.search(r"[][?]", pattern):
        raise ValueError(f"methods in printable ASCII, * for any characters, without '?', '[', ']'; not {pattern!r}")


def _read_conditions(words: Iterable[str]) -> _Conditions:
    conditions = _Conditions(set(), [], {"user": [], "tls": [], "uid": [], "gid": []})
    for word in words:
        fact, _, value = word.partition("=")
        if word == "any" or word in TRANSPORTS:
            conditions.transports.add(word)
        elif fact in conditions.facts and value:
            conditions.facts[fact].append(value)
        else:
            try:
                conditions.networks.append(_network(word))
            except ValueError as error:
                allowed = f"any, {', '.join(TRANSPORTS)}, user=, tls=, uid=, gid= or a network"
                raise ValueError(f"{allowed}; {error}") from None
    return conditions


def _build(conditions: _Conditions, methods: Mapping[str, Sequence[str]]) -> Rule:
    named, networks, facts = conditions.transports, conditions.networks, conditions.facts
    open_ended = not named or "any" in named
    possible = _possible_transports(conditions)
    return Rule(
        transports=frozenset(possible if open_ended else named),
        added=open_ended,
        networks=tuple(networks),
        users=tuple(facts["user"]),
        tls_names=tuple(map(_lower, facts["tls"])),
        uids=_numbers(owners.uid_of, facts["uid"]),
        gids=_numbers(owners.gid_of, facts["gid"]),
        allow=tuple(methods.get("allow", ())),
        deny=tuple(methods.get("deny", ())),
    )


def _possible_transports(conditions: _Conditions) -> set[str]:
    """The transports of L{TRANSPORTS} that know all that a rule asks for.

    @raise ValueError: one that the rule names does not, or there is none.
    """
    possible = set(TRANSPORTS)
    facts = [fact for fact, values in conditions.facts.items() if values]
    for asked in (ADDRESS, *facts) if conditions.networks else facts:
        possible &= set(knowing(asked))
        for transport in sorted(conditions.transports - {"any"} - possible):
            raise ValueError(f"{asked} with {' or '.join(knowing(asked))}, not with {transport}")
    if conditions.networks and not {"uid", "gid"}.isdisjoint(facts):
        raise ValueError("a network, or uid= and gid=, not both: callers over a Unix socket have no address")
    return possible


def _is_condition(word: str) -> bool:
    """Whether a word says whom a rule is for; as a method it would leave the rule open to all others."""
    if word == "any" or word in TRANSPORTS or "=" in word:
        return True
    try:
        ipaddress.ip_network(word, strict=False)
    except ValueError:
        return False
    return True


def _numbers(number_of: Callable[[str], int], names: Iterable[str]) -> frozenset[int]:
    """The numbers of users or groups, which are given by name or number."""
    try:
        return frozenset(map(number_of, names))
    except ValueError as error:
        allowed = f"users and groups of this machine, by name, or by number up to {owners.MAX_ID}"
        raise ValueError(f"{allowed}; {error}") from None


def _network(text: str) -> Network:
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(ipaddress.IPv6Network("::ffff:0:0/96")):
        raise ValueError(f"{text} is IPv4 within IPv6, which is to be written as IPv4")
    return network


def _lower(tls_name: str) -> str:
    return tls_name.translate(_ASCII_LOWER)


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return _compiled(patterns).fullmatch(name) is not None


@lru_cache(1024)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """An expression for what one of some patterns matches, which takes time linear in the length of a name.

    It takes what is between two stars where it comes first, and never goes back.
    """
    expressions = []
    for pattern in patterns:
        first, *between = map(re.escape, pattern.split("*"))
        last = ".*" + between.pop() if between else ""
        expressions.append(first + "".join(f"(?>.*?{part})" for part in between if part) + last)
    return re.compile("|".join(expressions) if patterns else "(?!)", re.DOTALL)
