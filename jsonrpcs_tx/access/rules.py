"""Who may call what: rules that allow methods to callers, or deny them.

A rule is one line: whom it is for, then what is allowed to them, denied to them, or both::

    udp 192.0.2.0/24 allow dispatcher.* core.ps deny core.kill
    https tls=ops.example.com allow *
    http https user=ann allow stats.* deny *.reset*
    unix gid=adm allow core.*
    any deny core.kill

Whom it is for: names of transports, or C{any}; addresses and networks; C{user=}, C{tls=}, C{uid=} and C{gid=}; in any
order. Of each kind that is there, one must fit. In methods, users and TLS names C{*} stands for any characters, or for
none; case counts, but not in TLS names.

All rules that fit a caller count together, in no order: a method is allowed that one of them allows and none denies.
Where no rule allows anything over a transport and from a network, whoever calls from there, callers of this machine
(of the FIFO, the Unix socket, the program itself, and loopback addresses) may call what is not denied, and others
nothing. A rule that denies never opens anything.
"""

import grp
import ipaddress
import pwd
import re
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Final

import attrs
import msgspec

from jsonrpcs_tx.addresses import Network, is_in
from jsonrpcs_tx.errors import SettingError

MAX_CALLERS: Final = 4096
"""Callers of whom is remembered which rules fit."""

MAX_DECISIONS: Final = 16_384
"""Decisions that are remembered."""

MAX_METHOD: Final = 128
"""Characters of a method's name above which the decision is not remembered, so that long names fill no memory."""

TRANSPORTS: Final = ("exec", "fifo", "http", "https", "tcp", "udp", "unix")
FORM: Final = "TRANSPORT NETWORK user=NAME tls=NAME uid=USER gid=GROUP (one at least) allow METHOD... deny METHOD..."
"""What a rule looks like, in words."""

_NETWORK: Final = "a network"
_KNOWN_OVER: Final = {
    _NETWORK: ("http", "https", "tcp", "udp"),
    "user": ("http", "https"),
    "tls": ("https",),
    "uid": ("unix",),
    "gid": ("unix",),
}
"""The transports that know what a rule may ask for."""

_ALL: Final = ("*",)
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_MOST_ID: Final = 2**32 - 2


class Caller(msgspec.Struct, frozen=True, cache_hash=True):
    """What a transport knows of who calls. Where it can be, one is made for a connection, not for each request.

    @ivar transport: one of L{TRANSPORTS}.
    @ivar address: IP address; None for callers that have none, as those of a Unix socket, who are of this machine.
    @ivar user: the user that HTTP authentication has verified; None where there was none.
    @ivar tls_names: the names in the client's certificate, which was verified.
    @ivar uid: number of the user at the other end of a Unix socket; None where it is not known.
    @ivar gid: likewise of the group: that of the process, none of the further ones that the user is in.
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

        @raise ValueError: the address is none.
        """
        return self.address is None or is_in(self.address, _LOOPBACK)


@attrs.frozen
class Rule:
    """Whom a rule is for, and what it allows or denies them. Made by L{read_rule}.

    @ivar transports: those that it is for.
    @ivar networks: those that it is for; none: all, and callers without an address.
    @ivar users: patterns of HTTP users; none: everybody. So it is with the next three.
    @ivar tls_names: patterns of names in the client's certificate, in lower case.
    @ivar uids: users at the other end of a Unix socket.
    @ivar gids: their groups.
    @ivar allow: patterns of methods.
    @ivar deny: likewise.
    """

    transports: frozenset[str]
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

        @raise ValueError: the caller's address is none.
        """
        return (
            self.reaches(caller)
            and (not self.users or (caller.user is not None and _matches(self.users, caller.user)))
            and (not self.tls_names or any(_matches(self.tls_names, name.lower()) for name in caller.tls_names))
            and (not self.uids or caller.uid in self.uids)
            and (not self.gids or caller.gid in self.gids)
        )

    def reaches(self, caller: Caller) -> bool:
        """Whether it is for somebody over the transport and from the network of a caller.

        @raise ValueError: the caller's address is none.
        """
        in_network = not self.networks or (caller.address is not None and is_in(caller.address, self.networks))
        return caller.transport in self.transports and in_network

    def opens(self, transport: str) -> bool:
        """Whether it allows anything, over a transport, to some caller who is not of this machine."""
        only_local = self.networks and all(network.is_loopback for network in self.networks)
        return bool(self.allow) and transport in self.transports and not only_local


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
        @raise ValueError: the caller's address is none.
        """
        return self._known(caller, method) if len(method) <= MAX_METHOD else self._decide(caller, method)

    def admits(self, caller: Caller) -> bool:
        """Whether a caller may call anything. Where not, a datagram needs no answer, be it only an error.

        @raise ValueError: the caller's address is none.
        """
        allow, deny = self._patterns(caller)
        return bool(allow) and "*" not in deny

    def covers(self, transport: str, address: str | None) -> bool:
        """Whether a listener may be opened: only callers of this machine reach it, or a rule allows others something.

        @param transport: one of L{TRANSPORTS}.
        @param address: IP address that is listened on; C{0.0.0.0}, C{::} or empty: all; None: it is a file.
        @raise ValueError: the address is none.
        """
        if address is None or (address and is_in(address, _LOOPBACK)):
            return True
        return any(rule.opens(transport) for rule in self._rules)

    def _find_patterns(self, caller: Caller) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The patterns of what a caller is allowed, and of what is denied."""
        rules = [rule for rule in self._rules if rule.fits(caller)]
        allow = tuple(pattern for rule in rules for pattern in rule.allow)
        deny = tuple(pattern for rule in rules for pattern in rule.deny)
        by_default = caller.is_local() and not any(rule.allow and rule.reaches(caller) for rule in self._rules)
        return allow or (_ALL if by_default else ()), deny

    def _decide(self, caller: Caller, method: str) -> bool:
        allow, deny = self._patterns(caller)
        return _matches(allow, method) and not _matches(deny, method)


def read_rule(text: str) -> Rule:
    """Read a rule; the documentation of this module says what it looks like.

    @param text: one line. Names of users and groups of this machine are looked up now.
    @raise SettingError: of the setting C{rule}: the text is no rule, a user or group does not exist, or no caller would
        ever fit, since a transport does not know what is asked for.
    """
    bad = partial(SettingError, "rule", text)
    whom: list[str] = []
    methods: dict[str, list[str]] = {}
    part = whom
    for word in text.split():
        if word in ("allow", "deny"):
            part = methods.setdefault(word, [])
        else:
            part.append(word)
    if not whom or not methods:
        raise bad(FORM)
    for keyword, patterns in methods.items():
        if not patterns:
            raise bad(f"methods after {keyword}, such as core.* or *")
        for pattern in patterns:
            if _is_condition(pattern):
                raise bad(f"{pattern} before allow and deny: {FORM}")
            if not re.fullmatch(r"[!-~]+", pattern) or re.search(r"[][?]", pattern):
                raise bad(f"methods in printable ASCII, * for any characters, without '?', '[', ']'; not {pattern!r}")

    named: set[str] = set()
    networks: list[Network] = []
    facts: dict[str, list[str]] = {"user": [], "tls": [], "uid": [], "gid": []}
    for word in whom:
        fact, _, value = word.partition("=")
        if word == "any" or word in TRANSPORTS:
            named.add(word)
        elif fact in facts and value:
            facts[fact].append(value)
        else:
            try:
                networks.append(_network(word))
            except ValueError as error:
                raise bad(f"any, {', '.join(TRANSPORTS)}, user=, tls=, uid=, gid= or a network; {error}") from None

    possible = set(TRANSPORTS)
    for asked in ((_NETWORK,) if networks else ()) + tuple(fact for fact, values in facts.items() if values):
        possible &= set(_KNOWN_OVER[asked])
        for transport in sorted(named - {"any"} - possible):
            raise bad(f"{asked} with {' or '.join(_KNOWN_OVER[asked])}, not with {transport}")
    if not possible:
        raise bad(
            "what one transport can know: uid and gid of unix, a network and user of http, these and tls of https"
        )
    try:
        return Rule(
            transports=frozenset(possible if "any" in named or not named else named),
            networks=tuple(networks),
            users=tuple(facts["user"]),
            tls_names=tuple(name.lower() for name in facts["tls"]),
            uids=frozenset(_number(user, lambda name: pwd.getpwnam(name).pw_uid) for user in facts["uid"]),
            gids=frozenset(_number(group, lambda name: grp.getgrnam(name).gr_gid) for group in facts["gid"]),
            allow=tuple(methods.get("allow", ())),
            deny=tuple(methods.get("deny", ())),
        )
    except KeyError as error:
        raise bad(
            f"users and groups of this machine, by name, or by number up to {_MOST_ID}; {error.args[0]}"
        ) from None


def _is_condition(word: str) -> bool:
    """Whether a word says whom a rule is for; as a method it would leave the rule open to all others."""
    if word == "any" or word in TRANSPORTS or "=" in word:
        return True
    try:
        ipaddress.ip_network(word, strict=False)
    except ValueError:
        return False
    return True


def _number(owner: str, look_up: Callable[[str], int]) -> int:
    """The number of a user or group.

    @raise KeyError: there is none; the first argument says so.
    """
    if not re.fullmatch("[0-9]+", owner):
        try:
            return look_up(owner)
        except KeyError:
            raise KeyError(f"{owner!r} does not exist") from None
    if len(owner) > 10 or int(owner) > _MOST_ID:
        raise KeyError(f"{owner} is too high")
    return int(owner)


def _network(text: str) -> Network:
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(ipaddress.IPv6Network("::ffff:0:0/96")):
        raise ValueError(f"{text} is IPv4 within IPv6, which is to be written as IPv4")
    return network


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
