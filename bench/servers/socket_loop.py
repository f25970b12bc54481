"""The floor of Python: a loop over recvfrom and sendto, without JSON. Argument: UDP port or Unix socket."""

import socket
import sys

(address,) = sys.argv[1:]
if address.isdigit():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", int(address)))
else:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(address)
while True:
    data, peer = sock.recvfrom(65536)
    if peer:
        sock.sendto(data, peer)
