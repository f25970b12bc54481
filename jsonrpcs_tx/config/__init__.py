"""What can be set, and every way to set it."""
