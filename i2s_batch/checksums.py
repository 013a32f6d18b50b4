"""A checksum in front of bytes that are kept for a while: the rows and checkpoints of a run's work log.

    content = with_checksum(data)          what is stored: a mark, the sha256 of `data`, `data`
    data, was_checked = check(content)     raises DamagedError if the two do not belong together

The mark comes first, so that content whose mark is damaged is neither this format nor any other. Content of earlier
versions has no mark: it is handed back as it is, unchecked.
"""

from __future__ import annotations

import hashlib

from i2s_batch.errors import DamagedError

_MARK = b"i2s-batch sha256"
_DATA = len(_MARK) + hashlib.sha256().digest_size  # where it begins


def with_checksum(data: bytes) -> bytes:
    """Return `data` behind its checksum."""
    return b"".join([_MARK, hashlib.sha256(data).digest(), data])


def is_marked(content: bytes) -> bool:
    """Return whether `content` begins as `with_checksum` writes it, whatever follows."""
    return content.startswith(_MARK)


def check(content: bytes) -> tuple[bytes, bool]:
    """Return the data of `content`, and whether a checksum vouches for it; DamagedError if the checksum differs."""
    if not content.startswith(_MARK):
        return content, False
    data = content[_DATA:]
    if hashlib.sha256(data).digest() != content[len(_MARK) : _DATA]:
        raise DamagedError("its bytes are not those that were written: the sha256 differs")
    return data, True
