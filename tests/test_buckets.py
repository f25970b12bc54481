"""Token buckets."""

from twisted.internet.task import Clock

from jsonrpcs_tx.buckets import TokenBuckets


def test_bucket() -> None:
    """A bucket is full at first, empty after as many tokens, and fills again with time, up to its size."""
    clock = Clock()
    buckets = TokenBuckets(3, 2, clock.seconds)
    for _ in range(3):
        assert buckets.wait("a") == 0
        buckets.take("a")
    assert (buckets.wait("a"), buckets.wait("b")) == (0.5, 0)
    clock.advance(0.25)
    assert buckets.wait("a") == 0.25
    buckets.take("a", -1)
    assert buckets.wait("a") == 0
    clock.advance(1000)
    for _ in range(3):
        buckets.take("a")
    assert buckets.wait("a") == 0.5
    clock.rightNow -= 500
    assert buckets.wait("a") == 0.5


def test_buckets_are_bounded() -> None:
    """The least recently used bucket is forgotten first."""
    buckets = TokenBuckets(1, 1, Clock().seconds, 3)
    for key in "abcad":
        buckets.take(key)
    assert len(buckets) == 3
    assert [buckets.wait(key) > 0 for key in "abcd"] == [True, False, True, True]
