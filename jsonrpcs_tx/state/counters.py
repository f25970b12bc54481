"""Counters in groups, like Kamailio's statistics: numbers that programs increment and operators read."""

from collections.abc import Callable, Container

import attrs

from jsonrpcs_tx.state.places import place_outside


@attrs.define(eq=False)
class Counter:
    """A number that only grows: add to C{value}.

    @ivar help: what it counts.
    @ivar value: the count.
    """

    group: str
    name: str
    help: str = ""
    value: int = 0

    def read(self) -> int:
        """The number now."""
        return self.value

    def reset(self) -> None:
        """Count from 0 again."""
        self.value = 0


@attrs.define(eq=False)
class Gauge:
    """A number that is determined when it is read.

    @ivar help: what it says.
    @ivar read: determines it.
    """

    group: str
    name: str
    help: str
    read: Callable[[], int]

    def reset(self) -> None:
        """Do nothing: a gauge does not count."""


class Counters:
    """All counters and gauges, by group and name.

    @ivar sources: called before counters are read, to add what was counted elsewhere.
    """

    def __init__(self) -> None:
        self.sources: list[Callable[[], None]] = []
        self._groups: dict[str, dict[str, Counter | Gauge]] = {}
        self._places: dict[tuple[str, str], str] = {}

    def counter(self, group: str, name: str, help: str = "", replace: bool = False) -> Counter:
        """Make a counter.

        @param group: C{shop} in C{shop:orders}; without colons and dots, which separate it from the name.
        @param name: C{orders} in C{shop:orders}.
        @param replace: it replaces one of that name, which goes on counting unseen.
        @raise ValueError: the name is taken, and the message says by whom; or a name is not allowed.
        """
        counter = Counter(group, name, help)
        self._add(counter, replace)
        return counter

    def gauge(self, group: str, name: str, help: str, read: Callable[[], int], replace: bool = False) -> None:
        """Make a gauge; see L{counter} for the parameters, and L{Gauge}.

        @raise ValueError: the name is taken, and the message says by whom; or a name is not allowed.
        """
        self._add(Gauge(group, name, help, read), replace)

    def remove(self, group: str, name: str | None = None) -> None:
        """Remove a counter or gauge, or a whole group; programs that still hold a counter may go on counting unseen.

        @param name: None: all of the group.
        @raise ValueError: there is no such group, or it has no counter of that name.
        """
        names = self._groups.get(group, {})
        removed = [*names] if name is None else [one for one in names if one == name]
        if not removed:
            raise ValueError(f"counter {group}:{name or '*'}: there is no such counter")
        for one in removed:
            del names[one], self._places[group, one]
        if not names:
            del self._groups[group]

    def _add(self, counter: Counter | Gauge, replace: bool) -> None:
        for name in (counter.group, counter.name):
            if not name or not name.isprintable() or set(name) & set(":. "):
                raise ValueError(f"counter {name!r}: must be printable text without blanks, ':' and '.'")
        key = counter.group, counter.name
        if key in self._places and not replace:
            raise ValueError(f"counter {counter.group}:{counter.name}: registered before by {self._places[key]}")
        self._groups.setdefault(counter.group, {})[counter.name] = counter
        self._places[key] = place_outside(__name__)

    def groups(self) -> list[str]:
        """The names of all groups, sorted."""
        return sorted(self._groups)

    def all(self) -> list[Counter | Gauge]:
        """All counters and gauges, group by group in the order in which they were added."""
        self._collect()
        return [one for names in self._groups.values() for one in names.values()]

    def group(self, name: str) -> list[Counter | Gauge]:
        """The counters of a group, sorted by name; empty if there is no such group."""
        self._collect()
        return self._group(name)

    def get(self, group: str, name: str) -> Counter | Gauge | None:
        """A counter, or None if it does not exist."""
        self._collect()
        return self._groups.get(group, {}).get(name)

    def select(self, *patterns: str) -> list[Counter | Gauge]:
        """The counters that patterns name, as Kamailio's C{stats.*} take them, each once, in the order of the patterns.

        The time it takes grows with the sum of counters and patterns, not with their product.

        @param patterns: each is C{all}, a group (C{core:}), or a name in any group (C{rcv_requests}).
        """
        self._collect()
        found: dict[Counter | Gauge, None] = {}
        wanted = dict.fromkeys(patterns)
        by_name = self._by_name(wanted) if len(wanted) > 1 or "all" not in wanted else {}
        for pattern in wanted:
            if pattern == "all":
                for group in self.groups():
                    found.update(dict.fromkeys(self._group(group)))
            elif pattern.endswith(":"):
                found.update(dict.fromkeys(self._group(pattern[:-1])))
            else:
                found.update(dict.fromkeys(by_name.get(pattern, ())))
        return list(found)

    def _group(self, name: str) -> list[Counter | Gauge]:
        names = self._groups.get(name, {})
        return [names[key] for key in sorted(names)]

    def _by_name(self, wanted: Container[str]) -> dict[str, list[Counter | Gauge]]:
        """The counters of each name that is wanted, by group."""
        found: dict[str, list[Counter | Gauge]] = {}
        for group in self.groups():
            for name, counter in self._groups[group].items():
                if name in wanted:
                    found.setdefault(name, []).append(counter)
        return found

    def _collect(self) -> None:
        for collect in self.sources:
            collect()


class Traffic:
    """The traffic of one transport: the counters in the group of that name."""

    __slots__ = ("bytes_received", "bytes_sent", "dropped", "replies", "requests")

    requests: Counter
    replies: Counter
    bytes_received: Counter
    bytes_sent: Counter
    dropped: Counter

    def __init__(self, counters: Counters, transport: str) -> None:
        self.requests = counters.counter(transport, "requests", "requests that arrived, each one of a batch counted")
        self.replies = counters.counter(transport, "replies", "documents that were answered")
        self.bytes_received = counters.counter(transport, "bytes_received", "bytes of the documents that arrived")
        self.bytes_sent = counters.counter(transport, "bytes_sent", "bytes of the replies to them")
        self.dropped = counters.counter(transport, "dropped", "replies that could not be delivered")
