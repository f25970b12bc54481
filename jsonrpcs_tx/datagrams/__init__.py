"""Unix datagrams and UDP, and the worker processes that may read them."""
