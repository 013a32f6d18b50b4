"""Formats urls as they may be shown: in messages, logs, rows, records and reports."""

from __future__ import annotations

import re

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]+")


_WITHOUT_QUERIES = ("s3", "gs", "az", "hf")  # where a key may hold any character, and nothing is a query


def is_url(host: str) -> bool:
    """Return whether a text is a url, of whatever scheme, rather than a path of this machine."""
    return "://" in host


def without_secrets(url: str) -> str:
    """Return a url without user name, password, query and fragment, any of which may give access; a path as it is."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    host, slash, path = rest.partition("/")
    bare = f"{host.rpartition('@')[2]}{slash}{path}"
    if scheme not in _WITHOUT_QUERIES:
        bare = re.split("[?#]", bare, maxsplit=1)[0]
    return f"{scheme}://{bare}"


def hide_secrets(text: str) -> str:
    """Return a text, such as the message of a library, with its urls `without_secrets`."""
    return _URL.sub(lambda url: without_secrets(url[0]), text)
