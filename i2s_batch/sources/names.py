"""Converts names of local files to text that Arrow, JSON and SQL can hold, and back.

A Linux file name is bytes. A name that is valid UTF-8 is used as it is. In any other the bytes that are not
UTF-8, and '%' itself, are percent-escaped. To keep the two kinds apart an escaped id begins with './' (no
ordinary id does) and an escaped uri with 'file://' (an ordinary one is a plain absolute path). A path that looks like
the uri of a member of an archive (`members`) is escaped too, with its '#'.
"""

from __future__ import annotations

import os
from urllib.parse import unquote_to_bytes

from i2s_batch.sources.members import is_member

_ESCAPED_ID = "./"
_ESCAPED_URI = "file://"


def is_text(name: str) -> bool:
    """Return whether `name`, as Python decodes file names, was valid UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(name: str) -> str:
    def escape(character: str) -> str:
        if character == "%":
            return "%25"
        # 0xDC80 + n stands for byte 0x80 + n
        return character if is_text(character) else f"%{ord(character) - 0xDC00:02X}"

    return "".join(map(escape, name))


def image_id_of(relative_path: str) -> str:
    """Return the image_id of a local file: its path itself, or './' and the path escaped."""
    return relative_path if is_text(relative_path) else _ESCAPED_ID + _escaped(relative_path)


def path_of_image_id(image_id: str) -> str:
    """Return the path that `image_id_of` was given."""
    escaped = image_id.startswith(_ESCAPED_ID)
    return os.fsdecode(unquote_to_bytes(image_id[len(_ESCAPED_ID) :])) if escaped else image_id


def uri_of(path: str) -> str:
    """Return the uri of a local file: its absolute path itself, or 'file://' and the path escaped."""
    if is_member(path):
        return _ESCAPED_URI + _escaped(path).replace("#", "%23")
    return path if is_text(path) else _ESCAPED_URI + _escaped(path)


def path_of_uri(uri: str) -> str:
    """Return the path that `uri_of` was given."""
    escaped = uri.startswith(_ESCAPED_URI)
    return os.fsdecode(unquote_to_bytes(uri[len(_ESCAPED_URI) :])) if escaped else uri
