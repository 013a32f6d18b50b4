"""Opening a place by its url. boto3 is imported only when an s3:// url is met."""

from __future__ import annotations

import re
from pathlib import Path

from i2s_batch.errors import StorageError
from i2s_batch.storage.local import LocalStore
from i2s_batch.storage.store import ObjectInfo, Store
from i2s_batch.storage.urls import without_secrets

__all__ = ["ObjectInfo", "Store", "is_s3", "open_store"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_s3(url: str) -> bool:
    """Whether `url` names a place on S3."""
    return url.startswith("s3://")


def open_store(url: str) -> Store:
    """The store at a local path or at `s3://bucket/prefix`. Touches nothing there.

    A relative path is fixed to the present working directory, so the store means the same in any process.
    """
    if is_s3(url):
        from i2s_batch.storage.s3 import S3Store

        return S3Store.from_url(url)
    if _SCHEME.match(url):
        raise StorageError(f"{without_secrets(url)!r} cannot be opened; give a local path or s3://bucket/prefix")
    if not url:
        raise StorageError("the path is empty; give a local path or s3://bucket/prefix")
    return LocalStore(str(Path(url).absolute()))
