"""Reads the bytes of one image, local or in a store."""

from __future__ import annotations

from i2s_batch.errors import ObjectNotFoundError, PictureError
from i2s_batch.sources.names import path_of_uri
from i2s_batch.sources.spellings import hint
from i2s_batch.storage import is_remote, open_store, split_url
from i2s_batch.storage.local import read_regular
from i2s_batch.storage.store import ObjectUnreadableError

MAX_PICTURE_BYTES = 512 * 2**20


def read_bytes(uri: str, limit_bytes: int = MAX_PICTURE_BYTES) -> bytes:
    """Return the bytes of one image.

    Raises:
        PictureError: This image cannot be read.
        StorageError: No image could be read there.
    """
    try:
        if is_remote(uri):
            root, key = split_url(uri)
            return open_store(root).get(key, limit_bytes)
        return read_regular(path_of_uri(uri), limit_bytes)
    except ObjectNotFoundError as error:
        spelling = hint(uri if is_remote(uri) else path_of_uri(uri), is_remote(uri))
        raise PictureError(f"{error}{spelling}") from error
    except ObjectUnreadableError as error:
        raise PictureError(str(error)) from error
