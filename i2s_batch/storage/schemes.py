"""Registers the kinds of stores: files of this machine, and everything with a scheme in front of its urls.

scheme://root/key      the root is what a store can be opened for by itself (a bucket), the key is below it
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from i2s_batch.errors import StorageError
from i2s_batch.registry import Declaration, Registry
from i2s_batch.storage.store import Store
from i2s_batch.storage.urls import without_secrets

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True)
class Scheme(Declaration[Callable[[str], Store]]):
    """Declares a scheme of urls. Its object opens the store at a url without touching anything there.

    Args:
        example: A url of the scheme, for messages.
    """

    example: str = ""


SCHEMES: Registry[Scheme] = Registry(
    "storage scheme",
    [
        Scheme(
            "s3",
            "Amazon S3, or a server with the same protocol.",
            "i2s_batch.storage.s3:open_s3",
            "s3://bucket/prefix",
        ),
        *(
            Scheme(name, f"{title}; only read.", "i2s_batch.storage.file_systems:open_file_system", f"{name}://{path}")
            for name, title, path in (
                ("gs", "Google Cloud Storage", "bucket/prefix"),
                ("az", "Azure Blob Storage", "container/prefix"),
                ("hf", "The Hugging Face Hub", "datasets/user/name/prefix"),
            )
        ),
        Scheme("https", "A web server; only read.", "i2s_batch.storage.web:open_web", "https://host/list.csv"),
        Scheme("http", "A web server of this machine; only read.", "i2s_batch.storage.web:open_web"),
    ],
)


def scheme_of(url: str) -> str:
    """Return the scheme of a url, '' for a path of this machine."""
    match = _SCHEME.match(url)
    return match[1] if match else ""


def is_remote(url: str) -> bool:
    """Return whether a text is the url of a store that can be opened."""
    return scheme_of(url) in SCHEMES


def split_url(url: str) -> tuple[str, str]:
    """Return `scheme://root/key` as (`scheme://root`, key); nothing is unescaped: a key may hold '?', '#' or '%'."""
    scheme, _, rest = url.partition("://")
    root, _, key = rest.partition("/")
    return f"{scheme}://{root}", key


def opened(url: str) -> Store:
    """Return the store at a url.

    Raises:
        StorageError: The scheme is not known.
    """
    scheme = scheme_of(url)
    if scheme not in SCHEMES:
        known = ", ".join(known.example for known in SCHEMES if known.example)
        raise StorageError(f"{without_secrets(url)!r} cannot be opened; give a local path or a url such as {known}")
    return SCHEMES.get(scheme).resolve()(url)
