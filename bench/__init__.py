"""The benchmark: ``python -m bench`` measures this server beside its peers; see docs/performance.md."""
