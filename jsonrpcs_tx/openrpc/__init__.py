"""A description of the commands, as the OpenRPC Specification 1.3 has it."""
