"""What a caller may call: decides by all rules together, and caches the decisions."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.patterns import matches
from jsonrpcs_tx.access.rules import Rule
from jsonrpcs_tx.addresses import address_of
from jsonrpcs_tx.protocols import PROTOCOLS, Protocol

MAX_CALLERS: Final = 4096
"""Size of the cache from callers to the rules that fit them."""

MAX_DECISIONS: Final = 16_384
"""Size of the cache of decisions."""

MAX_METHOD: Final = 128
"""Characters of a method's name above which the decision is not cached, so that long names do not fill the memory."""

_ALL: Final = ("*",)


class AccessControl:
    """Decides who may call what.

    A cached decision costs well under a microsecond. The caches are bounded, see L{MAX_CALLERS},
    L{MAX_DECISIONS} and L{MAX_METHOD}.

    @param rules: all rules; their order does not matter.
    @param transports: the transports that callers may use, by name.
    @ivar transports: the same; rules name them.
    @ivar rules: the rules.
    @ivar trivial: whether there are no rules: callers on this machine, and those over transports of the program's own,
        may call everything, and others nothing.
    @ivar facts: what some rule asks for besides transport and address: some of C{user}, C{tls}, C{uid} and C{gid}.
        Transports need to find out nothing else.
    """

    def __init__(self, rules: Iterable[Rule] = (), transports: Mapping[str, Protocol] = PROTOCOLS) -> None:
        self.transports = transports
        self._patterns = lru_cache(MAX_CALLERS)(self._find_patterns)
        self._known = lru_cache(MAX_DECISIONS)(self._decide)
        self.replace(rules)

    def replace(self, rules: Iterable[Rule]) -> None:
        """Decide by other rules from now on. A L{Caller} that was made before must be made again, since other facts may
        be asked for.
        """
        self.rules: tuple[Rule, ...] = tuple(rules)
        self.trivial: bool = not self.rules
        self.facts: frozenset[str] = frozenset().union(*(rule.facts for rule in self.rules))
        self._patterns.cache_clear()
        self._known.cache_clear()

    def allows(self, caller: Caller, method: str) -> bool:
        """Whether a caller may call a method.

        @param method: the name of a command, or any other.
        @raise ValueError: the caller's address is not an IP address.
        """
        return self._known(caller, method) if len(method) <= MAX_METHOD else self._decide(caller, method)

    def admits(self, caller: Caller) -> bool:
        """Whether a caller may call anything. If not, its requests need not be read.

        @return: False only if each pattern that the caller is allowed is within one that the caller is denied.
        @raise ValueError: the caller's address is not an IP address.
        """
        allow, deny = self._patterns(caller)
        # A pattern of denied methods that matches the text of another pattern, stars and all, matches all of that one.
        return not all(matches(deny, pattern) for pattern in allow)

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

    def _find_patterns(self, caller: Caller) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The patterns of methods that a caller is allowed, and of those that it is denied."""
        rules = [rule for rule in self.rules if rule.fits(caller)]
        allow = tuple(pattern for rule in rules for pattern in rule.allow)
        deny = tuple(pattern for rule in rules for pattern in rule.deny)
        inside = caller.is_local() or (self.trivial and caller.transport not in PROTOCOLS)  # the program admits it
        by_default = inside and not any(rule.allow and rule.is_for(caller.transport) for rule in self.rules)
        return allow or (_ALL if by_default else ()), deny

    def _decide(self, caller: Caller, method: str) -> bool:
        allow, deny = self._patterns(caller)
        return matches(allow, method) and not matches(deny, method)
