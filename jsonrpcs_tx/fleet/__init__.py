"""Many servers that act as one, over Redis."""
