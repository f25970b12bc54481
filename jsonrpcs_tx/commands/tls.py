"""The commands ``tls.*``: the certificate of HTTPS."""

from collections.abc import Callable

from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import command


class Tls:
    """
    @param reload: reads the files of TLS again, see L{jsonrpcs_tx.service.JsonRpcService.reload_tls}.
    """

    def __init__(self, reload: Callable[[], int]) -> None:
        self._reload = reload

    @command("tls.reload")
    def reload(self) -> str:
        """Reads the certificate, the key and the authorities again; open connections keep the former ones."""
        try:
            reloaded = self._reload()
        except StartError as error:
            raise Fault(500, f"TLS configuration not reloaded: {error}") from None
        if not reloaded:
            raise Fault(500, "No TLS configuration: HTTPS is off")
        return "Ok. TLS configuration reloaded."
