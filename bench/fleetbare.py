"""A process that reads the stream of a fleet and does nothing with it: what a change costs at the least.

python -m bench.fleetbare loop|twisted PATH STREAM

C{loop} waits, reads and writes with the system's calls alone, C{twisted} in a reactor. Both send the next read as soon
as the reply is there, as a node does. Started by L{bench.fleet}, which measures what they use.
"""

import select
import socket
import sys
from functools import partial
from typing import Any

from twisted.internet import tcp
from twisted.internet.protocol import ClientFactory, Protocol

from jsonrpcs_tx.redis.resp import encode

SIZE = 65536


def follow_in_loop(path: str, read: bytes) -> None:
    """Follow the stream without a reactor, until Redis has gone."""
    with socket.socket(socket.AF_UNIX) as server, select.epoll() as poll:
        server.connect(path)
        server.setblocking(False)
        poll.register(server, select.EPOLLIN)
        server.send(read)
        print("reading", flush=True)
        while poll.poll() and server.recv(SIZE):
            server.send(read)


def follow_in_reactor(path: str, read: bytes) -> None:
    """Follow the stream in a reactor, until Redis has gone."""
    from twisted.internet import reactor as installed

    reactor: Any = installed

    class Follower(Protocol):
        transport: Any

        def connectionMade(self) -> None:
            self.transport.doRead = partial(tcp.Connection.doRead, self.transport)  # as our client has it
            self.transport.write(read)
            print("reading", flush=True)

        def dataReceived(self, data: bytes) -> None:
            self.transport.socket.send(read)

        def connectionLost(self, reason: Any = None) -> None:
            reactor.crash()

    factory = ClientFactory()
    factory.protocol = Follower
    reactor.connectUNIX(path, factory)
    reactor.run()


def main() -> None:
    """Follow a stream."""
    way, path, stream = sys.argv[1:]
    read = encode(("XREAD", "COUNT", 500, "BLOCK", 2000, "STREAMS", stream, "$"))
    {"loop": follow_in_loop, "twisted": follow_in_reactor}[way](path, read)


if __name__ == "__main__":
    main()
