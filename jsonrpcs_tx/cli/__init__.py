"""The program C{jsonrpcs}: calls the commands of Kamailio, and of this server, from a shell.

A call must start in milliseconds, so each module imports what it needs on first use, and nothing that is slow.
"""
