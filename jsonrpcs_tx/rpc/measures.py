"""How long commands take, by method, and what errors there are, by transport: what metrics tell besides counters.

Measuring a call must cost next to nothing, so what is known of a method is a plain row of integers, and the bucket of a
duration is its number of bits. The rows of worker processes are in memory that the main process sees.
"""

from collections.abc import Container, Sequence
from typing import Final, TypeAlias

from jsonrpcs_tx.rpc.replies import FAULTS

MAX_METHODS: Final = 500
"""Methods that are measured by themselves; all others are measured together."""

BITS: Final = 64
"""The cells of a row that count durations: cell C{n} those of 2**(n-1) to 2**n - 1 nanoseconds."""

SUM: Final = BITS
"""The cell of a row with the sum of all durations, in nanoseconds."""

FAILED: Final = BITS + 1
"""The cell of a row that counts the calls that were answered with an error."""

TELLING: Final = BITS + 2
"""How many cells tell something; those that follow say which calls are timed."""

LEFT: Final = BITS + 2
"""The cell with the number of calls that need not be timed before the next one is."""

WEIGHT: Final = BITS + 3
"""The cell with the number of calls for which the next timed one stands, itself included."""

TAKEN: Final = BITS + 4
"""The cell with the nanoseconds that the last timed call took."""

BEGUN: Final = BITS + 5
"""The cell with the time at which the last timed call began, in nanoseconds."""

WIDTH: Final = BITS + 6
"""The cells of a row."""

ONE_IN: Final = 64
"""While calls of a method come fast, one in so many is timed, and stands for all of them: looking at the clock twice
for each would cost more than the rest of measuring.
"""

FAST: Final = 100_000
"""Nanoseconds between calls that come fast: above 10,000 calls a second."""

Row: TypeAlias = "list[int] | memoryview[int]"
"""What is known of one method; or, of a transport, how many errors of each of L{KINDS} there were."""

KINDS: Final = (
    *(FAULTS, "forbidden", "parse_errors", "invalid_requests", "methods_not_found", "invalid_params"),
    "internal_errors",
)
"""The kinds of errors: the names of the counters in the group C{jsonrpc} that count them."""

KIND_CELL: Final = {kind: cell for cell, kind in enumerate(KINDS)}
"""The cell of each kind in the row of a transport."""


def new_row() -> Row:
    """A row in the memory of this process."""
    return [0] * WIDTH


def record(row: Row, begun: int, ended: int) -> None:
    """Count a call that was timed, and those for which it stands; decide which is timed next.

    @param begun: when it began, in nanoseconds of some clock, as C{ended} is.
    """
    taken, weight = ended - begun, row[WEIGHT] or 1
    row[taken.bit_length()] += weight
    row[SUM] += taken * weight
    row[WEIGHT] = ONE_IN if begun - row[BEGUN] < weight * FAST else 1
    row[LEFT] = row[WEIGHT] - 1
    row[TAKEN] = taken
    row[BEGUN] = begun


def record_apart(row: Row, taken: int, weight: int = 1) -> None:
    """Count a call that was timed, and stands for as many as the weight says; C{taken} is in nanoseconds."""
    row[taken.bit_length()] += weight
    row[SUM] += taken * weight


def settle(row: Row) -> None:
    """Count the calls that were not timed so far, each as long as the last one that was."""
    untimed = row[WEIGHT] - 1 - row[LEFT]
    if untimed > 0:
        row[row[TAKEN].bit_length()] += untimed
        row[SUM] += row[TAKEN] * untimed
        row[WEIGHT] = row[LEFT] + 1


class Measures:
    """What is measured.

    @param commands: the methods that there are. Others are measured together, whatever clients call them.
    @ivar rows: what is known of each method that was called.
    @ivar nodes: what is known of the calls on each node of a gateway, whatever their methods; the name of those on many
        nodes at once is empty.
    @ivar transports: what is known of the calls over each transport. Those that are not timed count with the next one
        of their method that is.
    @ivar errors: the errors of each transport.
    """

    def __init__(self, commands: Container[str]) -> None:
        self.rows: _RowsByMethod = _RowsByMethod(commands)
        self.nodes: dict[str, Row] = _NewRows()
        self.transports: dict[str, Row] = _NewRows()
        self.errors: dict[str, Row] = _NewRows()

    def shared(self, transport: str, methods: Sequence[str]) -> list[Row]:
        """The rows to which a worker process adds, in the same order in every process: those of the transport, of its
        errors and of all other methods, and one for each method.
        """
        return [
            self.transports[transport],
            self.errors[transport],
            self.rows.other,
            *map(self.rows.__getitem__, methods),
        ]

    def share(self, transport: str, methods: Sequence[str], rows: Sequence[Row]) -> None:
        """In a worker process: measure in rows that the main process sees; see L{shared} for their order."""
        self.transports[transport], self.errors[transport], self.rows.other, *by_method = rows
        self.rows.update(zip(methods, by_method, strict=True))
        self.rows.commands = frozenset()


class _RowsByMethod(dict[str, Row]):
    """The rows of methods, made when each is first called.

    @ivar commands: the methods that may have one.
    @ivar other: the row of all other methods.
    """

    def __init__(self, commands: Container[str]) -> None:
        self.commands = commands
        self.other: Row = new_row()

    def __missing__(self, method: str) -> Row:
        if method not in self.commands or len(self) >= MAX_METHODS:
            return self.other
        self[method] = row = new_row()
        return row


class _NewRows(dict[str, Row]):
    """Rows that are made when they are first asked for."""

    def __missing__(self, name: str) -> Row:
        self[name] = row = new_row()
        return row
