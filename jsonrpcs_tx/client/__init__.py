"""Calls the commands of Kamailio, and of this server.

L{blocking<jsonrpcs_tx.client.blocking>} is for scripts, L{deferred<jsonrpcs_tx.client.deferred>} for programs with
Twisted. Both use the same core, which does no I/O.
"""
