"""Names images inside archives so that every reader of WebDatasets finds the same keys.

    member_name("people/ann.v2.png")       people/ann%2Ev2.png
    file_name("people/ann%2Ev2.png")       people/ann.v2.png

WebDataset cuts a name at its first dot into key and ending (some readers at the first dot of the whole path), and skips
names that begin with `__NAME__`. Both are escaped as in URLs; all other characters, Unicode too, stay.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from i2s_batch.output.layout import RunLayout

_SPECIAL = re.compile(r"[%.]|\A_(?=_)")


def member_name(file: str) -> str:
    """Return the name in an archive of the image whose file would be `file`, a path below pictures/."""
    stem, _, suffix = file.rpartition(".")
    return f"{_SPECIAL.sub(lambda found: f'%{ord(found[0]):02X}', stem)}.{suffix}"


def file_name(member: str) -> str:
    """Return the path below pictures/ whose `member_name` is `member`."""
    stem, _, suffix = member.rpartition(".")
    return f"{unquote(stem, errors='strict')}.{suffix}"


def unarchived_key(key: str) -> str:
    """Return the key that the image at `key` would have as a file of its own, which it is outside archives."""
    found = RunLayout.archive_and_member(key)
    return key if found is None else RunLayout.pictures_prefix + file_name(found[2])
