"""Calls commands of servers of Kamailio's kind: the real one and ours.

L{blocking<jsonrpcs_tx.client.blocking>} is for scripts, L{deferred<jsonrpcs_tx.client.deferred>} for programs with
Twisted. Both stand on the same core, which does no I/O.
"""
