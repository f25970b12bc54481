"""The servers behind this one: their definitions, their state, and how calls are forwarded to them."""
