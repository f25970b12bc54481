"""What Prometheus is told of this server."""
