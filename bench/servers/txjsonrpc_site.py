"""txjsonrpc-ng on twisted.web. Argument: port."""

import sys

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.server import Site
from txjsonrpc_ng.web.jsonrpc import JSONRPC


class JsonRpc(JSONRPC):  # type: ignore[misc] # it has no annotations
    def jsonrpc_echo(self, *params: object) -> list[object]:
        return list(params)


class Root(JSONRPC):  # type: ignore[misc] # it has no annotations
    pass


root = Root()
root.putSubHandler("jsonrpc", JsonRpc())
serverFromString(reactor, f"tcp:{sys.argv[1]}:interface=127.0.0.1").listen(Site(root))
reactor.run()
