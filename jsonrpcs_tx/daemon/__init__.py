"""A server as a process of twistd."""
