"""Makes the console of a server."""

from time import monotonic
from typing import TYPE_CHECKING

from jsonrpcs_tx.console.assetfiles import read_assets
from jsonrpcs_tx.console.load import Load
from jsonrpcs_tx.console.panels import (
    AuditPanel,
    DestinationsPanel,
    LoadPanel,
    NodesPanel,
    TablesPanel,
    VariablesPanel,
)
from jsonrpcs_tx.console.resource import ConsoleResource
from jsonrpcs_tx.console.sessions import Sessions
from jsonrpcs_tx.console.signing import SessionPage
from jsonrpcs_tx.console.streams import Streams
from jsonrpcs_tx.console.tablepage import TablePage
from jsonrpcs_tx.console.visitors import Visitors
from jsonrpcs_tx.metrics.lag import ReactorLag
from jsonrpcs_tx.openrpc.resource import OpenRpcResource
from jsonrpcs_tx.service import JsonRpcService

if TYPE_CHECKING:
    from jsonrpcs_tx.gateway.gateway import Gateway  # only few servers are gateways


def make_console(service: JsonRpcService, gateway: "Gateway | None") -> ConsoleResource:
    """Make the console of a server. It costs nothing while nobody looks at it.

    @param gateway: has the nodes; None: there are no nodes.
    """
    settings, jsonrpc, dispatcher = service.settings, service.jsonrpc_dispatch, service.dispatcher
    users = jsonrpc.users_file
    sessions = Sessions(
        monotonic,
        settings.console_session,
        settings.console_idle,
        None if users is None else users.line,
    )
    visitors = Visitors(jsonrpc, sessions)
    lag = ReactorLag(service.reactor)
    panels = (
        LoadPanel(dispatcher, Load(service, lag).read),
        DestinationsPanel(dispatcher, service.destinations),
        TablesPanel(dispatcher, service.tables),
        VariablesPanel(dispatcher, service.variables),
        NodesPanel(dispatcher, gateway),
        AuditPanel(dispatcher, service.audit),
    )
    streams = Streams(panels, visitors, lag, service.slices, service.reactor)
    service.leavings.append(streams.close)
    table = TablePage(service.tables, dispatcher, visitors, service.slices)
    return ConsoleResource(
        jsonrpc,
        read_assets(),
        visitors,
        SessionPage(jsonrpc, visitors, lambda: service.settings, gateway),
        OpenRpcResource(jsonrpc, service.discovery, settings.http_path),
        streams.render,
        table.render,
    )
