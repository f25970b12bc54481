"""Who calls, as far as the transport knows."""

import msgspec

from jsonrpcs_tx.addresses import address_of


class Caller(msgspec.Struct, frozen=True, cache_hash=True):
    """What a transport knows of a caller. If possible, one is made for each connection, not for each request.

    @ivar transport: one of L{jsonrpcs_tx.protocols.PROTOCOLS}, or the name of one of the program's own.
    @ivar address: IP address; None for callers without one, such as those of a Unix socket, which are on this machine.
    @ivar user: the user that HTTP authentication has verified; None without authentication.
    @ivar tls_names: the names in the client's certificate, which was verified.
    @ivar uid: number of the user of the process at the other end of a Unix socket; None if unknown.
    @ivar gid: number of that process's own group, not of any other group that the user is in.
    """

    transport: str
    address: str | None = None
    user: str | None = None
    tls_names: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def __str__(self) -> str:
        """The caller, for the log: one line, whatever the names are."""
        facts = [("user", self.user), *(("tls", name) for name in self.tls_names), ("uid", self.uid), ("gid", self.gid)]
        known = [f"{fact}={value!a}" for fact, value in facts if value is not None]
        return " ".join((self.transport, *([] if self.address is None else [self.address]), *known))

    def log_fields(self) -> dict[str, object]:
        """What is known of the caller, as fields of the log: C{transport}, C{peer} (the address), C{user}, C{tls} (the
        names, separated by blanks), C{uid} and C{gid}.
        """
        tls = " ".join(self.tls_names) or None
        fields = {"peer": self.address, "user": self.user, "tls": tls, "uid": self.uid, "gid": self.gid}
        return {"transport": self.transport} | {name: value for name, value in fields.items() if value is not None}

    def is_local(self) -> bool:
        """Whether it is on this machine.

        @raise ValueError: the address is not an IP address.
        """
        return self.address is None or address_of(self.address).is_loopback
