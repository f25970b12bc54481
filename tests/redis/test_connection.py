"""One connection, with a clock and a transport in memory."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jsonrpcs_tx.redis.connection import HEARTBEAT, MAX_BYTES, MAX_CALLS, PATIENCE, Connection
from jsonrpcs_tx.redis.errors import RedisAway, RedisBusy, RedisTimeout

PING = b"*1\r\n$4\r\nPING\r\n"


class OneConnection(SynchronousTestCase):
    """A connection to a Redis that the test plays."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.reasons: list[str] = []
        self.connection = Connection(self.clock, self.reasons.append)
        transport: Any = StringTransportWithDisconnection()
        transport.protocol = self.connection
        transport.abortConnection = transport.loseConnection
        self.transport = transport
        self.connection.makeConnection(self.transport)

    def call(self, *words: bytes | str | int, seconds: float = 10) -> Deferred[Any]:
        """Make a call that has so many seconds."""
        return self.connection.call(words, self.clock.seconds() + seconds)

    def sent(self) -> bytes:
        """What has been sent since the last time."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def reasons_when_failed(self, waiting: Deferred[Any]) -> list[list[str]]:
        """What the owner has been told when a call fails."""
        seen: list[list[str]] = []

        def failed(failure: Failure) -> Failure:
            seen.append([*self.reasons])
            return failure

        waiting.addErrback(failed)
        return seen

    def test_pipelined(self) -> None:
        """Calls are sent at once, and get their replies in order."""
        first, second = self.call("PING"), self.call("PING")
        assert self.sent() == 2 * PING
        self.connection.dataReceived(b"+A\r\n")
        assert self.successResultOf(first) == b"A"
        self.assertNoResult(second)
        self.connection.dataReceived(b"+B\r\n")
        assert self.successResultOf(second) == b"B"

    def test_deadline(self) -> None:
        """Only the call that is late fails at its deadline; its reply is dropped."""
        late, patient = self.call("PING", seconds=0.5), self.call("PING", seconds=10)
        self.clock.advance(0.4)
        self.assertNoResult(late)
        self.clock.advance(0.1)
        assert self.failureResultOf(late, RedisTimeout).value.sent
        self.assertNoResult(patient)
        self.connection.dataReceived(b"+LATE\r\n+B\r\n")
        assert self.successResultOf(patient) == b"B"
        assert self.reasons == []

    def test_deadline_of_later_calls(self) -> None:
        """A later call may be due earlier."""
        for seconds in (9, 0.9, 0.3, 0.6):
            self.call("PING", seconds=seconds).addErrback(lambda _, at: self.reasons.append(f"{at}"), seconds)
        for _ in range(10):
            self.clock.advance(0.1)
        assert self.reasons == ["0.3", "0.6", "0.9"]

    def test_past_deadline(self) -> None:
        """A call that is late before it is sent is not sent."""
        assert not self.failureResultOf(self.call("PING", seconds=0), RedisTimeout).value.sent
        assert self.sent() == b""

    def test_hangs(self) -> None:
        """A Redis that has answered nothing since a call was sent is given up at its deadline, before that call fails.
        The others have been sent.
        """
        late, other = self.call("PING", seconds=PATIENCE), self.call("PING", seconds=10)
        seen = self.reasons_when_failed(late)
        self.clock.advance(PATIENCE)
        assert seen == [["it has not answered in time"]]
        self.failureResultOf(late, RedisTimeout)
        assert self.failureResultOf(other, RedisAway).value.sent
        assert not self.failureResultOf(self.call("PING"), RedisAway).value.sent
        assert not self.transport.connected
        assert self.clock.getDelayedCalls() == []

    def test_slow_but_alive(self) -> None:
        """The connection to a Redis that answers other calls in the meantime is kept."""
        self.call("PING", seconds=10)
        late = self.call("PING", seconds=2)
        self.clock.advance(1)
        self.connection.dataReceived(b"+A\r\n")
        self.clock.advance(1)
        self.failureResultOf(late, RedisTimeout)
        assert self.reasons == []

    def test_trickle(self) -> None:
        """A server that sends a byte now and then, but never a reply, is given up."""
        self.connection.keep_alive()
        late = self.call("PING", seconds=5)
        for _ in range(10):
            self.clock.advance(0.5)
            if not self.reasons:
                self.connection.dataReceived(b"+")
        self.failureResultOf(late, RedisTimeout)
        assert self.reasons == ["it has not answered in time"]

    def test_cancel(self) -> None:
        """A call that is cancelled no longer waits; its reply is dropped."""
        dropped, kept = self.call("PING"), self.call("PING")
        dropped.cancel()
        self.failureResultOf(dropped, CancelledError)
        self.connection.dataReceived(b"+A\r\n+B\r\n")
        assert self.successResultOf(kept) == b"B"
        dropped = self.call("PING", seconds=0.5)
        dropped.cancel()
        self.failureResultOf(dropped, CancelledError)
        self.clock.advance(0.5)
        dropped = self.call("PING", seconds=0.5)
        dropped.cancel()
        self.failureResultOf(dropped, CancelledError)
        self.connection.give_up("x")

    def test_lost(self) -> None:
        """When the connection breaks, calls fail, and the owner knows it before they do."""
        waiting = self.call("PING")
        seen = self.reasons_when_failed(waiting)
        self.connection.connectionLost(Failure(ConnectionDone()))
        assert seen == [["it has closed the connection"]]
        error = self.failureResultOf(waiting, RedisAway).value
        assert error.sent
        assert str(error) == "Redis is away: it has closed the connection; it may have run the command"
        self.connection.give_up("again")
        assert len(self.reasons) == 1

    def test_calls_of_those_who_fail(self) -> None:
        """A call that is made because another fails, fails as well."""
        again: list[Deferred[Any]] = []
        self.call("PING").addErrback(lambda failure: again.append(self.call("PING")))
        self.connection.give_up("x")
        self.failureResultOf(again[0], RedisAway)

    def test_too_many(self) -> None:
        """Only so many calls wait; one more is not sent."""
        waiting = [self.call("PING") for _ in range(MAX_CALLS)]
        self.sent()
        error = self.failureResultOf(self.call("PING"), RedisBusy).value
        assert not error.sent
        assert str(error) == "too much waits for Redis: 10000 calls; allowed: 10000"
        assert self.sent() == b""
        self.connection.dataReceived(b"+A\r\n")
        self.successResultOf(waiting[0])
        self.assertNoResult(self.call("PING"))

    def test_too_large(self) -> None:
        """Only so many bytes wait; they are free again when the reply comes, or when it is late and comes."""
        large = self.call("SET", "k", b"x" * (MAX_BYTES - 1000), seconds=0.5)
        self.failureResultOf(self.call("SET", "k", b"x" * 1000), RedisBusy)
        self.clock.advance(0.5)
        self.failureResultOf(large, RedisTimeout)
        self.failureResultOf(self.call("SET", "k", b"x" * 1000), RedisBusy)
        self.connection.dataReceived(b"+A\r\n")
        self.assertNoResult(self.call("SET", "k", b"x" * 1000))
        error = self.failureResultOf(self.call("SET", "k", b"x" * MAX_BYTES), RedisBusy).value
        assert "allowed: 16777216" in str(error)

    def test_unasked(self) -> None:
        """A reply to nothing ends the connection, and is quoted if it is an error."""
        self.connection.dataReceived(b"-ERR max number of clients reached\r\n")
        assert self.reasons == ["it has sent a reply that nobody waits for: ERR max number of clients reached"]

    def test_more_than_asked(self) -> None:
        """Replies that were asked for are delivered, whatever follows them."""
        asked = self.call("PING")
        self.connection.dataReceived(b"+A\r\n+B\r\n+C\r\n")
        assert self.successResultOf(asked) == b"A"
        assert self.reasons == ["it has sent a reply that nobody waits for"]

    def test_not_redis(self) -> None:
        """Data that is not Redis's protocol ends the connection."""
        asked = self.call("PING")
        self.connection.dataReceived(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.failureResultOf(asked, RedisAway)
        assert self.reasons == ["it does not speak Redis's protocol: a reply begins with b'H'"]

    def test_demoted(self) -> None:
        """A master that has become a replica is given up; the call that shows it fails with its reply."""
        asked, other = self.call("SET", "a", 1), self.call("SET", "a", 1)
        self.connection.dataReceived(b"-READONLY You can't write against a read only replica.\r\n")
        assert self.failureResultOf(asked).value.code == "READONLY"
        self.failureResultOf(other, RedisAway)
        assert self.reasons == ["it has become a replica"]

    def test_heartbeat(self) -> None:
        """An idle connection is tested by a PING, and kept while replies arrive."""
        self.connection.keep_alive()
        for _ in range(5):
            self.clock.advance(HEARTBEAT)
            assert self.sent() == PING
            self.connection.dataReceived(b"+PONG\r\n")
            self.clock.advance(HEARTBEAT)
            assert self.sent() == b""
        assert self.reasons == []

    def test_silence(self) -> None:
        """A connection that stays silent is given up, even if nobody waits, or only those who are patient."""
        self.connection.keep_alive()
        self.clock.advance(HEARTBEAT)
        patient = self.call("PING", seconds=1000)
        self.clock.advance(HEARTBEAT)
        self.assertNoResult(patient)
        self.clock.advance(HEARTBEAT)
        self.failureResultOf(patient, RedisAway)
        assert self.reasons == ["it has been silent for 6 seconds or more"]

    def test_busy_is_not_silent(self) -> None:
        """A large reply that takes long to come keeps the connection."""
        self.connection.keep_alive()
        patient = self.call("GET", "k", seconds=1000)
        self.connection.dataReceived(b"$100\r\n")
        for _ in range(100):
            self.clock.advance(HEARTBEAT)
            self.connection.dataReceived(b"x")
        self.connection.dataReceived(b"\r\n")
        self.successResultOf(patient)
        assert self.reasons == []
