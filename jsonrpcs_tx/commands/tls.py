"""The commands ``tls.*``: the certificate of HTTPS."""

from typing import TYPE_CHECKING

from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import command

if TYPE_CHECKING:
    from jsonrpcs_tx.service import JsonRpcService


class Tls:
    def __init__(self, service: "JsonRpcService") -> None:
        self._service = service

    @command("tls.reload")
    def reload(self) -> str:
        """Reads the certificate, the key and the authorities again; open connections live on with the former ones."""
        try:
            reloaded = self._service.reload_tls()
        except StartError as error:
            raise Fault(500, f"TLS configuration not reloaded: {error}") from None
        if not reloaded:
            raise Fault(500, "No TLS configuration: HTTPS is off")
        return "Ok. TLS configuration reloaded."
