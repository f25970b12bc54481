"""The parameters of a call as an audit log may show them: without secrets, and limited in size."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from jsonrpcs_tx.catalogue import find

HIDDEN: Final = "(hidden)"
"""Stands for a secret."""

MAX_PARAMS: Final = 2048
"""Bytes of the parameters of a call; longer ones are cut."""

MAX_TEXT: Final = 200
"""Characters of each text in parameters that are cut."""

MAX_ITEMS: Final = 32
"""Members of each array and object in parameters that are cut."""

MAX_DEPTH: Final = 8
"""Levels of arrays and objects that are shown."""

_MAX_NAME: Final = 64
"""The most characters of a name that is examined."""

_PLAIN: Final = frozenset((int, float, bool, type(None)))
_SURE: Final = re.compile("passw(or)?d|passphrase|secret|token|credential|api_?key|private_?key", re.IGNORECASE)
"""Words that make a text the name of a secret, wherever they stand in it."""

_WORDS: Final = frozenset(("auth", "authorization", "cookie", "key", "keys", "otp", "pass", "passcode", "pin", "pwd"))
"""Further words that make the name of a parameter that of a secret."""

_WORD: Final = re.compile("[A-Z]?[a-z]+|[A-Z]+")

_LOOKED_UP: Final = frozenset(("dlg", "dlgs", "htable"))
"""Families in which a key is what something is looked up by."""

_encode = msgspec.json.Encoder(enc_hook=str).encode
_decode = msgspec.json.Decoder().decode


def is_secret(name: str) -> bool:
    """Whether a parameter, or a member of an object, has a name that says that it is secret: C{password}, C{apiKey},
    C{auth_token}. A name that is too long to tell counts as one.
    """
    return len(name) > _MAX_NAME or _is_secret(name)


@lru_cache(1024)
def _is_secret(name: str) -> bool:
    return _names_secret(name) or not _WORDS.isdisjoint(word.lower() for word in _WORD.findall(name))


@lru_cache(1024)
def _names_secret(text: str) -> bool:
    """Whether a text is the name of a secret beyond doubt. C{key1} may be the key of anything."""
    return _SURE.search(text) is not None


def may_tell(drafts: bytes) -> bool:
    """Whether there may be a secret in parameters: an object, or something that C{_SURE} finds.

    @param drafts: the parameters of one call or of many, as L{Concealment.draft} returns them.
    """
    small = drafts.decode().lower()  # searching bytes is far slower
    return (
        "{" in small
        or "pass" in small
        or "key" in small
        or "secret" in small
        or "token" in small
        or "credential" in small
    )


class Concealment:
    """Which parameters of a command are secret.

    These are: a parameter whose name says so, or for which the command says so; a member of an object whose name says
    so; and whatever follows a text that is such a name itself, as in C{cfg.sets shop db_password ...}.

    @param names: of the parameters, in their order.
    @param rest: of the one that takes all further values; None: there is none.
    @param secret: the secret ones; None: those whose names say so.
    """

    def __init__(self, names: Sequence[str], rest: str | None, secret: Sequence[str] | None) -> None:
        self._by_name = secret is None
        self._secret = tuple(name in secret if secret is not None else is_secret(name) for name in names)
        self._names = frozenset(name for name, hidden in zip(names, self._secret, strict=True) if hidden)
        self._rest = rest is not None and (rest in secret if secret is not None else is_secret(rest))
        self._hides = self._rest or any(self._secret)

    def hides(self, name: str) -> bool:
        """Whether a parameter is secret, by its name."""
        return name in self._names

    def shown(self, params: list[Any] | dict[str, Any]) -> bytes:
        """The parameters as JSON, of little more than L{MAX_PARAMS} bytes. Nothing is raised, whatever they are."""
        draft = self.draft(params)
        if draft is not None and not may_tell(draft):
            return draft
        try:
            return self._shown(params)
        except UnicodeEncodeError:  # because of a lone surrogate
            return _encode(cut(self._concealed(params)))
        except Exception as error:
            return _encode(f"(not shown: {type(error).__name__})")

    def draft(self, params: list[Any] | dict[str, Any]) -> bytes | None:
        """The parameters as JSON, which is what L{shown} returns unless L{may_tell}, so that those of many calls can be
        searched at once.

        @return: None if there may be a secret anyhow, or something that cannot be shown.
        """
        if self._hides or type(params) is not list:
            return None
        try:
            written = _encode(params)
        except Exception:
            return None
        return written if len(written) <= MAX_PARAMS else None

    def shown_draft(self, draft: bytes) -> bytes:
        """What L{shown} returns for the parameters of a L{draft}."""
        return self.shown(_decode(draft)) if may_tell(draft) else draft

    def _shown(self, params: list[Any] | dict[str, Any]) -> bytes:
        """@raise UnicodeEncodeError: there is a lone surrogate."""
        concealed = self._concealed(params)
        written = _encode(concealed)
        return written if len(written) <= MAX_PARAMS else _encode(cut(concealed))

    def _concealed(self, params: list[Any] | dict[str, Any]) -> list[Any] | dict[str, Any]:
        """The parameters without the secret ones."""
        if isinstance(params, list):
            return self._conceal(range(len(params)), params)
        return dict(zip(params, self._conceal(list(params), list(params.values())), strict=True))

    def _conceal(self, places: Sequence[int | str], values: Sequence[Any]) -> list[Any]:
        """The values without the secret ones.

        @param places: the positions of the values, or the names under which the client gives them.
        """
        shown: list[Any] = []
        secret, follows = self._secret, False
        for place, value in enumerate(values):
            name = places[place]
            hidden = follows or (secret[place] if place < len(secret) else self._rest)
            if type(name) is str and not hidden:
                hidden = name in self._names or (self._by_name and is_secret(name))
            if type(value) is str:
                follows = follows or (len(value) <= _MAX_NAME and _names_secret(value))
                shown.append(HIDDEN if hidden else value)
            else:
                shown.append(HIDDEN if hidden else value if type(value) in _PLAIN else _without_secrets(value, 1))
        return shown


@lru_cache(1024)
def catalogued(method: str) -> Concealment:
    """Which parameters of a command of Kamailio's are secret, by their names in the catalogue. Of a command
    that it does not have, no names are known.
    """
    entry = find(method)
    if entry is None:
        return Concealment((), None, None)
    names = [parameter.name for parameter in entry.parameters]
    rest = names[-1] if entry.parameters and entry.parameters[-1].repeated else None
    plain = {"key"} if entry.method.partition(".")[0] in _LOOKED_UP else set()
    secret = [name for name in names if is_secret(name) and name not in plain]
    return Concealment(names, rest, secret)


def _without_secrets(value: Any, depth: int) -> Any:
    """A value in parameters, without the members of objects whose names say that they are secret."""
    if depth > MAX_DEPTH and isinstance(value, dict | list):
        return "..."
    if isinstance(value, dict):
        return {name: HIDDEN if is_secret(name) else _without_secrets(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item, depth + 1) for item in value]
    return value


def cut_text(text: str, most: int = MAX_TEXT) -> str:
    """A text cut to a number of characters, with a mark that says how long it was; lone surrogates are escaped."""
    if len(text) <= most and text.isascii():
        return text
    shown = text if len(text) <= most else f"{text[:most]}... ({len(text):,} in all)"
    return shown.encode(errors="backslashreplace").decode()


def cut(value: Any) -> Any:
    """Parameters, cut so that they are of little more than L{MAX_PARAMS} bytes; marks say what is missing."""
    return _cut(value, [MAX_PARAMS])


def _cut(value: Any, room: list[int]) -> Any:
    """@param room: the bytes that are left; what is used is subtracted."""
    if room[0] <= 0:
        return "..."
    if isinstance(value, str):
        text = cut_text(value, min(MAX_TEXT, room[0]))
        room[0] -= len(_encode(text))
        return text
    if isinstance(value, list):
        items = []
        for place, item in enumerate(value):
            if place >= MAX_ITEMS or room[0] <= 0:
                items.append(f"... ({len(value):,} in all)")
                break
            room[0] -= 1
            items.append(_cut(item, room))
        return items
    if isinstance(value, dict):
        members = {}
        for place, (name, item) in enumerate(value.items()):
            if place >= MAX_ITEMS or room[0] <= 0:
                members["..."] = f"({len(value):,} in all)"
                break
            members[_cut(name, room)] = _cut(item, room)
        return members
    written = _encode(value).decode()
    room[0] -= len(written)
    return value if len(written) <= MAX_TEXT else f"{written[:MAX_TEXT]}... ({len(written):,} in all)"
