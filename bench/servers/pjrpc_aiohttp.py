"""pjrpc on aiohttp. Argument: port."""

import sys

import pjrpc.server
from aiohttp import web
from pjrpc.server.integration import aiohttp

registry = pjrpc.server.MethodRegistry()


async def echo(first: object, second: object) -> list[object]:
    return [first, second]


registry.add(name="jsonrpc.echo")(echo)
application = aiohttp.Application("/RPC")
application.add_methods(registry)
web.run_app(application.http_app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
