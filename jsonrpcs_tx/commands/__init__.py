"""The built-in commands: thin families, each on top of what stands behind it."""
