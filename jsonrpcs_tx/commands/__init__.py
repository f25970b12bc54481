"""The built-in commands: one module for each family, a thin layer above the code that does the work."""
