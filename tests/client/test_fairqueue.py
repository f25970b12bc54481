"""The queue in which clients take turns, compared with a simple one."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.client.fairqueue import FairQueue

AHEAD = "ahead"


class Simple:
    """The same, by lists.

    @ivar lists: what waits for each client, the next one's turn first.
    """

    def __init__(self) -> None:
        self.lists: list[tuple[object, list[int]]] = []

    def of(self, client: object) -> list[int]:
        return next((entries for whose, entries in self.lists if whose == client), [])

    def append(self, client: object, entry: int) -> None:
        if self.of(client):
            self.of(client).append(entry)
        else:
            self.lists.append((client, [entry]))

    def put_back(self, entry: int) -> None:
        entries = [entry, *self.of(AHEAD)]
        self.lists = [(AHEAD, entries), *(pair for pair in self.lists if pair[0] != AHEAD)]

    def remove(self, client: object, entry: int) -> bool:
        for whose in (client, AHEAD):
            if entry in self.of(whose):
                self.of(whose).remove(entry)
                self.lists = [pair for pair in self.lists if pair[1]]
                return True
        return False

    def take(self, refused: object) -> int | None:
        for place, (client, entries) in enumerate(self.lists):
            if client != refused:
                entry = entries.pop(0)
                del self.lists[place]
                if entries:
                    self.lists.append((client, entries))
                return entry
        return None


clients = st.sampled_from([None, "a", "b", "c"])
steps = st.one_of(
    st.tuples(st.just("append"), clients),
    st.tuples(st.just("put_back"), clients),
    st.tuples(st.just("remove"), clients),
    st.tuples(st.just("take"), st.sampled_from(["a", "b", "nobody"])),
)


@given(st.lists(steps, max_size=60), st.randoms(use_true_random=False))
def test_like_a_simple_one(todo: list[tuple[str, str | None]], random: Random) -> None:
    """Whatever is put in, put back and taken out, in whatever order: the entries are those of the simple queue."""
    queue: FairQueue[int] = FairQueue()
    simple = Simple()
    owners: dict[int, str | None] = {}
    for number, (what, client) in enumerate(todo):
        if what == "append":
            queue.append(client, number)
            simple.append(client, number)
            owners[number] = client
        elif what == "put_back":
            queue.put_back(number)
            simple.put_back(number)
            owners[number] = client
        elif what == "remove" and owners:
            entry = random.choice(list(owners))
            assert queue.remove(owners[entry], entry) == simple.remove(owners[entry], entry)
            assert not queue.remove(owners[entry], entry)
        elif what == "take":
            expected = simple.take(client)
            assert queue.take({client: 2, "d": 3}, 2) == expected
        assert list(queue) == [entry for _, entries in simple.lists for entry in entries]
        assert (len(queue), bool(queue)) == (len(list(queue)), bool(list(queue)))
        assert queue.next() == next(iter(queue), None)
        for whose in (None, "a", "b", "c"):
            assert queue.first(whose) == next(iter(simple.of(whose)), None)


def test_turns() -> None:
    """A client with many entries has one in each turn, in their order."""
    queue: FairQueue[int] = FairQueue()
    for number in range(5):
        queue.append("many", number)
    queue.append("one", 10)
    assert [queue.take() for _ in range(7)] == [0, 10, 1, 2, 3, 4, None]
