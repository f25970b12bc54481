"""Families of metrics as bytes, in the text format 0.0.4 of Prometheus and in OpenMetrics 1.0.

Specifications: U{https://prometheus.io/docs/instrumenting/exposition_formats/} and
U{https://prometheus.io/docs/specs/om/open_metrics_spec/}.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Final, NamedTuple

import attrs

from jsonrpcs_tx.printable import printable

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"
INFO: Final = "info"
"""Facts in labels; the value is 1."""
UNKNOWN: Final = "unknown"
"""It is not known whether it counts."""

MAX_NAME: Final = 200
"""Characters of the longest name. A longer one is cut."""

MAX_VALUE: Final = 1000
"""Characters of the longest value of a label. A longer one is cut."""

MAX_SAMPLES: Final = 200
"""Samples in one piece of what L{render} yields."""

_LARGE: Final = 2**64
_FOREIGN = re.compile("[^a-zA-Z0-9_]+")
_PLAIN = re.compile(r"[^\\\"\n]*")


class Sample(NamedTuple):
    """One line.

    @ivar value: a number, not a boolean.
    @ivar labels: as L{labels} writes them.
    @ivar suffix: follows the family's name, such as C{_bucket}; empty: the one that the type of the family requires.
    """

    value: float
    labels: str = ""
    suffix: str = ""


@attrs.frozen
class Family:
    """Metrics with one name, which differ by their labels.

    @ivar name: without a suffix: C{jsonrpcs_requests} for C{jsonrpcs_requests_total}. It ends with the unit.
    @ivar kind: its type, one of L{COUNTER}, L{GAUGE}, L{HISTOGRAM}, L{INFO} and L{UNKNOWN}.
    @ivar help: a sentence.
    @ivar samples: iterated over once.
    @ivar unit: C{seconds} or C{bytes}, for example; empty: it is a number of things.
    """

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]
    unit: str = ""


class Names:
    """The names of families, and of their series, which no two families may have in common."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}

    def take(self, family: Family) -> bool:
        """Take the names of a family.

        @return: whether they were free; otherwise nothing is taken.
        """
        name, kinds = family.name, self._kinds
        if name in kinds or any(name + suffix in kinds for suffix in _SUFFIXES[family.kind]):
            return False
        before, _, last = name.rpartition("_")
        if f"_{last}" in _SUFFIXES.get(kinds.get(before, GAUGE), ()):
            return False
        kinds[name] = family.kind
        return True


_SUFFIXES: Final[Mapping[str, Sequence[str]]] = {
    COUNTER: ("_total", "_created"),
    GAUGE: (),
    HISTOGRAM: ("_bucket", "_sum", "_count", "_created"),
    INFO: ("_info",),
    UNKNOWN: (),
}


@attrs.frozen
class Format:
    """How metrics are written.

    @ivar content_type: of the whole.
    @ivar is_open: it is OpenMetrics.
    """

    content_type: bytes
    is_open: bool


TEXT: Final = Format(b"text/plain; version=0.0.4; charset=utf-8", is_open=False)
OPENMETRICS: Final = Format(b"application/openmetrics-text; version=1.0.0; charset=utf-8", is_open=True)


def labels(**values: object) -> str:
    """Labels in braces. Characters in a value that are not printable are escaped as in Python, so that values stay
    distinct; a value that is too long is cut.
    """
    return "{" + ",".join(f'{name}="{escape_value(str(value))}"' for name, value in values.items()) + "}"


def escape_value(text: str) -> str:
    """The value of a label as it is written between the quotes."""
    return escape(printable(text[:MAX_VALUE]))


def escape(text: str) -> str:
    """A text whose backslashes, quotes and line feeds are escaped."""
    if _PLAIN.fullmatch(text):
        return text
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def metric_name(*parts: str) -> str:
    """A name made of parts. Characters that are not allowed in names become underscores."""
    return _FOREIGN.sub("_", "_".join(parts))[:MAX_NAME]


def number(value: float) -> str:
    """A number as both formats write it. Integers beyond 64 bits are rounded to floats."""
    if type(value) is int and -_LARGE < value < _LARGE:
        return str(value)
    try:
        value = float(value)
    except OverflowError:
        value = inf if value > 0 else -inf
    if value != value:
        return "NaN"
    return repr(value).replace("inf", "Inf") if value < inf else "+Inf"


def buckets(counts: Sequence[tuple[float, int]], more: int, total: float, labels: str = "") -> Iterator[Sample]:
    """The samples of one histogram.

    @param counts: the upper bound of each bucket, in rising order, with the number of values in this bucket alone.
    @param more: the number of values above all bounds.
    @param total: the sum of all values.
    @param labels: those of the histogram.
    """
    before = f"{labels[:-1]}," if labels else "{"
    so_far = 0
    for bound, count in counts:
        so_far += count
        yield Sample(so_far, f'{before}le="{number(bound)}"}}', "_bucket")
    yield Sample(so_far + more, f'{before}le="+Inf"}}', "_bucket")
    yield Sample(total, labels, "_sum")
    yield Sample(so_far + more, labels, "_count")


def render(families: Iterable[Family], form: Format) -> Iterator[bytes]:
    """Write families, each with at least one sample, in pieces that take well below a millisecond each.

    @param families: with different names.
    @param form: L{TEXT} or L{OPENMETRICS}.
    """
    for family in families:
        for piece in _pieces(family.samples):
            if piece.first:
                yield _head(family, form).encode()
            yield _lines(family, piece.samples).encode()
    if form.is_open:
        yield b"# EOF\n"


class _Piece(NamedTuple):
    samples: list[Sample]
    first: bool


def _pieces(samples: Iterable[Sample]) -> Iterator[_Piece]:
    """The samples of a family, in lists of up to L{MAX_SAMPLES}; nothing if it has no samples."""
    collected: list[Sample] = []
    first = True
    for sample in samples:
        collected.append(sample)
        if len(collected) == MAX_SAMPLES:
            yield _Piece(collected, first)
            collected, first = [], False
    if collected:
        yield _Piece(collected, first)


_SUFFIX: Final[Mapping[str, str]] = {COUNTER: "_total", INFO: "_info"}
_TEXT_TYPE: Final[Mapping[str, str]] = {INFO: GAUGE, UNKNOWN: "untyped"}
"""The type that the text format has in place of one of OpenMetrics."""


def _head(family: Family, form: Format) -> str:
    name, help = family.name, printable(family.help)
    if form.is_open:
        unit = f"# UNIT {name} {family.unit}\n" if family.unit else ""
        return f"# TYPE {name} {family.kind}\n{unit}# HELP {name} {escape(help)}\n"
    name += _SUFFIX.get(family.kind, "")
    escaped = help.replace("\\", r"\\")
    return f"# HELP {name} {escaped}\n# TYPE {name} {_TEXT_TYPE.get(family.kind, family.kind)}\n"


def _lines(family: Family, samples: Iterable[Sample]) -> str:
    name, usual = family.name, _SUFFIX.get(family.kind, "")
    return "".join(f"{name}{suffix or usual}{labels} {number(value)}\n" for value, labels, suffix in samples)
