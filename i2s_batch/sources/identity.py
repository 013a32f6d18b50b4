"""Tells whether two names of a SOURCE mean the same files, and which folder or prefix a SOURCE's files lie in."""

from __future__ import annotations

import os
import posixpath

from i2s_batch.sources.list_text import is_list
from i2s_batch.sources.members import is_archive
from i2s_batch.sources.names import uri_of
from i2s_batch.sources.walk import fixed_part, identity, is_pattern
from i2s_batch.storage import is_remote


def is_same_source(one: str, other: str) -> bool:
    """Return whether two sources, or tables, are the same files: by name, or by device and inode, links followed.

    Of a pattern the folder before the first wildcard is compared, and the rest by name.
    """
    if one == other:
        return True
    if is_remote(one) or is_remote(other):
        return is_remote(one) and is_remote(other) and one.rstrip("/") == other.rstrip("/")
    (folder, rest), (other_folder, other_rest) = map(_parts, (one, other))
    try:
        found, other_found = identity(folder), identity(other_folder)
    except (OSError, ValueError):  # a name that no file can have, or a loop of links
        return False
    return found is not None and found == other_found and rest == other_rest


def _parts(source: str) -> tuple[str, str]:
    """Return what of a local source is a folder or a file, and the pattern below it; '' for none."""
    if not is_pattern(source) or os.path.lexists(source):
        return source, ""
    fixed = fixed_part(source)
    return fixed or ".", source[len(fixed) :].lstrip("/")


def move_of(old: str, new: str) -> tuple[str, str]:
    """Return the folders or prefixes, as uris begin, in which the files of a source were and are now.

    A list, or a single image, moves with the folder that holds it.
    """
    one_file = is_list(old) or is_archive(old) or (not is_remote(new) and os.path.isfile(new))  # noqa: PTH113
    return _base_of(old, one_file), _base_of(new, one_file)


def _base_of(source: str, one_file: bool) -> str:
    if is_archive(source) and is_pattern(source) and not os.path.lexists(source):
        return fixed_part(source) if is_remote(source) else uri_of(os.path.abspath(_parts(source)[0]))  # noqa: PTH100
    if is_remote(source):
        return posixpath.dirname(source) if one_file else source.rstrip("/")
    folder = os.path.abspath(source if one_file else _parts(source)[0])  # noqa: PTH100
    return uri_of(os.path.dirname(folder) if one_file else folder)  # noqa: PTH120
