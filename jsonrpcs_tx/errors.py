"""What keeps a server from starting, besides a wrong setting."""


class StartError(Exception):
    """A transport cannot be opened; the message names the setting, what was wrong and what is allowed."""
