"""jsonrpclib-pelix, with its pool of threads. Argument: port."""

import sys

from jsonrpclib.SimpleJSONRPCServer import PooledJSONRPCServer

server = PooledJSONRPCServer(("127.0.0.1", int(sys.argv[1])), logRequests=False)
server.register_function(lambda *params: list(params), "jsonrpc.echo")
server.serve_forever()
