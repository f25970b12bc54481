"""The user's own directories, by the XDG Base Directory Specification."""

import os


def user_directory(variable: str, default: str) -> str:
    """The directory that an environment variable names, such as C{XDG_CONFIG_HOME}.

    @param default: the directory if the variable is not set, or not absolute: the specification has such values
        ignored. It may begin with C{~}.
    """
    path = os.environ.get(variable, "")
    return path if os.path.isabs(path) else os.path.expanduser(default)
