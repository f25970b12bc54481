"""Nodes of a fleet in the test's reactor, over a real Redis."""

from typing import Any

from jsonrpcs_tx import JsonRpcService, Settings, Variable, makeService
from jsonrpcs_tx.fleet.fleet import Fleet
from jsonrpcs_tx.rpc.faults import Fault
from tests.support.nodes import Node
from tests.support.reactor import until
from tests.support.redisclients import RedisCase, reactor

WANTED = ["dispatcher", "htable:ban", "cfg:core"]
SHARED = ("dispatcher", "htable:ban", "cfg:shop", "shv")


class FleetCase(RedisCase):
    """A case with nodes, which are stopped at its end."""

    def setUp(self) -> None:
        super().setUp()
        self.secret = self.directory / "secret"
        self.secret.write_text("the secret of the fleet in tests\n")
        self.secret.chmod(0o600)

    def node(self, url: str, name: str, **settings: Any) -> JsonRpcService:
        """Start a node with a datagram socket of its own, unless the settings say otherwise."""
        given: dict[str, Any] = {
            "fleet": url,
            "fleet_node": name,
            "fleet_secret": str(self.secret),
            "fleet_share": SHARED,
            "load": "all",
            "transport": 4,
            "dgram_socket": str(self.directory / f"{name}{len(self._cleanups)}"),
            "htable": ["ban=>autoexpire=100;", "own=>"],
            "shvset": ["open=i:1"],
        } | settings
        service = makeService(Settings(**given), reactor)
        service.variables.add("shop", [Variable("limit", 10, most=100)])
        return self.begin(service)

    def begin(self, service: JsonRpcService) -> JsonRpcService:
        """Start a service that ends with the test."""

        def end() -> Any:
            return service.stopService() if service.running else None

        service.privilegedStartService()
        service.startService()
        self.addCleanup(end)
        return service

    async def nodes(self, url: str, *names: str, **settings: Any) -> list[JsonRpcService]:
        """Start nodes, and wait until they are together."""
        services = [self.node(url, name, **settings) for name in names]
        await self.together(*services)
        return services

    async def together(self, *services: JsonRpcService) -> None:
        """Wait until nodes are together and have read equally far."""

        def are() -> bool:
            cores = [fleet_of(service).core for service in services]
            same = len({core.replica.cursor for core in cores}) == 1
            return same and all(core.together and not core.waiting for core in cores)

        await until(are)

    async def fault(self, service: JsonRpcService, method: str, *params: Any) -> Fault:
        """Make a call that must fail."""
        try:
            result = await service.call(method, *params)
        except Fault as fault:
            return fault
        raise AssertionError(f"it has not failed: {result!r}")

    def assert_equal_contents(self, *services: JsonRpcService) -> None:
        """All share the same."""
        found = [{name: thing.contents() for name, thing in fleet_of(one).things.items()} for one in services]
        for contents in found:
            assert contents == found[0]


class GatewaysCase(FleetCase):
    """A server, and gateways before it."""

    async def gateways(self, *names: str, options: str = "", **settings: Any) -> tuple[Node, list[JsonRpcService]]:
        """The server, and gateways that are together and see it; by default two, a and b.

        @param options: of the node.
        """
        node = Node()
        self.addCleanup(node.stop)
        self.redis = self.server()
        given = {"node": [f"k={node.target}{options}"], "node_interval": 0.05, "fleet_wanted": WANTED} | settings
        gateways = await self.nodes(self.redis.url, *(names or ("a", "b")), **given)
        for gateway in gateways:
            await until(lambda gateway=gateway: self.shown(gateway)["state"] == "up")  # type: ignore[misc]
        await until(lambda: self.redis.command("HLEN", "{fleet}:stood"))
        return node, gateways

    def shown(self, gateway: JsonRpcService) -> dict[str, Any]:
        """What a gateway shows of the server."""
        (shown,) = [one for one in gateway.registry["gateway.nodes"].function() if one["name"] == "k"]
        return shown  # type: ignore[no-any-return]


def fleet_of(service: JsonRpcService) -> Fleet:
    """The node that a service is."""
    return next(child for child in service if isinstance(child, Fleet))
