"""Other servers behind this one: Kamailio's, or ours."""
