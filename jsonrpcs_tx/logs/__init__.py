"""How the log of ``twistd jsonrpcs`` is written, and where to."""
