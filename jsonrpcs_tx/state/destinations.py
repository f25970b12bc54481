"""Sets of destinations, their states, and how one is picked, as Kamailio's dispatcher module has them.

A program that has calls to spread over servers uses them like this::

    sets = DestinationSets()
    sets.load("dispatcher.list")
    sets[1].by_hash("bob").uri
"""

import random
import re
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from io import StringIO
from itertools import accumulate, count
from typing import Any, ClassVar, Final

import attrs
import msgspec
from twisted.internet.defer import Deferred

from jsonrpcs_tx.config.problems import FIRST, Problems
from jsonrpcs_tx.errors import JsonRpcsError, NotAllowed
from jsonrpcs_tx.files.safefiles import open_regular
from jsonrpcs_tx.state.latency import Latency
from jsonrpcs_tx.state.sharing import Shareable, after
from jsonrpcs_tx.state.strings import hash_words, words_of

INACTIVE: Final = 1
TRYING: Final = 2
DISABLED: Final = 4
PROBING: Final = 8
NO_DNS: Final = 16
NEVER_PINGED: Final = 32
MOST_FLAGS: Final = 63
"""The bits of a state, which are the flags of the list file, and all of them."""

MOST_ATTRIBUTES: Final = 10_000
"""Characters that the attributes of a destination may have in total."""

MOST_URI: Final = 1_000
"""Characters that the URI of a destination may have."""

WEIGHT_SLOTS: Final = 100
"""The number of slots that weights divide among destinations."""

_DEAD: Final = INACTIVE | DISABLED
_STATES: Final = {"i": INACTIVE, "0": INACTIVE, "a": 0, "1": 0, "d": DISABLED, "2": DISABLED, "t": TRYING, "3": TRYING}
_URI = re.compile(
    r"sips?:(?:[^\s\0-\x1f\x7f@<>]*@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s\0-\x1f\x7f:;?@<>\[\]]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<rest>[;?][^\s\0-\x1f\x7f]*)?"
)
_TRANSPORT = re.compile(r";transport=(\w+)", re.IGNORECASE)
_RATES: Final = frozenset(("ocmin", "ocmax", "ocrate"))
_NUMBERS: Final = frozenset(("maxload", "weight", "rweight", "latency")) | _RATES
_TEXTS: Final = frozenset(("duid", "socket", "sockname", "ping_socket", "obproxy"))
_UNSIGNED = re.compile("[0-9]{1,10}")
_NUMBER = re.compile("[+-]?(?:[0-9]{1,10}|0[xX][0-9A-Fa-f]{1,8})")


class DestinationError(NotAllowed):
    """A destination, a state or a list of destinations is invalid."""


class NoDestination(JsonRpcsError, LookupError):
    """There is no such set, or none of its destinations is live."""


class NoSet(NoDestination, KeyError):
    """There is no such set. It is also a KeyError, as mappings raise, so that C{get} works as usual."""

    def __str__(self) -> str:
        return LookupError.__str__(self)


class Attributes(msgspec.Struct, frozen=True, gc=False):
    """What is known about a destination besides its address.

    @ivar body: all of them as one word: C{name=value}, separated by semicolons.
    @ivar weight: its share of a hundred slots.
    @ivar rweight: its share, relative to those of the others.
    @ivar ocmin: the least, C{ocmax} the most, and C{ocrate} the present rate of calls that overload control turns away,
        in per cent.
    @ivar latency: what is expected of its answers to probes, in milliseconds; 0: nothing.
    """

    body: str
    duid: str | None = None
    maxload: int = 0
    weight: int = 0
    rweight: int = 0
    socket: str | None = None
    sockname: str | None = None
    obproxy: str | None = None
    ping_socket: str | None = None
    ocmin: int = 0
    ocmax: int = 100
    ocrate: int = 0
    latency: int = 0

    @classmethod
    def parse(cls, body: str) -> "Attributes":
        """Read attributes. Unknown ones stay in the body only. Rates beyond 100 are ignored, as in Kamailio.

        @raise DestinationError: a number is invalid or not within 0 to 2147483647, or the body is longer than
            L{MOST_ATTRIBUTES}.
        """
        if len(body) > MOST_ATTRIBUTES:
            raise DestinationError(f"attributes of {len(body)} characters", f"up to {MOST_ATTRIBUTES}")
        found: dict[str, str | int] = {}
        for part in filter(None, body.split(";")):
            name, _, value = part.partition("=")
            if name in _NUMBERS:
                if not _UNSIGNED.fullmatch(value) or int(value) >= 2**31:
                    raise DestinationError(f"{name} {value!r:.60}", "0 to 2147483647")
                found[name] = int(value)
            elif name in _TEXTS:
                found[name] = value
        if not _RATES.isdisjoint(found):
            found |= _rates(**{name: value for name, value in found.items() if name in _RATES})  # type: ignore[arg-type]
        return cls(body, **found)  # type: ignore[arg-type] # the names say which are numbers


def _rates(ocmin: int = 0, ocmax: int = 100, ocrate: int = 0) -> dict[str, int]:
    """The rates of overload control, each within its limits."""
    ocmax = ocmax if 0 < ocmax <= 100 else 100
    ocmin = ocmin if ocmin <= ocmax else 0
    return {"ocmin": ocmin, "ocmax": ocmax, "ocrate": min(max(ocrate if ocrate <= 100 else 0, ocmin), ocmax)}


@attrs.define(eq=False)
class Destination:
    """A server that calls may go to.

    @ivar uri: its SIP URI.
    @ivar state: the bits of its state; changed by L{DestinationSet.set_state} only.
    @ivar priority: higher ones come first.
    @ivar unanswered: how many probes in a row were not answered.
    @ivar latency: how long it takes to answer probes, if that is measured (C{ds_ping_latency_stats}).
    @ivar number: identifies it in this process; numbers start from 1.
    @ivar flags: the state that it was loaded or added with.
    @ivar ordered: the state that it was last told to have, by its flags or by L{DestinationSets.set_state}; what probes
        have found is in C{state} only.
    @ivar host: the host of the URI, an IPv6 address without its brackets.
    @ivar port: the port of the URI; 5060 where it has none, 5061 for C{sips:}.
    @ivar protocol: the C{transport} parameter of the URI, in lower case; empty where it has none.
    """

    uri: str
    state: int = 0
    priority: int = 0
    attributes: Attributes | None = None
    unanswered: int = attrs.field(default=0, init=False)
    latency: Latency = attrs.field(init=False)
    number: int = attrs.field(factory=count(1).__next__, init=False)
    flags: int = attrs.field(init=False)
    ordered: int = attrs.field(init=False)
    host: str = attrs.field(init=False)
    port: int = attrs.field(init=False)
    protocol: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """@raise DestinationError: the URI or the flags are not allowed."""
        self.flags = self.ordered = self.state
        self.latency = Latency(self.attributes.latency if self.attributes else 0)
        if len(self.uri) > MOST_URI:
            raise DestinationError(f"URI of {len(self.uri)} characters", f"up to {MOST_URI}")
        match = _URI.fullmatch(self.uri)
        if match is None or int(match["port"] or 1) not in range(1, 65536):
            raise DestinationError(f"URI {self.uri!r:.100}", "sip:host, sip:user@host:port;parameters and sips:")
        self.host = match["host"].strip("[]")
        self.port = int(match["port"] or (5061 if self.uri.startswith("sips:") else 5060))
        transport = _TRANSPORT.search(match["rest"] or "")
        self.protocol = transport[1].lower() if transport else ""
        if not 0 <= self.state <= MOST_FLAGS:
            raise DestinationError(f"flags {self.state}", "a sum of 1, 2, 4, 8, 16 and 32")

    @property
    def live(self) -> bool:
        """Whether calls may go to it."""
        return not self.state & _DEAD

    @property
    def letters(self) -> str:
        """The state in Kamailio's two letters, C{AX} for instance."""
        first = "I" if self.state & INACTIVE else "D" if self.state & DISABLED else "T" if self.state & TRYING else "A"
        return first + ("P" if self.state & PROBING else "N" if self.state & NEVER_PINGED else "X")


class DestinationSet:
    """The destinations of one set, those of a higher priority first.

    What picking needs is computed once after each change, so that the cost of a pick does not depend on their number.
    """

    def __init__(self, id: int, destinations: Iterable[Destination] = (), rng: random.Random | None = None) -> None:
        """@param rng: the source of randomness; default: the system's."""
        self.id = id
        self._random = rng or random.SystemRandom()
        self._destinations = list(destinations)
        self._turn = -1
        self._known: _Lookup | None = None  # computed when it is needed, after each change
        self._sort()

    def __iter__(self) -> Iterator[Destination]:
        return iter(self._destinations)

    def __len__(self) -> int:
        return len(self._destinations)

    def add(self, destination: Destination) -> None:
        """Add a destination."""
        self._destinations.append(destination)
        self._sort()

    def remove(self, uri: str) -> bool:
        """Remove the destinations of a URI.

        @return: whether there was any.
        """
        before = len(self._destinations)
        self._destinations = [destination for destination in self._destinations if destination.uri != uri]
        self._known = None
        return len(self._destinations) < before

    def set_state(self, destination: Destination, state: int) -> None:
        """Set the state of a destination of this set."""
        if destination.state != state:
            destination.state = state
            self._known = None

    def by_hash(self, *keys: str) -> Destination:
        """The destination for keys (a user, a call): always the same while it is live, otherwise the next live one.

        @raise NoDestination: no destination is live.
        """
        return self._live_at(hash_keys(*keys))

    def round_robin(self) -> Destination:
        """The next destination, in turn.

        @raise NoDestination: no destination is live.
        """
        chosen = self._next_live((self._turn + 1) % max(1, len(self._destinations)))
        self._turn = chosen
        return self._destinations[chosen]

    def at_random(self) -> Destination:
        """Any destination, with equal chances.

        @raise NoDestination: no destination is live.
        """
        live = self._lookup().live
        if not live:
            raise self._none()
        return self._random.choice(live)

    def by_priority(self) -> Destination:
        """The first destination, by priority.

        @raise NoDestination: no destination is live.
        """
        return self._live_at(0)

    def by_weight(self) -> Destination:
        """A random destination, according to C{weight}; if it is not live, the next live one.

        Weights are shares of L{WEIGHT_SLOTS}; the rest goes to the last destination, as in Kamailio. Without any
        weights, all have equal chances.

        @raise NoDestination: no destination is live.
        """
        slots = self._lookup().slots
        return self._live_at(self._random.choice(slots)) if slots else self.at_random()

    def by_relative_weight(self) -> Destination:
        """A random live destination, according to C{rweight} relative to the others'; without any, all have equal
        chances.

        @raise NoDestination: no destination is live.
        """
        lookup = self._lookup()
        if not lookup.sums or not lookup.sums[-1]:
            return self.at_random()
        return lookup.live[bisect(lookup.sums, self._random.random() * lookup.sums[-1])]

    def _live_at(self, index: int) -> Destination:
        return self._destinations[self._next_live(index % max(1, len(self._destinations)))]

    def _next_live(self, index: int) -> int:
        following = self._lookup().following
        if not following:
            raise self._none()
        return following[index]

    def _none(self) -> NoDestination:
        return NoDestination(f"set {self.id}: none of {len(self)} destinations is live")

    def _sort(self) -> None:
        self._destinations.sort(key=lambda destination: -destination.priority)
        self._known = None

    def _lookup(self) -> "_Lookup":
        if self._known is None:
            self._known = _Lookup.of(self._destinations)
        return self._known


@attrs.frozen
class _Lookup:
    """What picking needs of a set.

    @ivar live: the live destinations.
    @ivar following: for each place, that of the live destination there or of the next one; empty if none is live.
    @ivar slots: the places by weight.
    @ivar sums: the relative weights of the live ones, added up.
    """

    live: list[Destination]
    following: list[int]
    slots: list[int]
    sums: list[int]

    @classmethod
    def of(cls, destinations: list[Destination]) -> "_Lookup":
        live = [destination for destination in destinations if destination.live]
        following: list[int] = []
        if live:
            following = [0] * len(destinations)
            place = next(place for place, destination in enumerate(destinations) if destination.live)
            for at in reversed(range(len(destinations))):
                place = at if destinations[at].live else place
                following[at] = place
        slots: list[int] = []
        for at, destination in enumerate(destinations):
            weight = destination.attributes.weight if destination.attributes else 0
            slots += [at] * min(weight, WEIGHT_SLOTS - len(slots))
        if slots:
            slots += [len(destinations) - 1] * (WEIGHT_SLOTS - len(slots))
        sums = accumulate(destination.attributes.rweight if destination.attributes else 0 for destination in live)
        return cls(live, following, slots, list(sums))


class DestinationSets(Shareable, Mapping[int, DestinationSet]):
    """All sets, by number.

    Where they are shared, what changes them returns a Deferred of what it returns otherwise; see L{Shareable}. What
    probes find is not shared: each server has its own view.

    @param ignored_flags: bits that are ignored in the flags with which destinations are loaded and added.
    @ivar pinging: whether destinations are probed, if probing is set up at all; a number, as C{ping_active} has it.
    """

    OPERATIONS: ClassVar[dict[str, int]] = {"put": 5, "remove": 2, "set_states": 3, "replace": 1}

    def __init__(self, rng: random.Random | None = None, ignored_flags: int = 0) -> None:
        self.pinging = 1
        self._random = rng
        self._list: bytes | None = None
        self._ignored_flags = ignored_flags
        self._sets: dict[int, DestinationSet] = {}

    def load(self, path: str, problems: Problems = FIRST) -> Deferred[None] | None:
        """Replace all sets by those of a list file.

        @param problems: takes the errors of the file.
        @raise DestinationError: the file cannot be read, or has an invalid line, which the message names; then nothing
            is changed.
        """
        with problems.noted():
            return self._load(path, _read_file(path), problems)
        return None

    def reload(self, path: str) -> Deferred[bool] | bool:
        """Replace all sets by those of a list file, unless its contents are those that were loaded. Then everything
        stays as it is now, states included.

        @return: whether they were replaced.
        @raise DestinationError: see L{load}.
        """
        data = _read_file(path)
        if data == self._list:
            return False
        return after(self._load(path, data, FIRST), lambda _: True)

    def _load(self, path: str, data: bytes, problems: Problems) -> Deferred[None] | None:
        try:
            found = read_list(StringIO(data.decode(), newline=None), path, problems)
        except UnicodeDecodeError as error:
            problems.note(DestinationError(f"{path}: {error}", "a readable list of destinations"))
            return None
        if self.share is not None:
            self._list = data
            return self.share.submit("replace", [[id, list(map(_row, found[id]))] for id in found])
        self._fill(found)
        self._list = data
        return None

    def _fill(self, found: Mapping[int, Iterable[Destination]]) -> None:
        self._sets = {id: DestinationSet(id, map(self._admit, found[id]), self._random) for id in sorted(found)}

    def add(self, id: int, destination: Destination) -> Deferred[None] | None:
        """Add a destination to a set, which is made if it does not exist."""
        if self.share is not None:
            return self.share.submit("put", id, *_row(destination)[:4])
        self._sets.setdefault(id, DestinationSet(id, rng=self._random)).add(self._admit(destination))
        return None

    def put(self, id: int, uri: str, flags: int, priority: int, body: str | None) -> Deferred[None] | None:
        """Add a destination, given as in a line of a list file.

        @raise DestinationError: it is not allowed.
        """
        return self.add(id, _destination(uri, flags, priority, body))

    def contents(self) -> list[list[Any]]:
        """Each set: its number, and the URI, flags, priority, attributes and ordered state of each destination."""
        return [[id, list(map(_row, found))] for id, found in self._sets.items()]

    def replace(self, contents: list[list[Any]]) -> None:
        """Replace all sets by those that L{contents} has returned. A destination whose ordered state is the same as
        before keeps what probes have found.

        @raise DestinationError: a destination is not allowed; then nothing is changed.
        """
        former = {(id, one.uri, one.ordered): one for id, found in self._sets.items() for one in found}
        sets: dict[int, list[Destination]] = {}
        for id, rows in contents:
            for uri, flags, priority, body, ordered in rows:
                one = _destination(uri, flags, priority, body)
                one.state = one.ordered = ordered
                same = former.get((id, uri, ordered))
                if same is not None:
                    one.state, one.unanswered, one.latency = same.state, same.unanswered, same.latency
                sets.setdefault(id, []).append(one)
        self._fill(sets)

    def touches(self, operation: str, arguments: Sequence[Any]) -> str | None:
        """The set and the destination that a change is about."""
        if operation == "set_states":
            _, id, keys = arguments
            return f"{id} {keys[0][0]}" if len(keys) == 1 else None
        return f"{arguments[0]} {arguments[1]}" if operation in ("put", "remove") else None

    def _admit(self, destination: Destination) -> Destination:
        destination.flags &= ~self._ignored_flags
        destination.state &= ~self._ignored_flags
        destination.ordered &= ~self._ignored_flags
        return destination

    def remove(self, id: int, uri: str) -> Deferred[bool] | bool:
        """Remove a destination from a set, and the set with its last one.

        @return: whether there was such a destination.
        """
        if self.share is not None:
            return self.share.submit("remove", id, uri)
        found = self._sets.get(id)
        if found is None or not found.remove(uri):
            return False
        if not len(found):
            del self._sets[id]
        return True

    def set_state(self, letters: str, id: int, matches: Callable[[Destination], bool]) -> Deferred[bool] | bool:
        """Set the state of destinations of a set.

        @param letters: as L{parse_state} takes them.
        @param matches: says which destinations.
        @return: whether there were any.
        @raise DestinationError: the letters are not allowed.
        """
        state = parse_state(letters)
        chosen = [destination for destination in self._sets.get(id, ()) if matches(destination)]
        if self.share is not None and chosen:
            return self.share.submit("set_states", letters, id, [[one.uri, _duid(one)] for one in chosen])
        for destination in chosen:
            self._sets[id].set_state(destination, state)
            destination.ordered = state
        return bool(chosen)

    def set_states(self, letters: str, id: int, keys: list[list[str | None]]) -> Deferred[bool] | bool:
        """Set the state of destinations, each given by its URI and the attribute C{duid}, None without one; see
        L{set_state}.
        """
        wanted = {(uri, duid) for uri, duid in keys}
        return self.set_state(letters, id, lambda one: (one.uri, _duid(one)) in wanted)

    def __getitem__(self, id: int) -> DestinationSet:
        found = self._sets.get(id)
        if found is None:
            raise NoSet(f"there is no set {id}")
        return found

    def __contains__(self, id: object) -> bool:
        return id in self._sets

    def __iter__(self) -> Iterator[int]:
        return iter(self._sets)

    def __len__(self) -> int:
        return len(self._sets)


def _duid(destination: Destination) -> str | None:
    return destination.attributes.duid if destination.attributes else None


def _row(one: Destination) -> list[Any]:
    """What makes a destination what it is; see L{DestinationSets.contents}."""
    return [one.uri, one.flags, one.priority, one.attributes.body if one.attributes else None, one.ordered]


def _destination(uri: str, flags: int, priority: int, body: str | None) -> Destination:
    return Destination(uri, flags, priority, None if body is None else Attributes.parse(body))


def _read_file(path: str) -> bytes:
    """The contents of a list file.

    @raise DestinationError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return file.read()
    except (OSError, NotAllowed) as error:
        reason = error.reason if isinstance(error, NotAllowed) else error.strerror
        raise DestinationError(f"{path}: {reason}", "a readable list of destinations") from None


def parse_state(letters: str) -> int:
    """The bits of a state from Kamailio's letters, in either case: C{a} or 1 active, C{i} or 0 inactive, C{d} or 2
    disabled, C{t} or 3 trying; then C{p} for probing, which a disabled one never is. Other letters are ignored.

    @raise DestinationError: the first letter is not one of these.
    """
    state = _STATES.get(letters[:1].lower())
    if state is None:
        raise DestinationError(f"state {letters!r:.20}", "i, a, d or t, then p for probing")
    if letters[1:2].lower() == "p" and state != DISABLED:
        state |= PROBING
    return state


def read_list(lines: Iterable[str], name: str, problems: Problems = FIRST) -> dict[int, list[Destination]]:
    """Read a list of destinations: a line each, C{setid uri [flags [priority [attributes]]]}. Blank lines and what
    follows a C{#} are ignored.

    @param name: of the file, for messages.
    @param problems: takes the errors in lines.
    @return: the destinations of each set, in their order.
    @raise DestinationError: a line is invalid; the message names it.
    """
    found: dict[int, list[Destination]] = {}
    for number, line in enumerate(lines, 1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        try:
            if not 2 <= len(fields) <= 5:
                raise DestinationError(f"{len(fields)} fields", "setid uri [flags [priority [attributes]]]")
            flags, priority = (_number(field) for field in (*fields[2:4], "0", "0")[:2])
            attributes = Attributes.parse(fields[4]) if len(fields) == 5 else None
            destination = Destination(fields[1], flags, priority, attributes)
            found.setdefault(_number(fields[0]), []).append(destination)
        except DestinationError as error:
            problems.note(DestinationError(error.reason, error.allowed, name, number))
    return found


@lru_cache(1024)
def _number(text: str) -> int:
    """A number, decimal or, after 0x, hexadecimal."""
    number = int(text, 0 if "x" in text.lower() else 10) if _NUMBER.fullmatch(text) else 2**31
    if not -(2**31) <= number < 2**31:
        raise DestinationError(f"{text!r:.60}", "a number of 32 bits, decimal or after 0x in hexadecimal")
    return number


def hash_keys(*keys: str) -> int:
    """Kamailio's hash of some strings together, 32 bits, never 0."""
    return hash_words(word for key in keys for word in words_of(key.encode(errors="surrogateescape"))) or 1
