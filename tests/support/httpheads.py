"""Heads of requests that RFC 9112 forbids, and odd ones that it allows."""

from tests.support import ECHO

LENGTH = b"Content-Length: %d" % len(ECHO)
HOST = b"Host: localhost"
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ECHO), ECHO)
SMUGGLED = b"POST /RPC HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(ECHO), ECHO)


def request(*lines: bytes, body: bytes = ECHO, first: bytes = b"POST /RPC HTTP/1.1") -> bytes:
    return b"\r\n".join((first, *lines, b"", body))


REFUSED = {
    "no host": (400, request(LENGTH)),
    "two hosts": (400, request(HOST, HOST, LENGTH)),
    "two authorizations": (400, request(HOST, LENGTH, b"Authorization: Basic YTpi", b"authorization: Basic YTpj")),
    "the same authorization twice": (400, request(HOST, LENGTH, *[b"Authorization: Basic YTpi"] * 2)),
    "two origins": (400, request(HOST, LENGTH, b"Origin: http://localhost", b"Origin: null")),
    "empty host": (400, request(b"Host:", LENGTH)),
    "host with a path": (400, request(b"Host: localhost/x", LENGTH)),
    "host with a user": (400, request(b"Host: a@localhost", LENGTH)),
    "host with a blank": (400, request(b"Host: localhost x", LENGTH)),
    "host with two ports": (400, request(b"Host: localhost:1:2", LENGTH)),
    "host with a port of letters": (400, request(b"Host: localhost:http", LENGTH)),
    "host of raw bytes": (400, request(b"Host: \xff", LENGTH)),
    "host with an open bracket": (400, request(b"Host: [::1", LENGTH)),
    "absolute target without Host": (400, request(LENGTH, first=b"POST http://localhost/RPC HTTP/1.1")),
    "absolute target with two": (400, request(HOST, HOST, LENGTH, first=b"POST http://localhost/RPC HTTP/1.1")),
    "absolute target without a host": (400, request(HOST, LENGTH, first=b"POST http:///RPC HTTP/1.1")),
    "absolute target with a user": (400, request(HOST, LENGTH, first=b"POST http://a:b@localhost/RPC HTTP/1.1")),
    "absolute target of another scheme": (400, request(HOST, LENGTH, first=b"POST ftp://localhost/RPC HTTP/1.1")),
    "foreign absolute target": (403, request(HOST, LENGTH, first=b"POST http://evil.example/RPC HTTP/1.1")),
    "target *": (400, request(HOST, LENGTH, first=b"POST * HTTP/1.1")),
    "target without a slash": (400, request(HOST, LENGTH, first=b"POST RPC HTTP/1.1")),
    "target of raw bytes": (400, request(HOST, LENGTH, first=b"POST /RPC\x80 HTTP/1.1")),
    "connect": (400, request(HOST, LENGTH, first=b"CONNECT localhost:80 HTTP/1.1")),
    "two blanks": (400, request(HOST, LENGTH, first=b"POST  /RPC HTTP/1.1")),
    "blank at the end": (400, request(HOST, LENGTH, first=b"POST /RPC HTTP/1.1 ")),
    "no version": (400, request(HOST, LENGTH, first=b"POST /RPC")),
    "version 1.2": (400, request(HOST, LENGTH, first=b"POST /RPC HTTP/1.2")),
    "version 2.0": (400, request(HOST, LENGTH, first=b"POST /RPC HTTP/2.0")),
    "version in lower case": (400, request(HOST, LENGTH, first=b"POST /RPC http/1.1")),
    "method of no token": (400, request(HOST, LENGTH, first=b"PO(ST /RPC HTTP/1.1")),
    "two empty lines before": (400, b"\r\n\r\n" + request(HOST, LENGTH)),
    "encoded prefix": (404, request(HOST, LENGTH, first=b"POST /%52PC HTTP/1.1")),
    "two slashes": (404, request(HOST, LENGTH, first=b"POST //RPC HTTP/1.1")),
    "identity": (400, request(HOST, b"Transfer-Encoding: identity", body=SMUGGLED)),
    "identity and chunked": (400, request(HOST, b"Transfer-Encoding: identity", CHUNKED, body=CHUNKS)),
    "chunked twice": (400, request(HOST, b"Transfer-Encoding: chunked, chunked", body=CHUNKS)),
    "chunked in two lines": (400, request(HOST, CHUNKED, CHUNKED, body=CHUNKS)),
    "chunked not last": (400, request(HOST, b"Transfer-Encoding: chunked, gzip", body=CHUNKS)),
    "chunked with a tab before": (400, request(HOST, b"Transfer-Encoding: \x0bchunked", body=CHUNKS)),
    "gzip, chunked": (501, request(HOST, b"Transfer-Encoding: gzip, chunked", body=CHUNKS)),
    "no coding": (400, request(HOST, b"Transfer-Encoding:", body=SMUGGLED)),
    "chunked in HTTP/1.0": (400, request(HOST, CHUNKED, body=CHUNKS, first=b"POST /RPC HTTP/1.0")),
    "chunked and length": (400, request(HOST, CHUNKED, LENGTH, body=CHUNKS)),
    "same length twice": (400, request(HOST, LENGTH, LENGTH)),
    "signed length": (400, request(HOST, b"Content-Length: +%d" % len(ECHO))),
    "hexadecimal length": (400, request(HOST, b"Content-Length: 0x40")),
    "length with an underscore": (400, request(HOST, b"Content-Length: 6_4")),
    "empty length": (400, request(HOST, b"Content-Length:")),
    "length of 20 digits": (413, request(HOST, b"Content-Length: " + b"9" * 20)),
    "length of 5,000 digits": (413, request(HOST, b"Content-Length: " + b"9" * 5000)),
    "length of 5,000 digits, not last": (413, request(b"Content-Length: " + b"9" * 5000, HOST)),
    "blank before the first header": (400, request(b" X: y", HOST, LENGTH)),
    "folded header": (400, request(HOST, b"X: y", b" z", LENGTH)),
    "folded header at the end": (400, request(HOST, LENGTH, b"X: y", b"\tz")),
    "folded length": (400, request(HOST, b"Content-Length:", b"\t%d" % len(ECHO))),
    "length in a fold": (400, request(HOST, b"X: y", b" " + LENGTH)),
    "folded coding": (400, request(HOST, b"Transfer-Encoding:", b" chunked", body=CHUNKS)),
    "fold of a blank": (400, request(HOST, LENGTH, b"X: y", b" ")),
    "blank before the colon": (400, request(HOST, b"Content-Length : %d" % len(ECHO))),
    "header without a colon": (400, request(HOST, b"X", LENGTH)),
    "header without a name": (400, request(HOST, b": x", LENGTH)),
    "bare CR": (400, request(HOST, b"X: y\rContent-Length: 0", LENGTH)),
    "NUL": (400, request(HOST, b"X: y\0", LENGTH)),
    "escape": (400, request(HOST, b"X: \x1b[2J", LENGTH)),
    "trailer without a colon": (400, request(HOST, CHUNKED, body=CHUNKS[:-2] + b"POST /RPC HTTP/1.1\r\n\r\n")),
    "folded trailer": (400, request(HOST, CHUNKED, body=CHUNKS[:-2] + b"X: y\r\n z\r\n\r\n")),
    "signed chunk": (400, request(HOST, CHUNKED, body=b"+" + CHUNKS)),
    "chunk with 0x": (400, request(HOST, CHUNKED, body=b"0x" + CHUNKS)),
    "chunk size with a blank": (400, request(HOST, CHUNKED, body=b" " + CHUNKS)),
    "chunk without a size": (400, request(HOST, CHUNKED, body=b"\r\n" + CHUNKS)),
    "chunk size of 1,000 digits": (413, request(HOST, CHUNKED, body=b"f" * 1000 + b"\r\n" + b" " * 2_000_000)),
    "chunk size of 5,000 digits": (400, request(HOST, CHUNKED, body=b"f" * 5000 + b"\r\n" + ECHO)),
    "chunk extension of 5,000 bytes": (400, request(HOST, CHUNKED, body=b"1;" + b"x" * 5000 + b"\r\n{\r\n")),
    "chunk that is too long": (400, request(HOST, CHUNKED, body=CHUNKS.replace(b"}\r\n", b"}}\r\n"))),
    "gzip body": (415, request(HOST, b"Content-Encoding: gzip", LENGTH)),
    "two encodings": (415, request(HOST, b"Content-Encoding: identity, gzip", LENGTH)),
}
"""The status that each gets, and the request."""

SERVED = {
    "HTTP/1.0 without Host": request(LENGTH, first=b"POST /RPC HTTP/1.0"),
    "absolute target": request(b"Host: evil.example", LENGTH, first=b"POST http://localhost:80/RPC HTTP/1.1"),
    "absolute target with https": request(HOST, LENGTH, first=b"POST HTTPS://[::1]/RPC?x HTTP/1.1"),
    "empty line before": b"\r\n" + request(HOST, LENGTH),
    "chunked in capitals": request(HOST, b"Transfer-Encoding: CHUNKED", body=CHUNKS),
    "trailer": request(HOST, CHUNKED, body=CHUNKS[:-2] + b"X: y\r\n\r\n"),
    "chunk extension": request(HOST, CHUNKED, body=CHUNKS.replace(b"\r\n", b';a=b;c="d"\r\n', 1)),
    "length in blanks": request(HOST, b"Content-Length: \t %d \t" % len(ECHO)),
    "length with zeros": request(HOST, b"Content-Length: 000%d" % len(ECHO)),
    "identity encoding": request(HOST, b"Content-Encoding: Identity", LENGTH),
    "obs-text": request(HOST, b"X: \xe4", LENGTH),
    "host in capitals": request(b"HOST: LOCALHOST.:8080", LENGTH),
}
