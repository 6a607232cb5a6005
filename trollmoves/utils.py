"""A door under upstream's name for scripts that look into messages; nothing of ours uses it.

Translators leave what they are given as it is and return a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import ParseResult, urlparse

from trollmoves.bus.addresses import is_this_machine, own_addresses
from trollmoves.uris import LOCAL_SCHEMES, is_address


def clean_url(url: str | ParseResult) -> str:
    """Scheme, host in lower case and path: all that may be shown of a destination."""
    parsed = urlparse(url) if isinstance(url, str) else url
    return f"{parsed.scheme}://{parsed.hostname or ''}{parsed.path}" if parsed.scheme else parsed.path


def get_local_ips() -> list[str]:
    """The IPv4 addresses of this machine."""
    return sorted(address for address in own_addresses() if is_address(address) and ":" not in address)


def is_file_local(urlobj: ParseResult) -> bool:
    """Whether a parsed uri means a file of this machine."""
    return urlobj.scheme in LOCAL_SCHEMES or is_this_machine(urlobj.hostname or "")


def gen_dict_extract(var: Any, key: str) -> Iterator[Any]:
    """Every value of *key* in dicts and lists of dicts, outermost first."""
    for holder in _holders(var):
        if key in holder:
            yield holder[key]


def gen_dict_contains(var: Any, key: str) -> Iterator[Any]:
    """Every dict that has *key*, likewise."""
    return (holder for holder in _holders(var) if key in holder)


def _holders(var: Any) -> Iterator[Any]:
    if isinstance(var, Mapping):
        yield var
        for value in var.values():
            if isinstance(value, Mapping | list):
                yield from _holders(value)
    elif isinstance(var, list):
        for item in var:
            if isinstance(item, Mapping):
                yield from _holders(item)


def translate_dict_value(var: Any, key: str, callback: Callable[[str, Any], Any]) -> Any:
    """A copy in which each value of *key* is what *callback* makes of key and value."""
    return translate_dict(var, (key,), lambda holder: {**holder, key: callback(key, holder[key])})


def translate_dict_item(var: Any, key: str, callback: Callable[[Any, str], Any]) -> Any:
    """A copy in which each dict that has *key* is what *callback* makes of dict and key."""
    return translate_dict(var, (key,), lambda holder: callback(holder, key))


def translate_dict(var: Any, keys: Any, callback: Callable[..., Any], **kwargs: Any) -> Any:
    """A copy in which each dict that has one of *keys* is what *callback* makes of it."""
    if isinstance(var, Mapping):
        inner = {name: translate_dict(value, keys, callback, **kwargs) if isinstance(value, Mapping | list) else value
                 for name, value in var.items()}
        return callback(inner, **kwargs) if any(key in inner for key in keys) else inner
    if isinstance(var, list):
        return [translate_dict(item, keys, callback, **kwargs) for item in var]
    return var
