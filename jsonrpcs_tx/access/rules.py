"""Who may call what: rules that allow methods to callers, or deny them.

A rule is one line: whom it is for, then what they are allowed, what they are denied, or both::

    udp 192.0.2.0/24 allow dispatcher.* core.ps deny core.kill
    https tls=ops.example.com allow *
    http https user=ann allow stats.* deny *.reset*
    unix gid=adm allow core.*
    any deny core.kill
    https user=shop allow htable.sets ban_table *
    https tls=noc.example.com node=edge role read

Whom it is for: names of transports, or C{any}; addresses and networks; C{user=}, C{tls=}, C{uid=} and C{gid=}; in any
order. A rule fits a caller if, of each kind of condition that it has, one fits. C{any}, or no transport, means every
transport that can know what the rule asks for, those of the program's own included. In methods, users, TLS names and
nodes C{*} stands for any number of characters. Case matters, except for ASCII letters in TLS names.

What it allows or denies: methods, with values for their parameters where they matter (L{jsonrpcs_tx.access.calls});
C{role} allows what the methods of a role do (L{jsonrpcs_tx.access.roles}).

C{node=} names nodes of a gateway, or groups of them. With it, a rule is for calls to these nodes only. Without it, what
a rule allows are this server's own commands, and what it denies is denied on all nodes as well.

The rules decide together; their order does not matter:

  1. A method that a rule for the caller denies is forbidden.
  2. Otherwise a method that a rule for the caller allows may be called.
  3. Otherwise, if any rule allows anything to anybody over the caller's transport, the method is forbidden.
  4. Otherwise callers on this machine may call it (those without an address, as over the FIFO, a Unix socket or from
     the program itself, and those from a loopback address), and others may not.

So one rule with C{allow} closes its transport to everybody that no rule allows anything, and C{deny} never opens one.
"""

import ipaddress
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import attrs

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.calls import CallPattern, Parameters, check_characters, check_comment, read_calls, split
from jsonrpcs_tx.access.patterns import matches
from jsonrpcs_tx.access.roles import ROLES
from jsonrpcs_tx.addresses import Network, is_in
from jsonrpcs_tx.catalogue import nearest
from jsonrpcs_tx.errors import SettingError
from jsonrpcs_tx.files import owners
from jsonrpcs_tx.protocols import FACTS, PROTOCOLS, Protocol, knowing

FORM: Final = (
    "TRANSPORT NETWORK user=NAME tls=NAME uid=USER gid=GROUP (one at least) node=NAME "
    f"role {'|'.join(ROLES)} allow METHOD... deny METHOD..."
)
"""What a rule looks like, in words."""

_KEYWORDS: Final = ("allow", "deny", "role")
_FIRST_KEYWORD: Final = re.compile(rf"(?<!\S)(?:{'|'.join(_KEYWORDS)})(?!\S)")

_IN_NO_METHOD: Final = re.compile(r'[][?()"|{}^$\\]|//')
"""What no method has in its name, but patterns of other kinds have, which are not understood here."""

_ASCII_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
"""Lower case for TLS names. Unicode's rules would make different letters equal, such as K and the Kelvin sign."""


@attrs.frozen
class Rule:
    """Whom a rule is for, and what it allows or denies. Made by L{read_rule}.

    @ivar transports: the names of the transports that it is for.
    @ivar networks: the networks that it is for; empty: all, and callers without an address.
    @ivar users: patterns of HTTP users; empty: everybody, as in the next three.
    @ivar tls_names: patterns of names in the client's certificate, in lower case.
    @ivar uids: users at the other end of a Unix socket.
    @ivar gids: their groups.
    @ivar nodes: patterns of names of nodes and their groups; empty: see the documentation of this module.
    @ivar allow: patterns of methods that may be called with any parameters.
    @ivar deny: the same, for what is denied.
    @ivar allow_calls: methods that may be called with some parameters.
    @ivar deny_calls: the same, for what is denied.
    @ivar roles: names of roles.
    @ivar text: the rule as it was written.
    @ivar file: the file that it comes from; empty: it comes from a setting.
    @ivar line: the number of its line in the file.
    """

    transports: frozenset[str]
    networks: tuple[Network, ...] = ()
    users: tuple[str, ...] = ()
    tls_names: tuple[str, ...] = ()
    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    allow_calls: tuple[CallPattern, ...] = ()
    deny_calls: tuple[CallPattern, ...] = ()
    roles: frozenset[str] = frozenset()
    text: str = attrs.field(default="", eq=False)
    file: str = attrs.field(default="", eq=False)
    line: int = attrs.field(default=0, eq=False)

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
            and (not self.users or (caller.user is not None and matches(self.users, caller.user)))
            and (not self.tls_names or any(matches(self.tls_names, _lower(name)) for name in caller.tls_names))
            and (not self.uids or caller.uid in self.uids)
            and (not self.gids or caller.gid in self.gids)
        )

    def is_for(self, transport: str) -> bool:
        """Whether it is for some callers over a transport."""
        return transport in self.transports

    def is_about(self, nodes: frozenset[str], denies: bool) -> bool:
        """Whether what it allows, or denies, is so on a node.

        @param nodes: the names of the node and its groups; empty: this server itself.
        """
        if not self.nodes:
            return denies or not nodes
        return any(matches(self.nodes, name) for name in nodes)

    @property
    def allows_some(self) -> bool:
        """Whether it allows anything."""
        return bool(self.allow or self.allow_calls or self.roles)

    def opens(self, transport: str) -> bool:
        """Whether it allows some caller that is not on this machine anything over a transport."""
        only_local = self.networks and all(network.is_loopback for network in self.networks)
        return self.allows_some and self.is_for(transport) and not (only_local or self.uids or self.gids)


def read_rule(text: str, known: Mapping[str, Protocol] = PROTOCOLS) -> Rule:
    """Read a rule, as the documentation of this module describes it.

    @param text: one line. Names of users and groups of this machine are looked up now.
    @param known: the transports by name; see L{jsonrpcs_tx.protocols.with_own}.
    @raise SettingError: of the setting C{rule}: the text is not a rule, a user or group does not exist, or the rule
        could fit no caller, since a transport does not know what it asks for.
    """
    try:
        whom, rights = _split(text)
        conditions = _read_conditions(whom, known)
        if not rights:
            raise ValueError(f"allow, deny or role after whom it is for: {FORM}")
        return attrs.evolve(_build(conditions, rights, known), text=text)
    except ValueError as error:
        raise SettingError("rule", text, str(error)) from None


@attrs.frozen
class _Conditions:
    """Whom a rule is for, word by word.

    @ivar transports: names of transports, and C{any}.
    @ivar facts: what follows the equals sign, by C{user}, C{tls}, C{uid} and C{gid}.
    @ivar nodes: what follows C{node=}.
    """

    transports: set[str]
    networks: list[Network]
    facts: dict[str, list[str]]
    nodes: list[str]


def _split(text: str) -> tuple[list[str], dict[str, list[str]]]:
    """Split a rule into whom it is for, and the words after each of its keywords.

    @raise ValueError: something is missing, or not allowed; the message says what is allowed. This is also true of the
        functions below.
    """
    check_characters(text)
    keyword = _FIRST_KEYWORD.search(text)
    start = len(text) if keyword is None else keyword.start()
    whom = text[:start].split()
    for word in whom:
        check_comment(word)
    rights: dict[str, list[str]] = {}
    part: list[str] = []
    for word in split(text[start:]):
        check_comment(word)
        if word in _KEYWORDS:
            part = rights.setdefault(word, [])
            part.append(word)  # what comes after it is apart from what came before
        else:
            part.append(word)
    if not whom:
        raise ValueError(f"whom it is for, such as any, before {' and '.join(rights) or 'allow'}: {FORM}")
    return whom, rights


def _calls(keyword: str, words: Sequence[str], known: Iterable[str]) -> list[CallPattern]:
    """What is allowed or denied, or what both would be without the keyword.

    @param words: those after the keyword, and the keyword itself before each of its lists of them.
    """
    if words[-1] == keyword:
        raise ValueError(f"methods after {keyword}, such as core.* or *")
    for word in words:
        if word not in _KEYWORDS and word.lower() in _KEYWORDS:
            raise ValueError(f"{word.lower()}, in lower case; not {word}")
        if "(" not in word and _is_condition(word, known):
            raise ValueError(f"{word} before allow and deny, or a value in parentheses: {FORM}")
    calls: list[CallPattern] = []
    start = 1
    for place in (*(place for place, word in enumerate(words) if place and word == keyword), len(words)):
        calls += read_calls(words[start:place])
        start = place + 1
    for call in calls:
        if not re.fullmatch(r"[!-~]+", call.method) or _IN_NO_METHOD.search(call.method):
            allowed = (
                "methods in printable ASCII, * for any characters, without any of ? [ ] | { } ^ $ \\ // and quotes"
            )
            raise ValueError(f"{allowed}; parameters in parentheses, as in m(a, *); not {call.method!r}")
        if call.method.endswith("."):
            raise ValueError(
                f"whole names of methods, or {call.method}* for all that begin so, each by itself, as in core.kill "
                f"core.ps; not {call.method}{'(...)' if call.parameters else ''}"
            )
        if keyword == "deny" and call.parameters == Parameters(()):
            raise ValueError(
                f"deny {call.method}, which denies it with any parameters and without; not {call.method}()"
            )
    return calls


def _roles(words: Sequence[str]) -> frozenset[str]:
    names, keywords = words[1::2], words[::2]
    if len(names) != len(keywords) or not ROLES.keys() >= {*names} or {*keywords} != {"role"}:
        near = [one for name in names if name not in ROLES for one in nearest(name, tuple(ROLES), 1)]
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"role {' or role '.join(ROLES)}, one name after each; not {' '.join(words)!r:.100}{meant}")
    return frozenset(names)


def _read_conditions(words: Iterable[str], known: Iterable[str]) -> _Conditions:
    conditions = _Conditions(set(), [], {"user": [], "tls": [], "uid": [], "gid": []}, [])
    for word in words:
        fact, _, value = word.partition("=")
        if word == "any" or word in known:
            conditions.transports.add(word)
        elif fact in conditions.facts and value:
            conditions.facts[fact].append(value)
        elif fact == "node" and value:
            conditions.nodes.append(value)
        else:
            try:
                conditions.networks.append(_network(word))
            except ValueError as error:
                names = ("any", *sorted(known), *(f"{name}=" for name in (*conditions.facts, "node")))
                raise ValueError(f"{', '.join(names)} or a network; {_mistake(word, names, error)}") from None
    if not (conditions.transports or conditions.networks or any(conditions.facts.values())):
        raise ValueError(f"whom it is for beside node=, such as any: {FORM}")
    return conditions


def _mistake(word: str, names: Sequence[str], error: ValueError) -> str:
    """What is wrong with a word that is no condition.

    @param names: of the conditions.
    @param error: why it is no network.
    """
    name, equals, _ = word.partition("=")
    if word in names:
        return f"nothing follows {word}"
    if not equals and re.fullmatch(r"[0-9][0-9.]*(/.*)?|.*:.*", word):
        return str(error)
    near = nearest(name + equals, (*names, *_KEYWORDS), 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"no such word: {name}{equals}{meant}"


def _build(conditions: _Conditions, rights: Mapping[str, Sequence[str]], known: Mapping[str, Protocol]) -> Rule:
    allow, deny = (_calls(word, rights[word], known) if word in rights else [] for word in ("allow", "deny"))
    named, networks, facts = conditions.transports, conditions.networks, conditions.facts
    possible = _possible_transports(conditions, known)
    return Rule(
        transports=frozenset(possible if not named or "any" in named else named),
        networks=tuple(networks),
        users=tuple(facts["user"]),
        tls_names=tuple(map(_lower, facts["tls"])),
        uids=_numbers(owners.uid_of, facts["uid"]),
        gids=_numbers(owners.gid_of, facts["gid"]),
        nodes=tuple(conditions.nodes),
        allow=tuple(call.method for call in allow if call.parameters is None),
        deny=tuple(call.method for call in deny if call.parameters is None),
        allow_calls=tuple(call for call in allow if call.parameters is not None),
        deny_calls=tuple(call for call in deny if call.parameters is not None),
        roles=_roles(rights["role"]) if "role" in rights else frozenset(),
    )


def _possible_transports(conditions: _Conditions, known: Mapping[str, Protocol]) -> set[str]:
    """The transports that know all that a rule asks for.

    @raise ValueError: one that the rule names does not, or no transport does.
    """
    possible = {*known}
    facts = [fact for fact, values in conditions.facts.items() if values]
    for asked in ("address", *facts) if conditions.networks else facts:
        able = knowing(asked, known)
        possible &= {*able}
        for transport in sorted(conditions.transports - {"any"} - possible):
            raise ValueError(f"{FACTS[asked]} with {' or '.join(able)}, not with {transport}")
    if conditions.networks and not {"uid", "gid"}.isdisjoint(facts):
        raise ValueError("a network, or uid= and gid=, not both: callers over a Unix socket have no address")
    return possible


def _is_condition(word: str, known: Iterable[str]) -> bool:
    """Whether a word says whom a rule is for. Taken for a method, it would open the rule to everybody."""
    if word == "any" or word in known or "=" in word:
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
        raise ValueError(f"{text} is IPv4 within IPv6, which must be written as IPv4")
    return network


def _lower(tls_name: str) -> str:
    return tls_name.translate(_ASCII_LOWER)
