"""Tables, destinations and variables that servers share: changes are handed over, and made when they come back."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jsonrpcs_tx.state.destinations import Attributes, Destination, DestinationSets
from jsonrpcs_tx.state.shared import SharedVariables
from jsonrpcs_tx.state.sharing import PendingChange, Shareable, UnknownOperation, after
from jsonrpcs_tx.state.tables import Table, Tables
from jsonrpcs_tx.state.variables import Variable, VariableError, Variables


class Share:
    """Notes changes, and makes them later.

    @ivar changes: those that were handed over.
    """

    def __init__(self, thing: Shareable) -> None:
        self.changes: list[tuple[Any, ...]] = []
        self._thing = thing
        self._pending: list[PendingChange[Any]] = []
        thing.share = self

    def submit(self, operation: str, *arguments: Any) -> PendingChange[Any]:
        self.changes.append((operation, *arguments))
        self._pending.append(PendingChange())
        return self._pending[-1]

    def make(self) -> list[Any]:
        """Make the changes; return their outcomes."""
        found: list[Any] = []

        def note(outcome: Any) -> None:
            found.append(outcome)

        for (operation, *arguments), pending in zip(self.changes, self._pending, strict=True):
            pending.addBoth(note)
            try:
                pending.callback(self._thing.apply(operation, arguments))
            except Exception as error:
                pending.errback(error)
        self.changes, self._pending = [], []
        return found


def table() -> Table:
    return Tables(Clock()).define("ban=>autoexpire=10;")


def test_table() -> None:
    """Nothing of a table changes until the change comes back; its outcome is that of then."""
    ban = table()
    share = Share(ban)
    ban.set("k", "v", 5)
    ban.delete("k")
    ban.delete("k")
    ban.set("other", 1)
    ban.expire("other", 3)
    ban.expire("no", 3)
    assert ban.size == 0
    assert share.changes[:2] == [("set", "k", "v", 5), ("delete", "k")]
    assert share.make() == [None, True, False, None, True, False]
    assert ban.contents() == [["other", 1, 3.0]]
    ban.restore(ban.read([("stored", "v", None)]))
    ban.flush()
    assert share.changes == [("replace", [["stored", "v", None]]), ("flush",)]
    share.make()
    assert ban.size == 0
    with pytest.raises(ValueError, match="must be text"):
        ban.set("k", "\ud800")
    assert share.changes == []


def test_destinations() -> None:
    """Destinations that are meant are found when the change is handed over, and changed when it comes back."""
    sets = DestinationSets()
    share = Share(sets)
    sets.add(1, Destination("sip:a", 0, 2, Attributes.parse("duid=x")))
    sets.add(1, Destination("sip:b"))
    assert len(sets) == 0
    share.make()
    assert [one.uri for one in sets[1]] == ["sip:a", "sip:b"]
    assert sets.set_state("ip", 1, lambda one: one.uri == "no") is False
    sets.set_state("ip", 1, lambda one: one.uri == "sip:a")
    assert share.changes == [("set_states", "ip", 1, [["sip:a", "x"]])]
    assert share.make() == [True]
    sets[1].set_state(next(iter(sets[1])), 0)  # a probe is answered
    assert [row[4] for row in sets.contents()[0][1]] == [9, 0]
    copy = DestinationSets()
    copy.replace(sets.contents())
    assert copy.contents() == sets.contents()
    sets.replace(sets.contents())
    assert [one.letters for one in sets[1]] == ["AX", "AX"]  # what probes have found is kept
    sets.remove(1, "sip:a")
    sets.remove(1, "sip:a")
    assert share.make() == [True, False]


def test_list_file(tmp_path: Any) -> None:
    """A list that is read replaces the destinations of all; an invalid one is refused here."""
    path = tmp_path / "list"
    path.write_text("1 sip:a 8 3 weight=5\n")
    sets = DestinationSets()
    share = Share(sets)
    assert isinstance(sets.reload(str(path)), Deferred)
    assert share.changes == [("replace", [[1, [["sip:a", 8, 3, "weight=5", 8]]]])]
    share.make()
    assert sets.reload(str(path)) is False
    assert [one.priority for one in sets[1]] == [3]


def test_variables() -> None:
    """Changes of a group and its instances are handed over together; the program is told when they come back."""
    told: list[Any] = []
    variables = Variables()
    shop = variables.add(
        "shop", [Variable("limit", 10, most=100), Variable("name", "")], lambda *change: told.append(change)
    )
    other = variables.add("other", [Variable("x", 1)])
    share = Share(shop)
    shop.set("limit", 20)
    variables.add_instance("shop", 3)
    assert (shop["limit"], told, share.changes) == (
        10,
        [],
        [("assign", [[None, "limit", 20]]), ("make_instance", 3)],
    )
    share.make()
    assert (shop["limit"], told) == (20, [("limit", 10, 20)])
    shop.instance(3).set("limit", 30)
    share.make()
    assert shop.contents() == {"values": {"limit": 20, "name": ""}, "instances": [[3, {"limit": 30}]]}
    with pytest.raises(VariableError):
        shop.set("limit", 101)
    variables.set_delayed("shop", None, "limit", 40)
    variables.set_delayed("other", None, "x", 2)
    with pytest.raises(VariableError, match="must be committed without those of other groups"):
        variables.commit()
    variables.rollback()
    variables.set_delayed("shop", 3, "limit", 50)
    variables.commit()
    share.make()
    assert (shop.instance(3)["limit"], other["x"], variables.diff()) == (50, 1, [])
    shop.instance(3).delete("limit")
    shop.reset()
    share.make()
    assert (shop.instance(3)["limit"], shop["limit"]) == (10, 10)
    variables.set_delayed("shop", 3, "limit", 60)
    variables.delete_instance("shop", 3)
    share.make()
    assert (shop.instances, variables.diff()) == ({}, [])


def test_commit_that_fails() -> None:
    """Delayed changes whose change is refused stay scheduled."""
    variables = Variables()
    shop = variables.add("shop", [Variable("limit", 10)])
    share = Share(shop)
    variables.set_delayed("shop", None, "limit", 20)
    done = variables.commit()
    assert done is not None
    assert variables.diff() == []
    share._pending[0].errback(ValueError("refused"))
    done.addErrback(lambda failure: failure.trap(ValueError))
    assert [change.new for change in variables.diff()] == [20]


def test_shared_variables() -> None:
    """Variables that programs and operators share are shared by servers as well."""
    shared = SharedVariables()
    shared.define("open", 1)
    share = Share(shared)
    shared.set("open", 0)
    assert shared["open"] == 1
    share.make()
    assert shared.contents() == {"open": 0}
    shared.replace({"open": "x", "unknown": 1})
    assert dict(shared) == {"open": "x"}


@pytest.mark.parametrize("thing", [table(), DestinationSets(), SharedVariables()])
def test_unknown(thing: Shareable) -> None:
    """A change that is not known, or has other arguments, is not guessed."""
    for operation, arguments in (("paint", []), ("replace", []), ("share", []), ("__class__", [1])):
        with pytest.raises(UnknownOperation):
            thing.apply(operation, arguments)


def test_after() -> None:
    """What follows a change follows now or later."""
    assert after(1, str) == "1"
    pending: PendingChange[int] = PendingChange()
    later: Any = after(pending, str)
    pending.callback(2)
    found: list[str] = []
    later.addCallback(found.append)
    assert found == ["2"]
