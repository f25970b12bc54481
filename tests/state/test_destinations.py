"""Sets of destinations, without any RPC: how lists are read, states set, and destinations picked."""

import itertools
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx import NoDestination
from jsonrpcs_tx.state.destinations import (
    DISABLED,
    INACTIVE,
    NEVER_PINGED,
    NO_DNS,
    PROBING,
    TRYING,
    Attributes,
    Destination,
    DestinationError,
    DestinationSet,
    DestinationSets,
    hash_keys,
    parse_state,
    read_list,
)
from tests.support import DATA


class Dice(random.Random):
    """Falls on each side in turn, so that what chance gives can be counted exactly.

    @param sides: of L{random}: so many different numbers, evenly spread.
    """

    def __init__(self, sides: int = 100) -> None:
        super().__init__()
        self._sides = sides
        self._rolls = itertools.count()

    def choice(self, seq: Any) -> Any:
        return seq[next(self._rolls) % len(seq)]

    def random(self) -> float:
        return (next(self._rolls) % self._sides + 0.5) / self._sides


def make_set(*attributes: str, dead: tuple[int, ...] = (), rng: random.Random | None = None) -> DestinationSet:
    """A set of destinations sip:0, sip:1 and so on, with these attributes; some of them inactive."""
    destinations = [
        Destination(f"sip:{number}", INACTIVE if number in dead else 0, 0, Attributes.parse(body))
        for number, body in enumerate(attributes)
    ]
    return DestinationSet(1, destinations, rng or random.Random(1))


# What the real module answers to dispatcher.hash.
@pytest.mark.parametrize(
    ("keys", "hashed"),
    [
        (("bob",), 7222211),
        (("alice",), 1834153949),
        (("bob", "x"), 7222330),
        (("",), 1),
        (("sip:bob@example.com",), 3555745689),
    ],
)
def test_hash(keys: tuple[str, ...], hashed: int) -> None:
    """The hash is Kamailio's."""
    assert hash_keys(*keys) == hashed


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_hash_of_anything(keys: list[str]) -> None:
    """Any texts have a hash of 32 bits, never 0, which does not depend on their order."""
    assert 1 <= hash_keys(*keys) < 2**32
    assert hash_keys(*keys) == hash_keys(*reversed(keys))


def test_list() -> None:
    """The reference's list file is read: numbers, flags, priorities, attributes, comments and defaults."""
    lines = ["", "  # nothing", "1 sip:a;transport=tcp 0x8 5 weight=50;duid=x;odd=y # comment", "\t2\tsips:b@[::1]:1\t"]
    found = read_list(lines, "list")
    first, second = found[1][0], found[2][0]
    assert (first.uri, first.state, first.priority) == ("sip:a;transport=tcp", PROBING, 5)
    assert first.attributes == Attributes("weight=50;duid=x;odd=y", duid="x", weight=50)
    assert (first.host, first.port, first.protocol) == ("a", 5060, "tcp")
    assert (second.uri, second.state, second.priority, second.attributes) == ("sips:b@[::1]:1", 0, 0, None)
    assert (second.host, second.port, second.protocol) == ("::1", 1, "")
    assert Destination("sips:c").port == 5061
    assert Destination("sip:a;transport=TCP").protocol == "tcp"


def test_attributes() -> None:
    """All attributes of the reference are known; missing ones are None."""
    body = "duid=a;maxload=1;weight=2;rweight=3;socket=udp:[::1]:5060;sockname=b;obproxy=sip:c"
    assert Attributes.parse(body) == Attributes(body, "a", 1, 2, 3, "udp:[::1]:5060", "b", "sip:c")
    assert Attributes.parse("odd") == Attributes("odd", None, 0, 0, 0, None, None, None)


def test_sets_in_order(tmp_path: Path) -> None:
    """Sets come in the order of their numbers, whatever that of the lines; C{get} of another gives None."""
    path = tmp_path / "list"
    path.write_text("3 sip:c\n1 sip:a\n2 sip:b\n1 sip:d\n")
    sets = DestinationSets()
    sets.load(str(path))
    assert list(sets) == [1, 2, 3]
    assert [one.uri for one in sets[1]] == ["sip:a", "sip:d"]
    assert sets.get(9) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1", "1 fields; allowed: setid uri [flags [priority [attributes]]]"),
        ("1 sip:a 0 0 a=1 b=2", "6 fields; allowed: setid uri [flags [priority [attributes]]]"),
        ("one sip:a", "'one'; allowed: a number of 32 bits, decimal or after 0x in hexadecimal"),
        ("0x1x sip:a", "'0x1x'; allowed: a number"),
        ("4294967296 sip:a", "'4294967296'; allowed: a number of 32 bits"),
        ("1 http://a", "URI 'http://a'; allowed: sip:host"),
        ("1 sip:", "URI 'sip:'; allowed: sip:host"),
        ("1 sip:a:123456", "URI 'sip:a:123456'; allowed: sip:host"),
        ("1 sip:a:65536", "URI 'sip:a:65536'; allowed: sip:host"),
        ("1 sip:a\0b", "URI 'sip:a\\x00b'; allowed: sip:host"),
        ("1_0 sip:a", "'1_0'; allowed: a number of 32 bits"),
        ("\u0661 sip:a", "'\u0661'; allowed: a number of 32 bits"),
        ("1 sip:a x", "'x'; allowed: a number"),
        ("1 sip:a 64", "flags 64; allowed: a sum of 1, 2, 4, 8, 16 and 32"),
        ("1 sip:a -1", "flags -1; allowed: a sum of"),
        ("1 sip:a 0 high", "'high'; allowed: a number"),
        ("1 sip:a 0 0 weight=x", "weight 'x'; allowed: 0 to 2147483647"),
        ("1 sip:a 0 0 rweight=-1", "rweight '-1'; allowed: 0 to 2147483647"),
        ("1 sip:a 0 0 maxload=2147483648", "maxload '2147483648'; allowed: 0 to 2147483647"),
    ],
)
def test_bad_lines(line: str, problem: str) -> None:
    """A bad line is named, with what is wrong and what is allowed."""
    with pytest.raises(DestinationError) as caught:
        read_list(["1 sip:a", "", line], "list")
    assert str(caught.value).startswith(f"list: line 3: {problem}")


def test_all_or_nothing(tmp_path: Path) -> None:
    """A list that cannot be read changes nothing; one that can takes the place of all that there was."""
    sets = DestinationSets()
    sets.load(str(DATA / "dispatcher.list"))
    before = {id: [one.uri for one in found] for id, found in sets.items()}
    assert list(before) == [1, 2]
    bad = tmp_path / "list"
    for content, problem in ((b"1 sip:a\n2", "line 2"), (b"1 sip:\xff", "invalid start byte"), (None, "No such file")):
        if content is not None:
            bad.write_bytes(content)
        else:
            bad.unlink()
        with pytest.raises(DestinationError, match=problem):
            sets.load(str(bad))
        assert {id: [one.uri for one in found] for id, found in sets.items()} == before
    bad.write_text("7 sip:new")
    sets.load(str(bad))
    assert list(sets) == [7]


@pytest.mark.parametrize(
    ("letters", "state"),
    [
        ("a", 0),
        ("AP", PROBING),
        ("1", 0),
        ("i", INACTIVE),
        ("ip", INACTIVE | PROBING),
        ("0p", INACTIVE | PROBING),
        ("t", TRYING),
        ("3P", TRYING | PROBING),
        ("d", DISABLED),
        ("dp", DISABLED),
        ("2", DISABLED),
        ("ax", 0),
        ("axp", 0),
    ],
)
def test_states(letters: str, state: int) -> None:
    """States are written as Kamailio takes them."""
    assert parse_state(letters) == state


@pytest.mark.parametrize("letters", ["", "x", "pa", "4", " a"])
def test_no_states(letters: str) -> None:
    """Anything else is an error that says what is allowed."""
    with pytest.raises(DestinationError, match="allowed: i, a, d or t, then p for probing"):
        parse_state(letters)


@pytest.mark.parametrize(
    ("state", "letters", "live"),
    [
        (0, "AX", True),
        (PROBING, "AP", True),
        (TRYING, "TX", True),
        (INACTIVE | PROBING, "IP", False),
        (DISABLED, "DX", False),
        (INACTIVE | DISABLED | TRYING, "IX", False),
        (NEVER_PINGED, "AN", True),
        (NO_DNS, "AX", True),
    ],
)
def test_letters(state: int, letters: str, live: bool) -> None:
    """States are shown as Kamailio shows them, and tell whether a destination is live."""
    destination = Destination("sip:a", state)
    assert (destination.letters, destination.live) == (letters, live)


def test_order() -> None:
    """The higher priority comes first, and of the same priority what was there first."""
    group = DestinationSet(1, [Destination("sip:a", 0, 1), Destination("sip:b", 0, 2), Destination("sip:c", 0, 1)])
    group.add(Destination("sip:d", 0, 2))
    assert [one.uri for one in group] == ["sip:b", "sip:d", "sip:a", "sip:c"]
    assert group.by_priority().uri == "sip:b"
    group.set_state(next(iter(group)), INACTIVE)
    assert group.by_priority().uri == "sip:d"


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.text(st.characters(codec="utf-8")))
def test_by_hash(alive: list[bool], key: str) -> None:
    """A key leads to the destination that its hash says, or to the next live one, always to the same."""
    group = make_set(*[""] * len(alive), dead=tuple(number for number, lives in enumerate(alive) if not lives))
    if not any(alive):
        with pytest.raises(NoDestination, match=r"set 1: none of .* is live"):
            group.by_hash(key)
        return
    place = hash_keys(key) % len(alive)
    while not alive[place]:
        place = (place + 1) % len(alive)
    assert group.by_hash(key).uri == group.by_hash(key).uri == f"sip:{place}"


def test_round_robin() -> None:
    """Each has its turn, but the dead; who comes back has it again."""
    group = make_set("", "", "", "", dead=(1,))
    assert [group.round_robin().uri[-1] for _ in range(7)] == list("0230230")
    back = list(group)[1]
    group.set_state(back, 0)
    assert [group.round_robin().uri[-1] for _ in range(5)] == list("12301")
    group.remove("sip:1")
    assert {group.round_robin().uri[-1] for _ in range(3)} == set("023")


def test_at_random() -> None:
    """Chance picks all live ones alike."""
    group = make_set("", "", "", dead=(1,))
    picked = Counter(group.at_random().uri for _ in range(2000))
    assert set(picked) == {"sip:0", "sip:2"}
    assert 900 < picked["sip:0"] < 1100


def test_by_weight() -> None:
    """Weights are parts of a hundred; what they leave goes to the last; the dead one's go to the next."""
    group = make_set("weight=50", "weight=30", "weight=10")
    picked = Counter(group.by_weight().uri for _ in range(10_000))
    for uri, part in (("sip:0", 0.5), ("sip:1", 0.3), ("sip:2", 0.2)):
        assert picked[uri] == pytest.approx(10_000 * part, rel=0.1)
    group.set_state(next(iter(group)), DISABLED)
    picked = Counter(group.by_weight().uri for _ in range(10_000))
    assert picked["sip:1"] == pytest.approx(8000, rel=0.1)
    assert len({make_set("", "", rng=random.Random(seed)).by_weight().uri for seed in range(50)}) == 2


@given(st.lists(st.integers(0, 150), min_size=1, max_size=6))
def test_slots(weights: list[int]) -> None:
    """Each weight has its slots while there are any of the hundred left; the last destination has what is left over."""
    group = make_set(*(f"weight={weight}" for weight in weights), rng=Dice())
    parts, left = [], 100
    for weight in weights:
        parts.append(min(weight, left))
        left -= parts[-1]
    parts[-1] += left
    picked = Counter(group.by_weight().uri for _ in range(200))
    if any(weights):
        assert [picked[f"sip:{number}"] for number in range(len(weights))] == [2 * part for part in parts]


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=6))
def test_relative_parts(destinations: list[tuple[int, bool]]) -> None:
    """Of as many picks as the weights of the live ones make together, each live one has exactly its weight."""
    total = sum(weight for weight, alive in destinations if alive)
    if not total:
        return
    dead = tuple(number for number, (_, alive) in enumerate(destinations) if not alive)
    group = make_set(*(f"rweight={weight}" for weight, _ in destinations), dead=dead, rng=Dice(total))
    picked = Counter(group.by_relative_weight().uri for _ in range(total))
    expected = {f"sip:{number}": weight for number, (weight, alive) in enumerate(destinations) if alive and weight}
    assert picked == expected


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 3), st.integers(0, 120)), min_size=1, max_size=6))
def test_only_live_ones(destinations: list[tuple[int, int, int]]) -> None:
    """No way of picking ever gives a destination that is inactive or disabled, whatever its flags and weights."""
    group = DestinationSet(1)
    for number, (flags, priority, weight) in enumerate(destinations):
        attributes = Attributes.parse(f"weight={weight};rweight={weight}")
        group.add(Destination(f"sip:{number}", flags, priority, attributes))
    if not any(one.live for one in group):
        return
    ways = (
        *(group.round_robin, group.at_random, group.by_priority, group.by_weight, group.by_relative_weight),
        lambda: group.by_hash("bob"),
    )
    for pick in ways:
        assert all(not pick().state & (INACTIVE | DISABLED) for _ in range(10))


def test_dice_of_the_sets(tmp_path: Path) -> None:
    """Sets that are loaded and sets that are added roll the dice that were handed in."""
    path = tmp_path / "list"
    path.write_text("1 sip:a\n1 sip:b\n")
    sets = DestinationSets(Dice())
    sets.load(str(path))
    for uri in ("sip:a", "sip:b"):
        sets.add(2, Destination(uri))
    for id in (1, 2):
        start = sets[id].at_random().uri
        assert [sets[id].at_random().uri for _ in range(3)] == (["sip:b", "sip:a"] * 2)[start == "sip:b" :][:3]


def test_by_relative_weight() -> None:
    """Relative weights count in relation to those of the other live ones."""
    group = make_set("rweight=1", "rweight=3", "rweight=4", "")
    picked = Counter(group.by_relative_weight().uri for _ in range(8000))
    assert picked["sip:0"] == pytest.approx(1000, rel=0.15)
    assert picked["sip:1"] == pytest.approx(3000, rel=0.1)
    assert picked["sip:3"] == 0
    group.set_state(list(group)[2], INACTIVE)
    picked = Counter(group.by_relative_weight().uri for _ in range(4000))
    assert picked["sip:1"] == pytest.approx(3000, rel=0.1)
    assert make_set("", "").by_relative_weight().uri in ("sip:0", "sip:1")


def test_none() -> None:
    """If no destination is live, or the set does not exist, every way of picking says so."""
    sets = DestinationSets()
    with pytest.raises(NoDestination, match="there is no set 5"):
        sets[5]
    for group in (DestinationSet(1), make_set("", dead=(0,)), make_set("weight=5;rweight=5", dead=(0,))):
        for pick in (group.by_hash, group.round_robin, group.at_random, group.by_priority):
            with pytest.raises(NoDestination):
                pick()
        for pick in (group.by_weight, group.by_relative_weight):
            with pytest.raises(NoDestination):
                pick()


def test_add_and_remove() -> None:
    """A set begins with its first destination and ends with its last one."""
    sets = DestinationSets()
    sets.add(3, Destination("sip:a"))
    sets.add(3, Destination("sip:b"))
    assert sets[3].round_robin().uri == "sip:a"
    assert sets.remove(3, "sip:a")
    assert [sets[3].round_robin().uri for _ in range(2)] == ["sip:b"] * 2
    assert not sets.remove(3, "sip:a")
    assert sets.remove(3, "sip:b")
    assert 3 not in sets
    assert not sets.remove(3, "sip:b")


def test_set_state() -> None:
    """States are set for those that match; nothing is set with a bad state."""
    sets = DestinationSets()
    for uri in ("sip:a", "sip:b"):
        sets.add(1, Destination(uri, PROBING))
    assert sets.set_state("ip", 1, lambda one: one.uri == "sip:a")
    assert [one.letters for one in sets[1]] == ["IP", "AP"]
    assert not sets.set_state("a", 1, lambda one: one.uri == "sip:c")
    assert not sets.set_state("a", 2, lambda one: True)
    with pytest.raises(DestinationError):
        sets.set_state("x", 1, lambda one: True)
    assert [one.letters for one in sets[1]] == ["IP", "AP"]


def test_reload(tmp_path: Path) -> None:
    """A list that is the same changes nothing, neither states nor what was added; another one is loaded whole."""
    path = tmp_path / "list"
    path.write_text("1 sip:1\n1 sip:2\n")
    sets = DestinationSets()
    sets.load(str(path))
    sets.set_state("i", 1, lambda one: one.uri == "sip:1")
    sets.add(2, Destination("sip:3", 0, 0, None))
    path.touch()
    assert not sets.reload(str(path))
    assert [(one.uri, one.live) for one in sets[1]] == [("sip:1", False), ("sip:2", True)]
    assert list(sets) == [1, 2]
    path.write_text("1 sip:1\n3 sip:4\n")
    assert sets.reload(str(path))
    assert [(id, one.uri, one.live) for id in sets for one in sets[id]] == [(1, "sip:1", True), (3, "sip:4", True)]


@pytest.mark.parametrize("bad", ["1 sip:1\n1\n", "\udcff"])
def test_reload_of_a_bad_list(tmp_path: Path, bad: str) -> None:
    """A list that cannot be used changes nothing, however often it is tried, nor does the former one afterwards."""
    path = tmp_path / "list"
    path.write_text("1 sip:1\n")
    sets = DestinationSets()
    sets.load(str(path))
    sets.set_state("i", 1, lambda one: True)
    path.write_bytes(bad.encode(errors="surrogateescape"))
    for _ in range(2):
        with pytest.raises(DestinationError, match=str(path)):
            sets.reload(str(path))
    path.write_text("1 sip:1\n")
    assert not sets.reload(str(path))
    assert [one.live for one in sets[1]] == [False]


def test_fifo_in_the_place_of_a_list(tmp_path: Path) -> None:
    """A list that is not a regular file is refused, and waits for nobody."""
    os.mkfifo(tmp_path / "list")
    with pytest.raises(DestinationError, match="not a regular file; allowed: a readable list"):
        DestinationSets().load(str(tmp_path / "list"))
