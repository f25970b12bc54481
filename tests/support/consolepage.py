"""The console in a browser, as tests use it: by what people see and hear."""

import json
import re
from typing import Any, Self
from urllib.parse import quote

from tests.support import Server

SHOP = '''
import dataclasses
from typing import Annotated, Literal

from msgspec import Meta

from jsonrpcs_tx import Fault, command
from jsonrpcs_tx.state.variables import Variable


@dataclasses.dataclass
class Item:
    """Something for sale."""

    name: str
    price: float


class Shop:
    """Commands with parameters of all kinds, and variables."""

    def __init__(self, service):
        self.calls = []
        if service.variables is not None:
            service.variables.add("shop", [
                Variable("limit", 10, "most items in an order", least=1, most=100),
                Variable("large", 9007199254740993, "a number that JavaScript cannot hold"),
                Variable("mode", "open", "whether the shop sells", allowed=["open", "closed"]),
                Variable("rate", 1.5, "a rate", least=0, most=10),
            ])

    @command("shop.all", changes=False, faults=[Fault(404, "No Such Item")])
    def all(self, name: str, count: Annotated[int, Meta(ge=1, le=100)], price: float, gift: bool,
            order: Literal["name", "price"], item: Item, place: int | str = "none", note: str = "",
            *tags: str) -> list:
        """Returns what it was given.

        A second paragraph says more.
        """
        return [name, count, price, gift, order, item, place, note, *tags]

    @command("shop.fault", changes=False)
    def fault(self, code: int, text: str) -> None:
        """Answers with a fault."""
        raise Fault(code, text, {"reason": [text, 9007199254740993]})

    @command("shop.big", changes=False)
    def big(self) -> dict:
        """Returns numbers that JavaScript cannot hold."""
        return {"large": 9007199254740993, "negative": -9223372036854775808, "list": [18446744073709551615]}

    @command("shop.rows", changes=False)
    def rows(self, count: int) -> list:
        """Returns many rows."""
        return [{"ROW": {"place": place, "name": f"row {place}"}} for place in range(count)]

    @command("shop.login", secret=("word",))
    def login(self, user: str, word: str = "", api_token: str = "") -> str:
        """Takes secrets."""
        self.calls.append([user, word, api_token])
        return f"{user} is in"

    @command("shop.calls", changes=False)
    def told(self) -> list:
        """Returns what shop.login was given."""
        return self.calls
'''
"""A module of commands, for C{--commands=shop:Shop}."""


class Console:
    """The console of a server in a page of a browser.

    @param page: of the browser.
    @param server: where it is.
    @param transport: C{http} or C{https}.
    """

    def __init__(self, page: Any, server: Server, transport: str = "http") -> None:
        self.page = page
        self.url = f"{transport}://127.0.0.1:{server.addresses[transport][1]}/console/"

    def open(self, route: str = "") -> Self:
        """Open it, or go to another place in it."""
        here = self.page.url.startswith(self.url)
        self.page.goto(f"{self.url}{route}")
        if not here:
            self.page.get_by_text(re.compile("^(live|Sign in)$")).first.wait_for()
        return self

    def command(self, method: str, on: str = "") -> Self:
        """Go to a command."""
        where = "?on=" + quote(on, safe="") if on else ""
        self.open(f"#/commands/{quote(method, safe='')}{where}")
        self.page.get_by_role("heading", name=method, exact=True, level=1).wait_for()
        return self

    def field(self, name: str) -> Any:
        """A field of the form, by its label."""
        return self.page.get_by_role("form", name="Parameters").get_by_label(
            re.compile(rf"^{re.escape(name)}(optional)?$")
        )

    def send(self) -> Self:
        """Send the form."""
        self.page.get_by_role("button", name="Call", exact=True).click()
        return self

    @property
    def dialog(self) -> Any:
        """The dialog that is open."""
        return self.page.get_by_role("dialog")

    def button(self, name: str) -> Any:
        """A button, in the dialog if one is open."""
        place = self.dialog if self.dialog.count() else self.page
        return place.get_by_role("button", name=name, exact=True)

    def view(self, name: str) -> Self:
        """Choose a view of the reply."""
        self.page.get_by_role("group", name="View").get_by_role("button", name=name).click()
        return self

    def reply(self) -> str:
        """The document of the reply, as it came."""
        self.view("Raw")
        text: str = self.page.get_by_role("region", name="The document as it came").inner_text()
        return text

    def result(self) -> Any:
        """The result in that document."""
        return json.loads(self.reply())["result"]

    def said(self, text: str) -> None:
        """Wait until the page has said something."""
        self.page.locator("#status").get_by_text(text).wait_for()

    def panel(self, name: str) -> Self:
        """Go to a panel by its link."""
        self.page.get_by_role("navigation", name="Panels").get_by_role("link", name=name).click()
        return self
