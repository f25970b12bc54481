"""The commands ``tls.*``: the certificate, the settings and the connections of HTTPS, as Kamailio's tls module gives
its own.
"""

import ssl
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, Final

from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import command
from jsonrpcs_tx.transports.connections import Connections
from jsonrpcs_tx.transports.stream import StreamService
from jsonrpcs_tx.transports.tls import CIPHERS
from jsonrpcs_tx.transports.unread import MAX_UNREAD, unsent_bytes

_HANDSHAKE_DONE: Final = 2
"""The flag of a connection whose handshake is done."""

_STATES: Final = {b"before SSL initialization": "pre-init", b"SSL negotiation finished successfully": "established"}
"""Kamailio's words for the states of OpenSSL; any other is C{tls_accept}."""


class Tls:
    """
    @param reload: reads the files of TLS again, see L{jsonrpcs_tx.service.JsonRpcService.reload_tls}.
    @param settings: returns the current settings.
    @param streams: returns the services that take connections.
    """

    def __init__(
        self,
        reload: Callable[[], int],
        settings: Callable[[], Settings],
        streams: Callable[[], Iterable[StreamService]],
    ) -> None:
        self._reload = reload
        self._settings = settings
        self._streams = streams

    @command(
        "tls.reload",
        exec_delta=True,
        faults=[Fault(500, "TLS configuration not reloaded"), Fault(500, "No TLS configuration")],
    )
    def reload(self) -> str:
        """Reads the certificate, the key and the authorities again; open connections keep the former ones."""
        try:
            reloaded = self._reload()
        except StartError as error:
            raise Fault(500, f"TLS configuration not reloaded: {error}") from None
        if not reloaded:
            raise Fault(500, "No TLS configuration: HTTPS is off")
        return "Ok. TLS configuration reloaded."

    @command("tls.list", changes=False)
    def list_connections(self) -> list[dict[str, Any]]:
        """Lists the open connections of HTTPS."""
        limit = self._settings().http_timeout
        return [
            _shown(number, protocol, max(0, int(limit - connections.unused_for(protocol))))
            for connections in self._listeners()
            for number, protocol in connections
        ]

    @command("tls.info", changes=False)
    def info(self) -> dict[str, int]:
        """Returns how many connections there may be, how many are open, and how many bytes wait to be sent."""
        opened = [protocol for _, protocol in self._connections()]
        return {
            "max_connections": self._settings().max_connections,
            "opened_connections": len(opened),
            "clear_text_write_queued_bytes": sum(unsent_bytes(protocol.transport) for protocol in opened),
        }

    @command("tls.options", changes=False)
    def options(self) -> dict[str, Any]:
        """Returns how HTTPS is set up, in Kamailio's terms."""
        settings = self._settings()
        client_certificates = int(bool(settings.tls_ca))
        return {
            "force_run": 0,
            "method": "TLSv1.2+",
            "verify_certificate": client_certificates,
            "verify_depth": 9,
            "require_certificate": client_certificates,
            "verify_client": "require" if client_certificates else "off",
            "private_key": settings.tls_private_key or settings.tls_certificate or None,
            "ca_list": settings.tls_ca or None,
            "certificate": settings.tls_certificate or None,
            "cipher_list": CIPHERS,
            "session_cache": 0,
            "session_id": None,
            "config": None,
            "log": 3,
            "debug": 3,
            "connection_timeout": int(settings.http_timeout),
            "disable_compression": 1,
            "ssl_release_buffers": -1,
            "ssl_freelist_max": -1,
            "ssl_max_send_fragment": -1,
            "ssl_read_ahead": 0,
            "send_close_notify": 1,
            "low_mem_threshold1": 0,
            "low_mem_threshold2": 0,
            "ct_wq_max": MAX_UNREAD,
            "con_ct_wq_max": MAX_UNREAD,
            "ct_wq_blk_size": 0,
        }

    @command("tls.domains", changes=False)
    def domains(self) -> list[dict[str, Any]]:
        """Lists the addresses of HTTPS with their files; all have the same."""
        settings = self._settings()
        return [
            {
                "type": "server",
                "address": stream.listener.host,
                "port": stream.listener.port,
                "certificate": settings.certificate,
                "private_key": settings.tls_private_key or settings.certificate,
                "ca_list": settings.tls_ca or None,
            }
            for stream in self._streams()
            if stream.protocol == "https" and stream.listener is not None
        ]

    @command("tls.kill", faults=[Fault(404, "Connection Not Found")])
    def kill(self, id: int) -> str:
        """Closes a connection of HTTPS, by the id that tls.list gives; a request in progress is answered first."""
        for number, protocol in self._connections():
            if number == id:
                protocol.close()
                return "Ok. Connection closed."
        raise Fault(404, "Connection Not Found")

    def _listeners(self) -> Iterator[Connections]:
        return (stream.connections for stream in self._streams() if stream.protocol == "https")

    def _connections(self) -> Iterator[tuple[int, Any]]:
        return (one for connections in self._listeners() for one in connections)


def _shown(number: int, protocol: Any, timeout: int) -> dict[str, Any]:
    """@param timeout: the seconds that are left until it is closed, if it stays idle."""
    transport = protocol.transport
    peer, host, tls = transport.getPeer(), transport.getHost(), transport.getHandle()
    cipher, state = tls.get_cipher_name(), _STATES.get(tls.get_state_string(), "tls_accept")
    return {
        "id": number,
        "timeout": timeout,
        "src_ip": getattr(peer, "host", ""),
        "src_port": getattr(peer, "port", 0),
        "dst_ip": getattr(host, "host", ""),
        "dst_port": getattr(host, "port", 0),
        "cipher": _ciphers().get(cipher, cipher) if cipher else "unknown",
        "ct_wq_size": unsent_bytes(transport),
        "enc_rd_buf": 0,
        "flags": _HANDSHAKE_DONE if state == "established" else 0,
        "state": state,
    }


@cache
def _ciphers() -> dict[str, str]:
    """OpenSSL's descriptions of ciphers, by name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL")
    return {str(cipher["name"]): str(cipher["description"]) for cipher in context.get_ciphers()}
