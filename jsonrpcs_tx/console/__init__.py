"""A console for browsers: its page, who is signed in, and what its panels show."""
