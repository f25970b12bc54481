"""How many of something there may be at the same time: in all, and for one client."""

from collections.abc import Hashable


class Shares:
    """Counts what is in progress, in total and for each client.

    @param limit: how many there may be in all.
    @param client_limit: how many of these one client may have.
    @ivar limit: may be set at any time, as may C{client_limit}.
    @ivar taken: how many there are.
    """

    def __init__(self, limit: int, client_limit: int) -> None:
        self.limit = limit
        self.client_limit = client_limit
        self.taken: int = 0
        self._clients: dict[Hashable, int] = {}

    @property
    def full(self) -> bool:
        """Whether there may be no more, whoever asks."""
        return self.taken >= self.limit

    def used_up(self, client: Hashable) -> bool:
        """Whether a client may have no more.

        @param client: anything that tells clients apart; None: no client in particular, for whom there is no share.
        """
        return self._clients.get(client, 0) >= self.client_limit

    def have_room(self, client: Hashable) -> bool:
        """Whether there may be one more, of a client: they are not L{full}, nor L{used_up}."""
        return self.taken < self.limit and self._clients.get(client, 0) < self.client_limit

    def take(self, client: Hashable) -> None:
        """Count one more."""
        self.taken += 1
        if client is not None:
            self._clients[client] = self._clients.get(client, 0) + 1

    def take_if_room(self, client: Hashable) -> bool:
        """Count one more, if there is room for it.

        @return: whether there was.
        """
        clients = self._clients
        count = clients.get(client, 0)
        if self.taken >= self.limit or count >= self.client_limit:
            return False
        self.taken += 1
        if client is not None:
            clients[client] = count + 1
        return True

    def free(self, client: Hashable) -> None:
        """Count one less. A client with no shares left is forgotten."""
        self.taken -= 1
        if client is not None:
            count = self._clients[client] - 1
            if count:
                self._clients[client] = count
            else:
                del self._clients[client]
