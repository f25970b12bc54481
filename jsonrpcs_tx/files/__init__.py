"""Files that others could swap, read or lose."""
