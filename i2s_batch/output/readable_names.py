"""Makes file names that people know from image ids: the path and stem of the first, then the stems of the others.

    readable_path(["people/astronaut.png"])                    people/astronaut
    readable_path(["people/astronaut.png", "cats/chelsea.png"])   people/astronaut--chelsea

The names are safe on every system, and are no promise: several ids may give one name. Who uses them keeps them apart,
by `folded`, and records what came of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from i2s_batch.config import ANIMATIONS, PICTURE_FORMATS

_BETWEEN = "--"
_NAME_BYTES = 180  # of a folder or a name, so that a number and an ending still fit into the 255 of most file systems
_PATH_BYTES = 700  # S3 allows 1,024 for a whole key, with the prefix of OUT
_LEAST_BYTES = 16  # of each stem, however many there are
_ENDING = re.compile(r"(?<=.)\.(?=[0-9]*[A-Za-z])[A-Za-z0-9]{1,5}\Z")
# What Windows has no names with, and what would have to be escaped in a link.
_UNSAFE = re.compile(r'[<>:"\\|?*#%\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
# The endings of files that may stand beside a folder, which then must not end so.
_OF_FILES = re.compile(rf"\.({'|'.join((*PICTURE_FORMATS, *ANIMATIONS))})\Z", re.IGNORECASE)


def readable_path(image_ids: Sequence[str]) -> str:
    """Return a path without an ending, relative and safe on every system, for what is made of these images."""
    *folders, _ = image_ids[0].split("/")
    most = max(_LEAST_BYTES, _NAME_BYTES // len(image_ids) - len(_BETWEEN))
    stems = [_safe(_stem(image_id), most) for image_id in image_ids]
    parts = [_safe(folder, _NAME_BYTES) for folder in folders if folder not in ("", ".", "..")]
    parts.append(_cut(_BETWEEN.join(stems), _NAME_BYTES).rstrip(". "))
    while len(parts) > 1 and len("/".join(parts).encode()) > _PATH_BYTES:
        parts = parts[1:]
    return "/".join(parts)


def folded(path: str) -> str:
    """Return what is equal for two paths that are one on a system that ignores case or the form of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _stem(image_id: str) -> str:
    name = image_id.rsplit("/", 1)[-1]
    return _ENDING.sub("", name)


def _safe(name: str, most_bytes: int) -> str:
    """Return a name as one that every system allows, that is not hidden, and that no file beside it can have."""
    name = _UNSAFE.sub("_", name.encode(errors="replace").decode())
    name = _cut(name, most_bytes).strip(" ").rstrip(". ")
    if name.startswith("."):
        name = f"_{name[1:]}"
    name = _OF_FILES.sub(r"_\1", name)
    return f"_{name}" if not name or _RESERVED.fullmatch(name) else name


def _cut(name: str, most_bytes: int) -> str:
    return name.encode()[:most_bytes].decode(errors="ignore")
