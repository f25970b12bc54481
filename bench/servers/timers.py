"""Prints the CPU seconds that a timer of no delay takes the reactor, 32 at a time."""

import time
from typing import Any

from twisted.internet import reactor as installed

COUNT = 50_000
reactor: Any = installed


def main() -> None:
    left = COUNT
    began = 0.0

    def fire() -> None:
        nonlocal left
        left -= 1
        if left > 0:
            reactor.callLater(0, fire)
        elif reactor.running and left == 0:
            reactor.stop()

    def begin() -> None:
        nonlocal began
        began = time.process_time()
        for _ in range(32):
            reactor.callLater(0, fire)

    reactor.callWhenRunning(begin)
    reactor.run()
    print((time.process_time() - began) / COUNT)


if __name__ == "__main__":
    main()
