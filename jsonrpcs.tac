"""A JSON-RPC server as a Twisted application: copy it and make it yours.

Run it in the foreground with ``twistd -ny jsonrpcs.tac``, as a daemon with ``twistd -y jsonrpcs.tac``.
"""

from twisted.application.service import Application

from jsonrpcs_tx import InvalidParams, Settings, command, makeService


# Each command is a function; its name for clients is the decorator's, its parameters are checked by the annotations.
@command("greeter.greet")
def greet(name: str, times: int = 1) -> list[str]:
    """Greets somebody, once or more often."""
    if not 1 <= times <= 100:
        raise InvalidParams("times is 1 to 100")
    return [f"Hello, {name}!"] * times


# Every setting is in docs/settings.md. These two sockets and the FIFO are made in the directory twistd runs in.
settings = Settings(
    transport=6,
    dgram_socket=["kamailio_rpc.sock", "udp:127.0.0.1:8090"],
    fifo_name="kamailio_rpc.fifo",
    load="all",  # every family of commands; without it only system.*
)

application = Application("jsonrpcs")
makeService(settings, commands=[greet]).setServiceParent(application)
