"""The private names of Twisted that this package uses: each is listed here, with what happens if it is missing.

Another release of Twisted may rename or drop them. An override of a method that Twisted no longer calls is silently
without effect: so the names are looked for before a server listens (L{require}), and before a direct path is taken
(L{available}).
"""

from collections.abc import Callable, Iterator, Mapping
from inspect import isfunction
from typing import Any, Final

from twisted.internet import endpoints, tcp
from twisted.python.reflect import namedAny

from jsonrpcs_tx.errors import StartError
from twisted import __version__

Names = Mapping[str, tuple[str, ...]]
"""Classes by their dotted names, each with the private attributes and methods of it that are used."""

HTTP: Final[Names] = {
    "twisted.web.http.HTTPChannel": (
        "_command",
        "_dataBuffer",
        "_finishRequestBody",
        "_handlingRequest",
        "_networkProducer",
        "_optimisticEagerReadSize",
        "_path",
        "_respondToBadRequestAndDisconnect",
        "_transferDecoder",
        "_version",
        "_waitingForTransport",
    ),
    "twisted.web.http.Request": ("_disconnected",),
    "twisted.web.http._ChunkedTransferDecoder": ("_trailerHeaders",),
    "twisted.protocols.basic.LineReceiver": ("_buffer", "_busyReceiving"),
}
"""What the channel of HTTP needs. Without one, nothing listens for HTTP or HTTPS: checks of requests might not run."""

TLS: Final[Names] = {
    "twisted.protocols.tls.TLSMemoryBIOProtocol": (
        "_checkHandshakeStatus",
        "_flushReceiveBIO",
        "_handshakeDone",
        "_shutdownTLS",
        "_tlsConnection",
        "_tlsShutdownFinished",
    ),
}
"""What TLS needs. Without one, nothing listens for HTTPS: expired certificates of clients might pass."""

HTTP_DIRECT: Final[Names] = {"twisted.internet.abstract.FileDescriptor": ("_tempDataBuffer",)}
"""What only the direct path of HTTP needs. Without it, the general path is taken."""

TLS_DIRECT: Final[Names] = {
    **HTTP_DIRECT,
    "twisted.protocols.tls.TLSMemoryBIOProtocol": (
        "_aborted",
        "_appSendBuffer",
        "_flushSendBIO",
        "_lostTLSConnection",
        "_producer",
        "_reason",
        "_unbufferPendingWrites",
        "_write",
    ),
    "twisted.protocols.tls.BufferingTLSTransport": ("_aggregator",),
    "twisted.protocols.tls._AggregateSmallWrites": ("_buffer",),
}
"""What only the direct path of TLS needs. Without one, the general path is taken."""

UNSENT: Final[Names] = {"twisted.internet.abstract.FileDescriptor": ("_tempDataLen",)}
"""What the count of unsent bytes needs. Without it, those that Twisted has not joined yet are not counted."""

POLLER: Final[Names] = {"twisted.internet.epollreactor.EPollReactor": ("_poller",)}
"""What a watchdog needs to sleep while the reactor does. Without it, the watchdog wakes the reactor to look."""

IDLE: Final[Names] = {"twisted.web.http.HTTPFactory": ("_updateLogDateTime",)}
"""What an idle server needs to sleep. Without it, each listener of HTTP is woken every second."""

ALL: Final = (HTTP, TLS, HTTP_DIRECT, TLS_DIRECT, UNSENT, POLLER, IDLE)


def missing(names: Names) -> Iterator[str]:
    """The names that the installed Twisted does not have."""
    for class_name, attributes in names.items():
        try:
            owner = namedAny(class_name)
        except AttributeError:
            yield class_name
        else:
            yield from (f"{class_name}.{attribute}" for attribute in attributes if not _has(owner, attribute))


def available(names: Names) -> bool:
    """Whether the installed Twisted has all of these names."""
    return not any(missing(names))


def require(setting: str, names: Names) -> None:
    """Make sure that the installed Twisted has all of these names.

    @param setting: what is to be served, for the message.
    @raise StartError: one is missing.
    """
    absent = ", ".join(missing(names))
    if absent:
        raise StartError(setting, f"Twisted {__version__}", f"does not have {absent}", "a release that has")


def reserve_descriptor() -> None:
    """Keep a file descriptor in reserve, as Twisted's own ports do, so that a process that has run out of them can
    still close new connections. Without Twisted's reserve, such connections wait.
    """
    reserved: Any = getattr(tcp, "_reservedFD", None)
    if reserved is not None:
        reserved.reserve()


def tls_creator(factory: Any) -> Callable[[Any], Any] | None:
    """What makes the connections of OpenSSL for a factory of TLS, under the name that this Twisted has for it. None: it
    has another one, and Twisted's own way of beginning a connection is taken.
    """
    creator: Callable[[Any], Any] | None = getattr(factory, "_creatorCallable", None)
    return creator or getattr(factory, "_createConnection", None)


def passed_descriptors() -> list[int]:
    """The descriptors that systemd has passed to this process. Twisted takes their number from the environment when it
    is imported; where it keeps it elsewhere, sockets of systemd can only be named in Twisted's way.
    """
    parser: Any = getattr(endpoints, "_SystemdParser", None)
    passed = getattr(parser, "_sddaemon", None)
    return [] if passed is None else list(passed.inheritedDescriptors())


def _has(owner: type, attribute: str) -> bool:
    """Whether a class has an attribute, or its methods use one, which is set on instances only."""
    return hasattr(owner, attribute) or any(
        attribute in member.__code__.co_names
        for base in getattr(owner, "__mro__", ())
        for member in vars(base).values()
        if isfunction(member)
    )
