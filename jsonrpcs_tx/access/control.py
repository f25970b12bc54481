"""What a caller may call: decides by all rules together, and caches the decisions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.calls import CallPattern, Parameters
from jsonrpcs_tx.access.patterns import matches
from jsonrpcs_tx.access.roles import ROLES, UNKNOWN, catalogued_effect
from jsonrpcs_tx.access.rules import Rule
from jsonrpcs_tx.addresses import address_of
from jsonrpcs_tx.protocols import PROTOCOLS, Protocol

MAX_CALLERS: Final = 4096
"""Size of the cache from callers to the rules that fit them."""

MAX_DECISIONS: Final = 16_384
"""Size of the cache of decisions."""

MAX_METHOD: Final = 128
"""Characters of a method's name above which the decision is not cached, so that long names do not fill the memory."""

NO_NODES: Final[frozenset[str]] = frozenset()
"""Calls of this server's own commands go to no node."""

_ALL: Final = ("*",)


class _Rights(NamedTuple):
    """What a caller may call, on one node or on this server.

    @ivar allow: patterns of methods that it is allowed.
    @ivar deny: the same, for what it is denied.
    @ivar allow_calls: calls that it is allowed.
    @ivar deny_calls: the same, for what it is denied.
    @ivar effects: what methods may do that it is allowed.
    """

    allow: tuple[str, ...]
    deny: tuple[str, ...]
    allow_calls: tuple[CallPattern, ...]
    deny_calls: tuple[CallPattern, ...]
    effects: frozenset[str]


class _ByParameters(NamedTuple):
    """A decision about a method that depends on the parameters.

    @ivar allow: one of these allows the call; empty: it is allowed anyhow.
    @ivar deny: any of these denies it.
    """

    allow: tuple[Parameters, ...]
    deny: tuple[Parameters, ...]

    def made(self, params: Sequence[Any] | Mapping[str, Any], method: str | None) -> bool:
        """The decision; see L{Parameters}."""
        allowed = not self.allow or any(one.allow(params, method) for one in self.allow)
        return allowed and not any(one.deny(params, method) for one in self.deny)

    def allows_some(self) -> bool:
        """Whether there may be parameters with which the call is allowed: none of those that are denied are all."""
        return not any(all(pattern.is_any for pattern in one.values) for one in self.deny)


class AccessControl:
    """Decides who may call what.

    A cached decision costs well under a microsecond. The caches are bounded, see L{MAX_CALLERS},
    L{MAX_DECISIONS} and L{MAX_METHOD}.

    @param rules: all rules; their order does not matter.
    @param transports: the transports that callers may use, by name.
    @param effect_of: tells, for roles, what one of this server's own commands does: an effect of the catalogue, or
        L{jsonrpcs_tx.access.roles.UNKNOWN}.
    @ivar transports: the same; rules name them.
    @ivar rules: the rules.
    @ivar trivial: whether there are no rules: callers on this machine, and those over transports of the program's own,
        may call everything, and others nothing.
    @ivar facts: what some rule asks for besides transport and address: some of C{user}, C{tls}, C{uid} and C{gid}.
        Transports need to find out nothing else.
    @ivar sure: callers with methods of this server that they may call, whatever the parameters: some of those that were
        asked for since the rules came, at most L{MAX_DECISIONS}. To look a pair up here takes a quarter of the time of
        L{allows}; what is not here may be allowed nevertheless.
    @ivar asks_params: whether some rule asks for parameters; if not, L{allows} need not be told of them.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        transports: Mapping[str, Protocol] = PROTOCOLS,
        effect_of: Callable[[str], str] = catalogued_effect,
    ) -> None:
        self.transports = transports
        self._effect_of = effect_of
        self._rights = lru_cache(MAX_CALLERS)(self._find_rights)
        self._known = lru_cache(MAX_DECISIONS)(self._decide)
        self.sure: set[tuple[Caller, str]] = set()
        self.replace(rules)

    def replace(self, rules: Iterable[Rule]) -> None:
        """Decide by other rules from now on. A L{Caller} that was made before must be made again, since other facts may
        be asked for.
        """
        self.rules: tuple[Rule, ...] = tuple(rules)
        self.trivial: bool = not self.rules
        self.facts: frozenset[str] = frozenset().union(*(rule.facts for rule in self.rules))
        self.asks_params: bool = any(rule.allow_calls or rule.deny_calls for rule in self.rules)
        self._asks_effect = any(rule.roles for rule in self.rules)
        self._by_method = not (self.asks_params or self._asks_effect)
        self._rights.cache_clear()
        self._known.cache_clear()
        self.sure.clear()

    def allows(
        self,
        caller: Caller,
        method: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        nodes: frozenset[str] = NO_NODES,
    ) -> bool:
        """Whether a caller may call a method.

        @param method: the name of a command, or any other.
        @param params: the decoded values of its parameters; see L{Parameters.allow}. They count only if C{asks_params}.
        @param nodes: the names of the node that gets the call and of its groups; empty: it is for this server.
        @raise ValueError: the caller's address is not an IP address.
        """
        if self._by_method and not nodes:
            if len(method) > MAX_METHOD:
                return self._decide(caller, method) is True
            allowed = self._known(caller, method) is True
            if allowed:
                if len(self.sure) >= MAX_DECISIONS:
                    self.sure.clear()
                self.sure.add((caller, method))
            return allowed
        decide = self._known if len(method) <= MAX_METHOD else self._decide
        decision = decide(caller, method, nodes, self._effect(method, nodes))
        if type(decision) is _ByParameters:
            return decision.made(params, method if nodes else None)
        return decision is True

    def allows_some(self, caller: Caller, method: str, nodes: frozenset[str] = NO_NODES) -> bool:
        """Whether a caller may call a method with some parameters, whichever these are. Nothing is cached, so that many
        methods can be asked for.

        @param nodes: see L{allows}.
        @raise ValueError: the caller's address is not an IP address.
        """
        decision = self._decide(caller, method, nodes, self._effect(method, nodes))
        return decision if type(decision) is bool else decision.allows_some()

    def admits(self, caller: Caller, nodes: frozenset[str] = NO_NODES) -> bool:
        """Whether a caller may call anything. If not, its requests need not be read.

        @param nodes: the names of one node and of its groups; empty: on this server, or on any node.
        @return: False only if each pattern that the caller is allowed is within one that the caller is denied.
        @raise ValueError: the caller's address is not an IP address.
        """
        rights = self._rights(caller, nodes)
        allow = (*rights.allow, *(call.method for call in rights.allow_calls))
        # A pattern of denied methods that matches the text of another pattern, stars and all, matches all of that one.
        if not all(matches(rights.deny, pattern) for pattern in (*allow, *(_ALL if rights.effects else ()))):
            return True
        return not nodes and any(rule.nodes and rule.allows_some and rule.fits(caller) for rule in self.rules)

    def covers(self, transport: str, address: str | None) -> bool:
        """Whether a listener may be opened: only callers on this machine can reach it, or a rule allows others
        something.

        @param transport: one of C{transports}.
        @param address: IP address that is listened on; C{0.0.0.0}, C{::} or empty: all addresses; None: a file.
        @raise ValueError: the address is not an IP address.
        """
        if address is None or (address and address_of(address).is_loopback):
            return True
        return any(rule.opens(transport) for rule in self.rules)

    def _effect(self, method: str, nodes: frozenset[str]) -> str:
        """What a method does, if some rule asks for that."""
        if not self._asks_effect:
            return UNKNOWN
        return catalogued_effect(method) if nodes else self._effect_of(method)

    def _find_rights(self, caller: Caller, nodes: frozenset[str]) -> _Rights:
        """Put together what the rules say of a caller. Callers on this machine may call everything by default; a rule
        that allows anybody anything over a transport ends that there, which closes the transport to all others.
        """
        rules = [rule for rule in self.rules if rule.fits(caller)]
        allowing = [rule for rule in rules if rule.is_about(nodes, denies=False)]
        denying = [rule for rule in rules if rule.is_about(nodes, denies=True)]
        inside = caller.is_local() or (self.trivial and caller.transport not in PROTOCOLS)  # the program admits it
        by_default = inside and not any(rule.allows_some and rule.is_for(caller.transport) for rule in self.rules)
        return _Rights(
            allow=_ALL if by_default else tuple(pattern for rule in allowing for pattern in rule.allow),
            deny=tuple(pattern for rule in denying for pattern in rule.deny),
            allow_calls=tuple(call for rule in allowing for call in rule.allow_calls),
            deny_calls=tuple(call for rule in denying for call in rule.deny_calls),
            effects=frozenset().union(*(ROLES[role] for rule in allowing for role in rule.roles)),
        )

    def _decide(
        self, caller: Caller, method: str, nodes: frozenset[str] = NO_NODES, effect: str = UNKNOWN
    ) -> bool | _ByParameters:
        rights = self._rights(caller, nodes)
        if matches(rights.deny, method):
            return False
        allowed = effect in rights.effects or matches(rights.allow, method)
        allow = () if allowed else _parameters(rights.allow_calls, method)
        if not (allowed or allow):
            return False
        deny = _parameters(rights.deny_calls, method)
        return _ByParameters(allow, deny) if allow or deny else True


def _parameters(calls: Iterable[CallPattern], method: str) -> tuple[Parameters, ...]:
    """The parameters with which calls of a method are meant."""
    return tuple(call.parameters for call in calls if call.parameters is not None and matches((call.method,), method))
