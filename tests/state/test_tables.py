"""Hash tables: definitions, values, expiry and slots."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from jsonrpcs_tx.errors import SettingError
from jsonrpcs_tx.state.tables import LEAST, MOST, MOST_SECONDS, Definition, Table, Tables, read_definition
from tests.support.logs import warnings

WALL = 1_700_000_000.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tables(clock: Clock) -> Tables:
    return Tables(clock, lambda: WALL + clock.seconds())


@pytest.mark.parametrize(
    ("text", "definition"),
    [
        ("a", Definition("a")),
        ("a=>", Definition("a")),
        ("a=>size=8", Definition("a", size=8)),
        ("a=>size=8;", Definition("a", size=8)),
        (
            "a=>size=4;autoexpire=60;initval=0;updateexpire=0;",
            Definition("a", autoexpire=60, initval=0, updateexpire=False),
        ),
        (" a => size = 4 ; initval = -3 ; ", Definition("a", initval=-3)),
    ],
)
def test_definition(text: str, definition: Definition) -> None:
    """A definition is read as the reference has it: attributes in any order, blanks and the last semicolon free."""
    assert read_definition(text) == definition


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a name"),
        ("=>size=4", "a name"),
        ("x y=>size=4;", "a name"),
        ("a=>=1;", "'=1'"),
        ("a=>size=4;;", "size, autoexpire, initval, updateexpire, not ''"),
        ("a=>size=4;size=5;", "once"),
        ("a=>size;", "not ''"),
        ("a=>size=abc;", "not 'abc'"),
        ("a=>size=-1;", "size from 0"),
        ("a=>autoexpire=-5;", "autoexpire from 0"),
        ("a=>autoexpire=1.5;", "not '1.5'"),
        ("a=>updateexpire=2;", "from 0 to 1"),
        (f"a=>initval={2**63};", f"to {2**63 - 1}"),
        (f"a=>size={'9' * 5000};", "size from 0"),
    ],
)
def test_bad_definition(text: str, says: str) -> None:
    """A bad definition is refused with an error that names the setting, the text, and what is allowed."""
    with pytest.raises(SettingError) as caught:
        read_definition(text)
    assert str(caught.value).startswith(f"htable: {text!r} is not allowed; allowed: ")
    assert says in caught.value.allowed


def test_unknown_attributes() -> None:
    """An attribute that only other versions of Kamailio have is ignored with a warning that names those there are."""
    with capturedLogs() as events:
        assert read_definition("a=>size=5;colour=1;foo;autoexpire=2") == Definition("a", 5, 2)
    known = "known: size, autoexpire, initval, updateexpire"
    assert warnings(events) == [
        f"htable: a: unknown attribute {name} is ignored; {known}" for name in ("colour", "foo")
    ]


def test_name_twice(tables: Tables) -> None:
    """A second table of a name is refused, and the first stays."""
    first = tables.define("a=>size=4")
    with pytest.raises(SettingError, match="each table once"):
        tables.define("a=>size=5")
    assert tables["a"] is first
    assert list(tables) == ["a"]


@pytest.mark.parametrize(
    ("size", "slots"), [(0, 8), (1, 8), (2, 4), (3, 8), (13, 8192), (15, 32768), (31, 2**31), (32, 16384)]
)
def test_size(tables: Tables, size: int, slots: int) -> None:
    """A table has as many slots as the reference makes of its size."""
    assert tables.define(f"a=>size={size}").definition.slots == slots


# Recorded from Kamailio 5.6.3: the entries of htable.dump, in a table with size=12.
@pytest.mark.parametrize(
    ("key", "slot"),
    [
        *(("", 0), ("a", 109), ("A", 109), ("bob", 963), ("BOB", 963), ("Bob12", 1260), ("ab_C", 2459)),
        *(("xxxxxxxxx", 1686), ("é", 3268), ("_é..b", 1184), ("1a-é", 3566), ("b1.11:0.X", 792)),
    ],
)
def test_slot(tables: Tables, key: str, slot: int) -> None:
    """A key lies in the slot in which Kamailio has it."""
    assert tables.define("a=>size=12").slot(key) == slot


def test_slots_order(tables: Tables) -> None:
    """Slots come in their order, and their items in the reference's."""
    table = tables.define("a=>size=2")
    for key in "qwertyuiop":
        table.set(key, 1)
    assert {slot: [item.key for item in items] for slot, items in table.slots().items()} == {
        0: ["i", "r"],
        1: ["e", "w"],
        2: ["o", "y", "t", "p"],
        3: ["u", "q"],
    }


@pytest.mark.parametrize("value", ["", "x", "é\0\n", 0, 5, LEAST, MOST])
def test_value(tables: Tables, value: int | str) -> None:
    """A value comes back as it was set, an integer exactly."""
    table = tables.define("a")
    table.set("k", value)
    assert table.get("k") == value
    assert type(table.get("k")) is type(value)


@pytest.mark.parametrize(
    ("key", "value", "expires"),
    [
        *(("k", LEAST - 1, 0), ("k", MOST + 1, 0), ("k", 1.5, 0), ("k", True, 0), ("k", None, 0), ("k", "\ud800", 0)),
        *(("\ud800", 1, 0), (5, 1, 0), ("k", 1, MOST_SECONDS + 1), ("k", 1, float("nan"))),
    ],
)
def test_bad_value(tables: Tables, key: Any, value: Any, expires: float) -> None:
    """What a table cannot hold is refused, and the item that is there stays."""
    table = tables.define("a")
    table.set("k", "old")
    with pytest.raises(ValueError, match="must be"):
        table.set(key, value, expires)
    assert [(item.key, item.value) for item in table.items()] == [("k", "old")]


def test_initval(tables: Tables) -> None:
    """A program gets the initval for a key that is not there, but there is no item."""
    table = tables.define("a=>initval=7;")
    assert table.get("k") == 7
    assert table.find("k") is None
    assert tables.define("b").get("k") is None


def test_expiry(tables: Tables, clock: Clock) -> None:
    """An item that has expired is gone at once, for everything that looks at the table."""
    table = tables.define("a=>size=4")
    table.set("k", 5, expires=60)
    clock.advance(59.9)
    assert table.get("k") == 5
    clock.advance(0.1)
    assert table.get("k") is None
    assert table.items() == []
    assert table.rows() == []
    assert table.slots() == {}
    assert not table.expire("k", 100)
    assert not table.delete("k")


def remaining(table: Table, clock: Clock, key: str) -> float | None:
    """Seconds until an item expires."""
    item = table.find(key)
    assert item is not None
    return None if item.deadline is None else item.deadline - clock.seconds()


# Each was asked of Kamailio 5.6.3: what is done to an item that 10 s ago was set to expire after 500 s.
@pytest.mark.parametrize(
    ("attributes", "expires", "then"),
    [
        ("autoexpire=60;updateexpire=1", 0, 60),
        ("autoexpire=60;updateexpire=0", 0, 490),
        ("autoexpire=60;updateexpire=0", 900, 900),
        ("autoexpire=60;updateexpire=0", -1, 490),
        ("autoexpire=60;updateexpire=1", 900, 900),
        ("autoexpire=0;updateexpire=1", 0, None),
    ],
)
def test_set_again(tables: Tables, clock: Clock, attributes: str, expires: int, then: float | None) -> None:
    """Setting an item again restarts its time, unless updateexpire is off and no time is given."""
    table = tables.define("a=>" + attributes)
    table.set("k", 1, 500)
    clock.advance(10)
    table.set("k", "text", expires)
    assert remaining(table, clock, "k") == then


def test_set_after_expiry(tables: Tables, clock: Clock) -> None:
    """An item that is set after it expired is a new one: it takes nothing of the old one's time."""
    table = tables.define("a=>autoexpire=60;updateexpire=0")
    table.set("k", 1, 5)
    clock.advance(5)
    table.set("k", 2)
    assert remaining(table, clock, "k") == 60


@pytest.mark.parametrize(("seconds", "then"), [(100, 100), (0, None), (-1, None)])
def test_expire(tables: Tables, clock: Clock, seconds: int, then: float | None) -> None:
    """When an item expires can be set: 0 and less mean never; its value stays."""
    table = tables.define("a=>autoexpire=60")
    table.set("k", 1)
    assert table.expire("k", seconds)
    assert remaining(table, clock, "k") == then
    assert table.get("k") == 1
    with pytest.raises(ValueError, match="expiry"):
        table.expire("k", MOST_SECONDS + 1)
    assert remaining(table, clock, "k") == then


def test_time_of_day(tables: Tables, clock: Clock) -> None:
    """The time of day at which an item expires does not move while time passes."""
    table = tables.define("a")
    table.set("k", 1, 60)
    clock.advance(7)
    item = table.find("k")
    assert item is not None
    assert table.expires_at(item) == WALL + 60


def test_delete_and_flush(tables: Tables) -> None:
    """Items are removed one by one or all together."""
    table = tables.define("a")
    for key in "abc":
        table.set(key, 1, 60)
    assert table.delete("a")
    assert not table.delete("a")
    table.flush()
    assert table.items() == []
    assert not table.remove_expired()


def test_rows(tables: Tables, clock: Clock) -> None:
    """What is kept of a table restores it later, without the items that have expired meanwhile."""
    table = tables.define("a")
    table.set("never", "x")
    table.set("soon", 1, 10)
    table.set("later", 2, 100)
    rows = table.rows()
    assert rows == [("never", "x", None), ("soon", 1, WALL + 10), ("later", 2, WALL + 100)]
    table.set("other", 1)
    clock.advance(20)
    table.restore(table.read(rows))
    assert [item.key for item in table.items()] == ["never", "later"]
    assert remaining(table, clock, "later") == 80


@pytest.mark.parametrize("row", [("k", 1.5, None), ("k", b"x", None), (b"k", 1, None), ("k", 1, "soon")])
def test_bad_row(tables: Tables, row: Any) -> None:
    """A row that cannot be an item is refused, and the table stays as it is."""
    table = tables.define("a")
    table.set("k", "old")
    with pytest.raises(ValueError, match="must be"):
        table.restore(table.read([("good", 1, None), row]))
    assert table.rows() == [("k", "old", None)]


def test_remove_expired(tables: Tables, clock: Clock) -> None:
    """Expired items are removed a few at a time, those that expire first before others, and no others."""
    table = tables.define("a")
    for number in range(25):
        table.set(f"k{number}", number, 100 - number)
    table.set("stays", 1)
    table.set("k24", 1, 500)
    clock.advance(90)
    assert table.remove_expired(10)
    assert not table.remove_expired(10)
    assert len(table._contents.kept) == 12
    assert sorted(item.key for item in table.items()) == sorted([*(f"k{n}" for n in range(10)), "stays", "k24"])


def test_memory_bounded(tables: Tables, clock: Clock) -> None:
    """Setting one item over and over does not pile up memory."""
    table = tables.define("a=>autoexpire=7200")
    for _ in range(20):
        for number in range(1000):
            table.set("k", number)
        clock.advance(1)
        table.remove_expired()
    assert len(table._contents._queue) <= 3000


KEYS = st.sampled_from("abc")


@given(
    st.integers(0, 3),
    st.booleans(),
    st.lists(
        st.one_of(
            st.tuples(st.just("set"), KEYS, st.integers(0, 5)),
            st.tuples(st.just("expire"), KEYS, st.integers(0, 5)),
            st.tuples(st.just("delete"), KEYS, st.just(0)),
            st.tuples(st.just("advance"), KEYS, st.integers(0, 3)),
            st.tuples(st.just("sweep"), KEYS, st.integers(0, 2)),
        ),
        max_size=40,
    ),
)
def test_model(autoexpire: int, updateexpire: bool, steps: list[tuple[str, str, int]]) -> None:
    """Whatever is done, a table holds what a plain model of it holds, whether it is swept or not."""
    clock = Clock()
    table = Tables(clock).define(Definition("a", autoexpire=autoexpire, updateexpire=updateexpire))
    model: dict[str, tuple[int, float]] = {}
    for position, (step, key, number) in enumerate(steps):
        now = clock.seconds()
        if step == "set":
            until = now + (number or autoexpire or float("inf"))
            if number == 0 and not updateexpire and key in model:
                until = model[key][1]
            table.set(key, position, number)
            model[key] = (position, until)
        elif step == "expire":
            assert table.expire(key, number) == (key in model)
            if key in model:
                model[key] = (model[key][0], now + (number or float("inf")))
        elif step == "delete":
            assert table.delete(key) == (model.pop(key, None) is not None)
        elif step == "advance":
            clock.advance(number)
        else:
            table.remove_expired(number)
        model = {key: kept for key, kept in model.items() if kept[1] > clock.seconds()}
        assert {item.key: item.value for item in table.items()} == {key: kept[0] for key, kept in model.items()}


def test_definition_with_database() -> None:
    """What Kamailio's definitions say of databases and clusters is passed over, so that its lines can be kept."""
    assert read_definition("a=>size=8;dbtable=x;dbmode=1;cols='k,v';dmqreplicate=1;") == read_definition("a=>size=8;")


def test_after(tables: Tables, clock: Clock) -> None:
    """Items come in the order of their keys' arrival, from any place on, without those that are gone meanwhile."""
    table = tables.define("after")
    for number in range(6):
        table.set(f"k{number}", number, 5 if number == 2 else 0)
    places = [place for place, _ in table.after(0)]
    assert places == sorted({*places})
    for skipped, place in enumerate([0, *places]):
        assert [item.key for _, item in table.after(place)] == [f"k{number}" for number in range(skipped, 6)]
    looking = table.after(0)
    assert next(looking)[1].key == "k0"
    table.delete("k1")
    clock.advance(5)
    table.delete("k3")
    table.set("k3", "again")
    table.set("k6", 6)
    assert [(item.key, item.value) for _, item in looking] == [("k4", 4), ("k5", 5)]
    assert [item.key for _, item in table.after(places[3])] == ["k4", "k5", "k3", "k6"]
