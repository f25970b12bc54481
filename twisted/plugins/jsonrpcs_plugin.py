"""Announces ``twistd jsonrpcs``."""

from twisted.application.service import ServiceMaker

jsonrpcs = ServiceMaker(
    "jsonrpcs",
    "jsonrpcs_tx.options",
    "JSON-RPC over FIFO, datagram, TCP, HTTP and HTTPS, as Kamailio has it.",
    "jsonrpcs",
)
