"""Puts a checksum in front of bytes that are kept for a while: the rows and checkpoints of a run's work log.

    content = with_checksum(data)          what is stored: a mark, the sha256 of `data`, `data`
    data, was_checked = check(content)     raises DamagedError if the two do not belong together

The mark comes first, so that content whose mark is damaged is neither this format nor any other. Content of earlier
versions has no mark: it is returned as it is, unchecked.
"""

from __future__ import annotations

import hashlib

from i2s_batch.errors import DamagedError

_MARK = b"i2s-batch sha256"
_DATA = len(_MARK) + hashlib.sha256().digest_size  # where the data begin


def with_checksum(data: bytes) -> bytes:
    """Return `data` behind its checksum."""
    return b"".join([_MARK, hashlib.sha256(data).digest(), data])


def is_marked(content: bytes) -> bool:
    """Return whether `content` begins as `with_checksum` writes it, whatever follows."""
    return content.startswith(_MARK)


def check(content: bytes) -> tuple[bytes, bool]:
    """Return the data of `content`, and whether it had a checksum.

    Raises:
        DamagedError: The checksum is not that of the data.
    """
    if not content.startswith(_MARK):
        return content, False
    data = content[_DATA:]
    if hashlib.sha256(data).digest() != content[len(_MARK) : _DATA]:
        raise DamagedError("its bytes are not those that were written: the sha256 differs")
    return data, True
