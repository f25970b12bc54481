"""A client for Redis, for Twisted."""
