"""What all transports have in common; the server needs to know nothing else of them."""

import attrs
from twisted.application.service import Service

from jsonrpcs_tx.config.problems import Problems
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.transports.files import OwnFile


@attrs.frozen
class Listener:
    """An address that a transport listens on.

    @ivar protocol: C{fifo}, C{unix}, C{udp}, C{tcp}, C{http} or C{https}.
    @ivar host: the IP address; for C{fifo} and C{unix} the path.
    @ivar port: None if it has no port.
    """

    protocol: str
    host: str
    port: int | None = None

    def __str__(self) -> str:
        if self.port is None:
            return f"{self.protocol} {self.host}"
        return f"{self.protocol} {f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class Transport(Service):
    """Listens on one address from its start to its stop, and answers what comes there.

    L{privilegedStartService} opens the address, while the process may still do so, and raises
    L{jsonrpcs_tx.errors.StartError} if it cannot be opened. C{stopService} first answers what has come.

    @ivar protocol: one of L{jsonrpcs_tx.protocols.PROTOCOLS}, or the name of one of the program's own.
    @ivar setting: the setting that its address comes from, for messages.
    @ivar listener: the address that is listened on; None while there is none.
    @ivar path: the path of the FIFO or Unix socket that the transport makes, once that is checked; None: it makes none.
    @ivar file: the FIFO or Unix socket that the transport has made; None: it has made none.
    """

    protocol: str
    setting = ""
    listener: Listener | None = None
    path: str | None = None
    file: OwnFile | None = None

    def check(self, problems: Problems) -> None:
        """Check all that can be checked without opening or changing anything; L{privilegedStartService} does so first.

        @param problems: takes what is wrong.
        """

    def startService(self) -> None:
        self.privilegedStartService()
        super().startService()

    def settings_changed(self, settings: Settings) -> None:
        """Apply the changed settings that are live, see L{jsonrpcs_tx.config.settings.Field}."""

    def rules_changed(self) -> None:
        """Forget what the former rules decided, and recreate the cached callers and origins: rules may now ask for
        other facts.
        """

    def reload_tls(self) -> bool:
        """Read certificates, keys and authorities again, for connections that are opened from now on.

        @return: whether the transport has any.
        @raise StartError: a file cannot be used; the former ones then stay in use.
        """
        return False

    def workers(self) -> list[int]:
        """The process ids of its worker processes."""
        return []

    def missing_workers(self) -> int:
        """How many worker processes should run, but do not."""
        return 0

    def waiting(self) -> tuple[int, int]:
        """How many replies wait for their clients, and how many bytes they take up."""
        return 0, 0

    def problem(self) -> str | None:
        """Why clients cannot reach it, in words; None if they can, as far as it can tell."""
        if self.listener is None:
            return f"{self.setting}: nothing is listened on"
        if self.file is not None and not self.file.is_there():
            return f"{self.listener}: the file is gone"
        return None
