"""txjsonrpc-ng on twisted.web. Argument: port."""

import sys

from twisted.internet import reactor
from twisted.web.server import Site
from txjsonrpc_ng.web.jsonrpc import JSONRPC


class JsonRpc(JSONRPC):
    def jsonrpc_echo(self, *params):
        return list(params)


class Root(JSONRPC):
    pass


root = Root()
root.putSubHandler("jsonrpc", JsonRpc())
reactor.listenTCP(int(sys.argv[1]), Site(root), interface="127.0.0.1")
reactor.run()
