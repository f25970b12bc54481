"""The counters of requests and replies."""

from collections.abc import Mapping

from jsonrpcs_tx.rpc.envelope import Dialect
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.replies import FAULTS
from jsonrpcs_tx.state.counters import Counter, Counters, Traffic


class RequestCounts:
    """Counts requests, replies and errors: in a group for each transport, and in the groups C{core} and C{jsonrpc}.

    @param dialect: its errors are counted separately from those of commands.
    @ivar traffic: the counters of each transport by its name.
    @ivar requests: all requests.
    @ivar ignored: replies that came in place of requests.
    @ivar forbidden: requests that rules have refused.
    @ivar slow: how often something has blocked the reactor.
    """

    def __init__(self, counters: Counters, dialect: Dialect) -> None:
        def jsonrpc(name: str, help: str) -> Counter:
            return counters.counter("jsonrpc", name, help)

        self.traffic: Mapping[str, Traffic] = _TrafficByTransport(counters)
        self.requests: Counter = counters.counter("core", "rcv_requests", "requests received")
        self.ignored: Counter = jsonrpc("replies_ignored", "replies received where requests are expected; not answered")
        self.forbidden: Counter = jsonrpc("forbidden", "requests that rules have refused")
        self.slow: Counter = jsonrpc(
            "slow_commands", "times that a command has blocked the reactor, see the setting watchdog"
        )
        self._errors = counters.counter("core", "err_requests", "requests that were answered with an error")
        self._faults = jsonrpc(FAULTS, "errors of commands")
        self._kinds = {
            dialect.parse_error: jsonrpc("parse_errors", "documents that were not JSON"),
            dialect.invalid_request: jsonrpc("invalid_requests", "documents that were not requests"),
            dialect.method_not_found: jsonrpc("methods_not_found", "requests for unknown commands"),
            dialect.invalid_params: jsonrpc("invalid_params", "requests whose parameters did not fit the command"),
            dialect.internal_error: jsonrpc("internal_errors", "commands that failed; the log says how"),
        }

    def counters(self, transport: str) -> list[Counter]:
        """Those that count a transport's requests, its own and the general ones."""
        traffic = self.traffic[transport]
        own = [getattr(traffic, name) for name in Traffic.__slots__]
        general = [self.requests, self.ignored, self.forbidden, self.slow, self._errors, self._faults]
        return [*own, *general, *self._kinds.values()]

    def error(self, kind: Error) -> str:
        """Count an error reply.

        @param kind: the error of the dialect that it counts as, without data; any other is the command's own.
        @return: the name of the counter that it counts in, besides that of all errors.
        """
        self._errors.value += 1
        counter = self._kinds.get(kind, self._faults)
        counter.value += 1
        return counter.name


class _TrafficByTransport(dict[str, Traffic]):
    """The counters of each transport, made when they are first asked for."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def __missing__(self, transport: str) -> Traffic:
        self[transport] = traffic = Traffic(self._counters, transport)
        return traffic
