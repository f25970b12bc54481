"""What stands behind the families of commands; usable without JSON-RPC."""
