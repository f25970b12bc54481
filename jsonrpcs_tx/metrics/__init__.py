"""The metrics of this server and of its nodes, for Prometheus."""
