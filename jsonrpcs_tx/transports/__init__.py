"""The transports: each knows its sockets or files, hands whole documents to the dispatcher, and writes the replies."""
