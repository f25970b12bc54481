"""Twisted as it comes, without JSON: echoes over UDP and Unix datagram, and gives a fixed body over HTTP and HTTPS.

Arguments: UDP port, Unix socket, HTTP port, HTTPS port, PEM file.
"""

import sys
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.endpoints import serverFromString
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import DatagramProtocol
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

BODY = b'{"jsonrpc":"2.0","result":["x",1],"id":1}'


class Echo(DatagramProtocol):
    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        assert self.transport is not None
        self.transport.write(datagram, addr)


class Fixed(Resource):
    isLeaf = True

    def render_POST(self, request: Request) -> bytes:
        request.setHeader(b"Content-Type", b"application/json")
        return BODY


reactor = cast(EPollReactor, installed)
udp, unix, http, https, pem = sys.argv[1:]
reactor.listenUDP(int(udp), Echo(), "127.0.0.1")
reactor.listenUNIXDatagram(unix, Echo())
site = Site(Fixed())
serverFromString(reactor, f"tcp:{http}:interface=127.0.0.1").listen(site)
serverFromString(reactor, f"ssl:{https}:interface=127.0.0.1:privateKey={pem}:certKey={pem}").listen(site)
reactor.run()
