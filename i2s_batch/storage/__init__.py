"""Stores bytes under keys: the contract of a store, files of this machine, S3, downloads.

Comes in: a path or url, keys, bytes. Goes out: bytes. It never imports what the bytes mean, and boto3 only when a url
of S3 is opened.
"""

from __future__ import annotations

from pathlib import Path

from i2s_batch.errors import StorageError
from i2s_batch.storage.local import LocalStore
from i2s_batch.storage.schemes import is_remote, opened, split_url
from i2s_batch.storage.store import ObjectInfo, Store
from i2s_batch.storage.urls import is_url

__all__ = ["ObjectInfo", "Store", "is_remote", "is_url", "open_store", "split_url"]


def open_store(url: str) -> Store:
    """Return the store at a local path or url, such as `s3://bucket/prefix`. Touches nothing there.

    A relative path is resolved against the present working directory, so that the store means the same in any process.

    Raises:
        StorageError: The scheme is not known, or the path is empty.
    """
    if is_url(url):
        return opened(url)
    if not url:
        raise StorageError("the path is empty; give a local path or s3://bucket/prefix")
    return LocalStore(str(Path(url).absolute()))
