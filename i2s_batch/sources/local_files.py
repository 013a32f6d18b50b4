"""Lists the images of a SOURCE that is a folder, a pattern or one image of this machine."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator

from i2s_batch.errors import SourceError
from i2s_batch.parquet.sorted_rows import SpilledRows
from i2s_batch.sources.apart import Output
from i2s_batch.sources.chosen import alternatives
from i2s_batch.sources.items import WHAT_TO_GIVE, Item, sorted_images
from i2s_batch.sources.names import image_id_of, uri_of
from i2s_batch.sources.options import SourceOptions
from i2s_batch.sources.walk import JUNK, fixed_part, glob_files, is_pattern, walk_files
from i2s_batch.storage.files import local_error
from i2s_batch.storage.schemes import scheme_of
from i2s_batch.storage.urls import without_secrets


def files(source: str, out: Output, options: SourceOptions) -> SpilledRows:
    """Return the images of a local SOURCE; raise SourceError for a url that no other kind of SOURCE took."""
    return sorted_images(_local_items(source, out))


def _local_items(source: str, out: Output) -> Iterator[Item]:
    if scheme_of(source):
        raise SourceError(f"{without_secrets(source)!r} cannot be read; {WHAT_TO_GIVE}")
    try:
        mode = os.stat(source).st_mode  # noqa: PTH116
    except FileNotFoundError:
        if not is_pattern(source):
            raise SourceError(f"{source!r} does not exist; {WHAT_TO_GIVE}") from None
        pattern = re.sub("/+", "/", source)
        out.check_source(source, fixed_part(pattern) or ".")
        return _pattern_items(pattern, out)
    except OSError as error:
        raise SourceError(str(local_error(error, source))) from error
    out.check_source(source, source)
    if stat.S_ISDIR(mode):
        return _folder_items(source, out)
    if not stat.S_ISREG(mode):
        raise SourceError(f"{source!r} is a pipe, socket or device; {WHAT_TO_GIVE}")
    return iter([_local_item(os.path.basename(source), source)])  # noqa: PTH119


def _local_item(relative: str, path: str) -> Item:
    return image_id_of(relative), uri_of(os.path.abspath(path))  # noqa: PTH100


def _folder_items(folder: str, out: Output) -> Iterator[Item]:
    top = os.path.abspath(folder).rstrip("/")  # noqa: PTH100
    for relative in walk_files(folder, out):
        yield image_id_of(relative), uri_of(f"{top}/{relative}")


def _matching(pattern: str, out: Output) -> Iterator[str]:
    """Yield the files that a pattern means, each once, also where several choices in braces fit it."""
    patterns = alternatives(pattern)
    if len(patterns) == 1:
        yield from glob_files(pattern, out)
        return
    seen: set[str] = set()
    for one in patterns:
        for path in glob_files(one, out) if glob.has_magic(one) else filter(os.path.isfile, [one]):
            if path not in seen and not out.holds(path):
                seen.add(path)
                yield path


def _pattern_items(pattern: str, out: Output) -> Iterator[Item]:
    fixed = fixed_part(pattern)
    start = len(fixed) + 1 if fixed not in ("", "/") else len(fixed)
    for path in _matching(pattern, out):
        relative = path[start:]
        if JUNK.isdisjoint(relative.split("/")):
            yield _local_item(relative, path)
