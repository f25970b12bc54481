"""What is built on Twisted's reactor, whatever the server does."""
