"""JSON-RPC itself: documents in, replies out. Does no I/O."""
