"""Lists the images of SOURCE, whatever kind of SOURCE it is."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from dataclasses import replace

from i2s_batch.errors import SourceError
from i2s_batch.parquet.sorted_rows import SpilledRows
from i2s_batch.sources.apart import Output
from i2s_batch.sources.chosen import Condition, chosen, message_of_outputs, without_outputs
from i2s_batch.sources.items import WHAT_TO_GIVE, Item
from i2s_batch.sources.list_text import is_list
from i2s_batch.sources.members import is_archive, member_of
from i2s_batch.sources.names import image_id_of, uri_of
from i2s_batch.sources.options import AS_USUAL, SourceOptions
from i2s_batch.sources.registered import SOURCES
from i2s_batch.sources.unpacked import unpacked
from i2s_batch.sources.walk import fixed_part, is_pattern
from i2s_batch.storage import is_remote


def _silent(message: str) -> None:
    """Take no notice of a message."""


def list_images(
    source: str,
    exclude: str | None = None,
    options: SourceOptions = AS_USUAL,
    report: Callable[[str], None] = _silent,
    condition: Condition | None = None,
) -> SpilledRows:
    """Return the images of SOURCE: columns `image_id`, `uri` and those that a list passes through, sorted by image_id.

    The order is that of the ids' UTF-8 bytes; ids are unique. What lies under the output `exclude` is left out of
    folders, patterns and prefixes, whatever path or link leads there; a SOURCE under it, and a list that names
    something under it, are refused. Hidden files and the files of file managers are no items; every other file
    is, whatever it holds, but what lies in outputs of earlier runs, which are named to `report`. Some ten thousand are
    in memory at a time.

    Raises:
        SourceError: SOURCE is missing, empty, or names an image twice.
        StorageError: It cannot be reached.
    """
    out = Output(exclude)
    for kind in SOURCES:
        images = kind.resolve()(source, out, options)
        if images is None:
            continue
        if not images.num_rows:
            raise SourceError(f"{source!r} holds no files; {WHAT_TO_GIVE}")
        if kind.may_hold_outputs:
            images, outputs = without_outputs(images)
            if outputs:
                report(message_of_outputs(source, outputs))
            images = unpacked(source, images, options, report)
            if not images.num_rows:
                raise SourceError(f"{source!r} holds no images; {WHAT_TO_GIVE}")
        images = chosen(images, options, condition)
        if not images.num_rows:
            raise SourceError(f"of the files of {source!r} none is left; give other --include, --exclude or --where")
        return images
    raise SourceError(f"{source!r} is no SOURCE of a known kind; {WHAT_TO_GIVE}")


def item_in(source: str, path: str) -> Item:
    """Return the image_id and uri that the image at `path` has in a run over `source`, an absolute path or a url.

    The id of an image elsewhere is its name, or in a list its whole path.
    """
    if (member := member_of(path)) is not None:
        container_id, container = item_in(source, member.container)
        return f"{container_id}/{member.name}", replace(member, container=container).uri
    uri = path if is_remote(path) else os.path.abspath(path)  # noqa: PTH100
    one_file = is_list(source) or is_archive(source)
    base = fixed_part(source) if is_pattern(source) else source.rpartition("/")[0] if one_file else source
    base = base.rstrip("/") if is_remote(base) else os.path.normpath(base)
    inside = uri.removeprefix(f"{base}/")
    relative = inside if inside != uri or is_list(source) else posixpath.basename(uri)
    return (relative, uri) if is_remote(uri) else (image_id_of(relative), uri_of(uri))
