"""Latencies, as Kamailio 5.6.3 has computed them of the same answers (recorded)."""

import pytest

from jsonrpcs_tx.state.latency import FEW, MOST, SETTLED, Latency


def shown(latency: Latency) -> list[str]:
    """The statistics with Kamailio's digits."""
    return [f"{value:.6f}" for value in (latency.average, latency.deviation, latency.estimate)]


RECORDED_FIRST = [
    (12, "12.000000 0.000000 12.000000", 12),
    (12, "12.000000 0.000000 12.000000", 12),
    (52, "25.333334 23.094011 25.333334", 52),
    (11, None, 52),
    (51, "27.600000 21.824299 27.600000", 52),
    (11, "24.833334 20.663172 24.833334", 52),
    (51, "28.571428 21.298334 28.571428", 52),
    (51, "31.375000 21.253151 31.375000", 52),
    (52, None, 52),
    (10, "31.300001 21.197746 21.833334", 52),
    (52, "33.181820 21.056202 36.916668", 52),
    (51, None, 52),
    (11, "32.846153 20.899944 27.479168", 52),
]
"""Answers in milliseconds, each with average, deviation and estimate after it, where they were seen, and the longest;
C{ds_latency_estimator_alpha} was 500.
"""

RECORDED_EXPECTED = [
    (10, "23.998600 0.139993 17.000000", 24),
    (10, "23.997200 0.197960 13.500000", 24),
    (12, "23.996000 0.231459 12.750000", 24),
    (10, "23.994600 0.270461 11.375000", 24),
    (11, "23.993301 0.300032 11.187500", 24),
    (11, "23.992002 0.326929 11.093750", 24),
    (11, "23.990704 0.351766 11.046875", 24),
    (10, "23.989305 0.378530 10.523438", 24),
    (11, "23.988008 0.400160 10.761719", 24),
    (10, "23.986610 0.423862 10.380859", 24),
]
"""The same of a destination with C{latency=24}."""


@pytest.mark.parametrize(("expected", "recorded"), [(0, RECORDED_FIRST), (24, RECORDED_EXPECTED)])
def test_recorded(expected: int, recorded: list[tuple[int, str | None, int]]) -> None:
    """After each answer the statistics are Kamailio's, digit by digit."""
    latency = Latency(expected)
    assert shown(latency) == [f"{expected}.000000", "0.000000", f"{expected}.000000"]
    for milliseconds, digits, most in recorded:
        latency.answered(milliseconds, 0.5)
        if digits is not None:
            assert " ".join(shown(latency)) == digits
        assert latency.most == most
    assert latency.timeouts == 0


def test_default_memory() -> None:
    """With the default of 0.9, which single precision does not have, the digits are Kamailio's as well."""
    latency = Latency(24)
    latency.answered(78, 0.9)
    assert shown(latency) == ["24.005400", "0.539973", "29.400002"]
    latency.answered(51, 0.9)
    assert shown(latency) == ["24.008099", "0.603654", "31.560001"]


def test_settled() -> None:
    """An average that does not vary counts as settled after a few answers: a single slow one hardly changes it."""
    latency = Latency()
    for _ in range(FEW + 1):
        latency.answered(20, 0.9)
    latency.answered(1020, 0.9)
    assert latency.average == pytest.approx(20 + 1000 / (SETTLED + 1))
    assert latency.most == 1020


def test_weighted() -> None:
    """Beyond a number of answers, each further one has the same weight."""
    latency = Latency(10)
    latency._count = MOST - 1
    for _ in range(3):
        latency.answered(10, 0.9)
        assert latency._count == MOST
    before = latency.average
    latency.answered(1010, 0.9)
    assert latency.average - before == pytest.approx(1000 / MOST, rel=0.01)


def test_timeouts() -> None:
    """Timeouts are counted, and change nothing else."""
    latency = Latency(24)
    latency.timed_out()
    latency.timed_out()
    assert (latency.timeouts, shown(latency)) == (2, shown(Latency(24)))
