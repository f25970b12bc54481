"""The program C{jsonrpcs}: calls commands of servers of Kamailio's kind from a shell.

A call starts in milliseconds, so each module imports what it needs when it needs it, and nothing that is slow.
"""
