"""Other servers behind this one: which there are, whether they run, and how calls get to them."""
