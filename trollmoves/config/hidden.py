"""Values that are used but never shown: not by repr, str or format, not in a dump of the settings, not in a pickle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, Self

from trollmoves.uris import hide_password

HIDDEN = "***"
SHOWN = 80
"""Characters of a value in a problem."""
_SECRET_WORDS = ("password", "passwd", "passphrase", "secret", "token", "key", "credential", "login", "authorization", "cookie")
_WITH_SECRETS = ("_parameters", "_options", "_kwargs")
"""How options end that are mappings with secrets among other things: who wrote text there may have written one."""
_FILE_ENDINGS = ("file", "filename", "path", "directory")


def is_secret(name: str) -> bool:
    """Whether the value of an option of this name is a secret (the name of a key file is none)."""
    lowered = name.lower()
    return lowered == "auth" or (any(word in lowered for word in _SECRET_WORDS) and not lowered.endswith(_FILE_ENDINGS))


def shown(option: str, value: Any) -> str:
    """A value as the beginning of a problem; nothing when it may hold credentials."""
    if not isinstance(value, str) or is_secret(option) or option.endswith(_WITH_SECRETS) or "@" in value or "://" in value:
        return ""
    return f"{value if len(value) <= SHOWN else value[:SHOWN] + '...'!r} "


class Secret:
    """A text that only `reveal` gives away. Compared by its text, so that a changed password is a changed setting."""

    __slots__ = ("_text",)

    def __init__(self, text: str):
        self._text = text

    def reveal(self) -> str:
        """The text itself: for the one place that needs it."""
        return self._text

    def __str__(self) -> str:
        return HIDDEN

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._text == self._text

    def __hash__(self) -> int:
        return hash((type(self), self._text))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memory: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is not pickled")


class HiddenUri(Secret):
    """A uri (or a template of one) whose `str` has `***` in place of the credentials."""

    __slots__ = ()

    def __str__(self) -> str:
        return hide_password(self._text)


class Parameters(Mapping[str, Any]):
    """A frozen mapping, nested ones and lists in it frozen too. Looking up gives the value; showing it hides the secrets."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any] | None = None):
        self._items = {name: _frozen(value) for name, value in (items or {}).items()}

    def __getitem__(self, name: str) -> Any:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def plain(self) -> dict[str, Any]:
        """An ordinary dict of ordinary dicts and lists, secrets included: to hand to a library, never to show."""
        return {name: _plain(value) for name, value in self._items.items()}

    def masked(self) -> dict[str, Any]:
        """The same with `***` for the value of each secret and for credentials in uris."""
        return {name: HIDDEN if is_secret(str(name)) and not isinstance(value, bool | None) else _masked(value)
                for name, value in self._items.items()}

    def __repr__(self) -> str:
        return f"<Parameters {self.masked()!r}>"

    def __hash__(self) -> int:
        return hash(frozenset(self._items))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memory: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("parameters may hold secrets and are not pickled")


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Parameters(value)
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Parameters):
        return value.plain()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _masked(value: Any) -> Any:
    if isinstance(value, Parameters):
        return value.masked()
    if isinstance(value, tuple):
        return [_masked(item) for item in value]
    return hide_password(value) if isinstance(value, str) else value
