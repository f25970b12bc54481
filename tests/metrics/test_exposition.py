"""What the exposition writes, read by the parsers of prometheus_client."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_text

from jsonrpcs_tx.metrics.exposition import (
    COUNTER,
    GAUGE,
    HISTOGRAM,
    INFO,
    MAX_NAME,
    MAX_SAMPLES,
    MAX_VALUE,
    OPENMETRICS,
    TEXT,
    UNKNOWN,
    Family,
    Format,
    Names,
    Sample,
    buckets,
    labels,
    metric_name,
    render,
)
from jsonrpcs_tx.printable import printable

READERS: Mapping[Format, Any] = {TEXT: read_text, OPENMETRICS: read_open}


def written(form: Format, *families: Family) -> str:
    return b"".join(render(families, form)).decode()


def read(form: Format, *families: Family) -> list[Any]:
    return list(READERS[form](written(form, *families)))


def test_text_format() -> None:
    """The text format has the names of series in its comments, and knows neither units nor info."""
    assert written(
        TEXT,
        Family("a_bytes", COUNTER, 'Bytes \\ "sent".\n', [Sample(3, labels(to='x\\"y')), Sample(0.5)], "bytes"),
        Family("b", INFO, "Facts.", [Sample(1, labels(version="1"))]),
        Family("c", UNKNOWN, "Unknown.", [Sample(-7)]),
        Family("d", GAUGE, "Nothing.", []),
    ) == (
        '# HELP a_bytes_total Bytes \\\\ "sent".\\\\n\n# TYPE a_bytes_total counter\n'
        'a_bytes_total{to="x\\\\\\"y"} 3\na_bytes_total 0.5\n'
        '# HELP b_info Facts.\n# TYPE b_info gauge\nb_info{version="1"} 1\n'
        "# HELP c Unknown.\n# TYPE c untyped\nc -7\n"
    )


def test_openmetrics() -> None:
    """OpenMetrics has the names of families, their units, and an end."""
    assert written(
        OPENMETRICS,
        Family("a_bytes", COUNTER, 'Bytes "sent".', [Sample(3)], "bytes"),
        Family("b", INFO, "Facts.", [Sample(1, labels(version="1"))]),
        Family("c", UNKNOWN, "Unknown.", [Sample(-7)]),
    ) == (
        '# TYPE a_bytes counter\n# UNIT a_bytes bytes\n# HELP a_bytes Bytes \\"sent\\".\na_bytes_total 3\n'
        '# TYPE b info\n# HELP b Facts.\nb_info{version="1"} 1\n'
        "# TYPE c unknown\n# HELP c Unknown.\nc -7\n"
        "# EOF\n"
    )


@pytest.mark.parametrize("form", READERS)
def test_histogram(form: Format) -> None:
    """A histogram is cumulative, and its last bucket is its count."""
    samples = buckets([(0.001, 2), (1, 0), (2.5, 3)], 4, 12.5, labels(method="m"))
    (family,) = read(form, Family("h_seconds", HISTOGRAM, "Durations.", samples, "seconds"))
    assert family.type == "histogram"
    found = {f"{sample.name} {sample.labels.get('le')}": sample.value for sample in family.samples}
    assert found == {
        "h_seconds_bucket 0.001": 2,
        "h_seconds_bucket 1": 2,
        "h_seconds_bucket 2.5": 5,
        "h_seconds_bucket +Inf": 9,
        "h_seconds_count None": 9,
        "h_seconds_sum None": 12.5,
    }
    assert all(sample.labels["method"] == "m" for sample in family.samples)


@given(st.text(), st.text())
def test_any_text(help: str, value: str) -> None:
    """Whatever stands in helps and labels, it is read as it was written, with what is not printable escaped."""
    for form in READERS:
        (family,) = read(form, Family("a", GAUGE, help, [Sample(1, labels(x=value))]))
        assert family.samples[0].labels == {"x": printable(value[:MAX_VALUE])}
        assert family.documentation.strip() == printable(help).strip()


@given(st.one_of(st.integers(), st.floats()))
def test_any_number(value: float) -> None:
    """Every number is read as it was written, as far as a float can tell."""
    for form in READERS:
        (family,) = read(form, Family("a", GAUGE, "A.", [Sample(value)]))
        found = family.samples[0].value
        assert float(found) == float(value) or (math.isnan(found) and math.isnan(value))


@pytest.mark.parametrize(
    ("value", "shown"), [(10**400, "+Inf"), (-(10**400), "-Inf"), (2**70, "1.1805916207174113e+21")]
)
def test_large_numbers(value: int, shown: str) -> None:
    """Integers that no float holds are infinite: Prometheus's numbers are floats."""
    assert written(TEXT, Family("a", GAUGE, "A.", [Sample(value)])).endswith(f"a {shown}\n")


def test_names() -> None:
    """What may not be in a name becomes an underscore; a long name is cut."""
    assert metric_name("jsonrpcs", "shop-1", "größe.x y") == "jsonrpcs_shop_1_gr_e_x_y"
    assert len(metric_name("a", "b" * 10_000)) == MAX_NAME
    assert len(labels(x="y" * 10_000)) == MAX_VALUE + len('{x=""}')


@pytest.mark.parametrize(
    ("first", "second", "free"),
    [
        (("a", GAUGE), ("a", COUNTER), False),
        (("a", COUNTER), ("a_total", GAUGE), False),
        (("a_total", GAUGE), ("a", COUNTER), False),
        (("a", COUNTER), ("a_created", UNKNOWN), False),
        (("a", COUNTER), ("a_bucket", GAUGE), True),
        (("a", HISTOGRAM), ("a_bucket", GAUGE), False),
        (("a", HISTOGRAM), ("a_count", COUNTER), False),
        (("a_sum", COUNTER), ("a", HISTOGRAM), False),
        (("a", INFO), ("a_info", GAUGE), False),
        (("a", GAUGE), ("a_total", COUNTER), True),
        (("total", GAUGE), ("a_total", GAUGE), True),
    ],
)
def test_names_in_common(first: tuple[str, str], second: tuple[str, str], free: bool) -> None:
    """Two families may not have the name of a series in common; OpenMetrics parsers refuse them."""
    families = [Family(*one, "Help.", [Sample(1)]) for one in (first, second)]
    names = Names()
    assert names.take(families[0])
    assert names.take(families[1]) is free


def test_pieces() -> None:
    """A large family comes in pieces, with one head."""
    family = Family("a", GAUGE, "A.", (Sample(1, labels(n=number)) for number in range(5 * MAX_SAMPLES)))
    pieces = list(render([family], TEXT))
    assert len(pieces) == 6
    (found,) = read_text(b"".join(pieces).decode())
    assert len(found.samples) == 5 * MAX_SAMPLES
