"""SOURCE: which pictures there are, and the bytes of one of them."""

from __future__ import annotations

import io
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.errors import ObjectNotFoundError, PictureError, SourceError
from i2s_batch.parquet.sorted_rows import SpilledRows, sorted_rows
from i2s_batch.sources.apart import Output
from i2s_batch.sources.lists import ListRows, is_list, read_list
from i2s_batch.sources.names import image_id_of, is_text, path_of_uri, uri_of
from i2s_batch.sources.walk import JUNK, fixed_part, glob_files, is_pattern, is_skipped, walk_files
from i2s_batch.storage import is_s3, open_store
from i2s_batch.storage.local import local_error, open_regular, read_regular
from i2s_batch.storage.store import ObjectUnreadableError
from i2s_batch.storage.urls import without_secrets

MAX_PICTURE_BYTES = 512 * 2**20

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_KINDS = "give a folder, a pattern, a picture, a list (.txt, .csv, .jsonl, .parquet) or s3://bucket/prefix"

Item = tuple[str, str]  # image_id and uri
_IMAGE = pa.schema([("image_id", pa.string()), ("uri", pa.string())])
_ITEMS_AT_ONCE = 8192  # as Python's texts they take three times the memory
_LIST_BYTES_AT_ONCE = 8 << 20  # of a list on S3


def list_images(source: str, exclude: str | None = None) -> SpilledRows:
    """The pictures of SOURCE: columns `image_id`, `uri` and those that a list carries, sorted by image_id.

    The order is that of the ids' UTF-8 bytes; ids are unique. What lies under the output `exclude` is left out of
    folders, patterns and prefixes, whatever path or link leads there; a SOURCE under it, and a list that names
    something under it, are refused. Hidden files and file managers' leavings are no items; every other file
    is, whatever it holds. Raises SourceError (missing, empty, listed twice) and StorageError (not reachable).
    However many there are, some ten thousand are in memory.
    """
    out = Output(exclude)
    if is_list(source) and (is_s3(source) or os.path.isfile(source)):  # noqa: PTH113
        return _from_list(source, out)
    images = sorted_images(_s3_items(source, out) if is_s3(source) else _local_items(source, out))
    if not images.num_rows:
        raise SourceError(f"{source!r} holds no files; {_KINDS}")
    return images


def item_in(source: str, path: str) -> Item:
    """The image_id and uri that the picture at `path` has in a run over `source` (an absolute path, or on S3); of a
    picture elsewhere the id is its name, or in a list all of its path."""
    uri = path if is_s3(path) else os.path.abspath(path)  # noqa: PTH100
    base = source.rpartition("/")[0] if is_list(source) else fixed_part(source) if is_pattern(source) else source
    base = base.rstrip("/") if is_s3(base) else os.path.normpath(base)
    inside = uri.removeprefix(f"{base}/")
    relative = inside if inside != uri or is_list(source) else posixpath.basename(uri)
    return (relative, uri) if is_s3(uri) else (image_id_of(relative), uri_of(uri))


def read_bytes(uri: str, limit_bytes: int = MAX_PICTURE_BYTES) -> bytes:
    """The bytes of one picture. PictureError if this one cannot be read, StorageError if none could be."""
    try:
        if is_s3(uri):
            return _get_s3(uri, limit_bytes)
        return read_regular(path_of_uri(uri), limit_bytes)
    except (ObjectNotFoundError, ObjectUnreadableError) as error:
        raise PictureError(str(error)) from error


def _split_s3(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def _get_s3(url: str, limit_bytes: int) -> bytes:
    bucket, key = _split_s3(url)
    return open_store(f"s3://{bucket}").get(key, limit_bytes)


def sorted_images(items: Iterable[Item]) -> SpilledRows:
    """Image ids and uris, sorted by id."""
    waiting = iter(items)
    parts = iter(lambda: list(islice(waiting, _ITEMS_AT_ONCE)), [])
    return sorted_rows(map(_image_table, parts), _IMAGE)


def _image_table(items: Sequence[Item]) -> pa.Table:
    return pa.table([[item[place] for item in items] for place in range(len(_IMAGE))], schema=_IMAGE)


def _local_items(source: str, out: Output) -> Iterator[Item]:
    if _SCHEME.match(source):
        raise SourceError(f"{without_secrets(source)!r} cannot be read; {_KINDS}")
    try:
        mode = os.stat(source).st_mode  # noqa: PTH116
    except FileNotFoundError:
        if not is_pattern(source):
            raise SourceError(f"{source!r} does not exist; {_KINDS}") from None
        pattern = re.sub("/+", "/", source)
        out.check_source(source, fixed_part(pattern) or ".")
        return _pattern_items(pattern, out)
    except OSError as error:
        raise SourceError(str(local_error(error, source))) from error
    out.check_source(source, source)
    if stat.S_ISDIR(mode):
        return _folder_items(source, out)
    if not stat.S_ISREG(mode):
        raise SourceError(f"{source!r} is a pipe, socket or device; {_KINDS}")
    return iter([_local_item(os.path.basename(source), source)])  # noqa: PTH119


def _local_item(relative: str, path: str) -> Item:
    return image_id_of(relative), uri_of(os.path.abspath(path))  # noqa: PTH100


def _folder_items(folder: str, out: Output) -> Iterator[Item]:
    top = os.path.abspath(folder).rstrip("/")  # noqa: PTH100
    for relative in walk_files(folder, out):
        yield image_id_of(relative), uri_of(f"{top}/{relative}")


def _pattern_items(pattern: str, out: Output) -> Iterator[Item]:
    fixed = fixed_part(pattern)
    start = len(fixed) + 1 if fixed not in ("", "/") else len(fixed)
    for path in glob_files(pattern, out):
        relative = path[start:]
        if JUNK.isdisjoint(relative.split("/")):
            yield _local_item(relative, path)


def _s3_items(source: str, out: Output) -> Iterator[Item]:
    """Objects under a prefix, which ends at a '/'; if there is none, the one object of that name."""
    store = open_store(source)
    out.check_source(source, f"{store.url}/")
    empty = True
    for info in store.list():
        empty = False
        uri = store.uri(info.key)
        folder_marker = info.key.endswith("/") and info.size == 0
        if folder_marker or any(is_skipped(part) for part in info.key.split("/")):
            continue
        if not out.holds(uri):
            yield info.key, uri
    bucket, key = _split_s3(source)
    if empty and key:
        one = open_store(f"s3://{bucket}")
        if any(info.key == key for info in islice(one.list(key), 1)):
            yield posixpath.basename(key), one.uri(key)


def _from_list(source: str, out: Output) -> SpilledRows:
    base = (source if is_s3(source) else os.path.abspath(source)).rpartition("/")[0]  # noqa: PTH100
    with _opened_list(source) as file:
        carried, parts = read_list(source, file)
        images = sorted_rows((_resolved(source, base, rows, out) for rows in parts), pa.schema([*_IMAGE, *carried]))
        if not images.num_rows:
            raise SourceError(f"{source!r} lists no picture")
        doubled = _first_doubled(images)
        if doubled is not None:
            raise _named_twice(source, base, read_list(source, file)[1], doubled)
    return images


@contextmanager
def _opened_list(source: str) -> Iterator[BinaryIO]:
    try:
        file = _open_s3(source) if is_s3(source) else open_regular(source)
    except ObjectNotFoundError as error:
        raise SourceError(f"{source!r} does not exist; {_KINDS}") from error
    with file:
        yield file


def _open_s3(url: str) -> BinaryIO:
    bucket, key = _split_s3(url)
    parts = cast("io.RawIOBase", open_store(f"s3://{bucket}").open(key))
    return io.BufferedReader(parts, _LIST_BYTES_AT_ONCE)


def _resolved(source: str, base: str, rows: ListRows, out: Output) -> pa.Table:
    """Return some rows of a list as images; SourceError if one lies in OUT."""
    items = [_list_item(source, place, base, path) for path, place in zip(rows.paths, rows.places, strict=True)]
    for _, uri in items:
        out.check_listed(source, uri)
    table = _image_table(items)
    for field, column in zip(rows.carried.schema, rows.carried.columns, strict=True):
        table = table.append_column(field, column)
    return table


def _first_doubled(images: SpilledRows) -> str | None:
    """The first id that comes twice."""
    last = pa.array([], pa.string())
    for rows in images.parts(["image_id"]):
        ids = pa.concat_arrays([last, *rows["image_id"].chunks])
        place = pc.index(pc.equal(ids[1:], ids[:-1]), value=True).as_py()
        if place >= 0:
            return str(ids[place])
        last = ids[-1:]
    return None


def _named_twice(source: str, base: str, parts: Iterable[ListRows], image_id: str) -> SourceError:
    """Where a list names what has `image_id`."""
    entries = ((path, place) for rows in parts for path, place in zip(rows.paths, rows.places, strict=True))
    items = ((*_list_item(source, place, base, path), path, place) for path, place in entries)
    (_, one, _, first), (_, other, path, second) = islice((item for item in items if item[0] == image_id), 2)
    if one == other:
        return SourceError(f"{source!r} names {path!r} twice, in {first} and {second}; remove one")
    return SourceError(
        f"{source!r} names two pictures that would both be {image_id!r}: {one!r} in {first} and {other!r} in {second}; "
        "remove one"
    )


def _list_item(source: str, place: str, base: str, path: str) -> Item:
    """An entry as item. A relative path counts from the list's folder; '..' is resolved as text.

    The image_id is the path below the list's folder, or the whole path or url for a picture elsewhere.
    """
    if _SCHEME.match(path) and not is_s3(path):
        shown = without_secrets(path)
        raise SourceError(f"{source!r}: {place} holds {shown!r}; local paths and s3:// urls can be read")
    if is_s3(path) and "@" in _split_s3(path)[0]:  # it would be in the table, for everybody
        shown = without_secrets(path)
        raise SourceError(f"{source!r}: {place} holds a key to {shown!r}; remove it, and give keys by AWS_* variables")
    absolute = path.startswith("/")
    if is_s3(path) or (is_s3(base) and not absolute):
        if not is_text(path):
            raise SourceError(f"{source!r}: {place} holds {path!r}, which is not UTF-8; keys on S3 are")
        bucket, key = _split_s3(base)
        # Of a list at the root of its bucket `key` is empty, and `normpath` keeps two slashes at the beginning.
        uri = path if is_s3(path) else f"s3://{bucket}/{posixpath.normpath(f'/{key}/{path}').lstrip('/')}"
        return uri.removeprefix(f"{base}/"), uri
    full = os.path.normpath(path if absolute else f"{base}/{path}")
    inside = full.removeprefix(f"{base.rstrip('/')}/")
    return image_id_of(inside), uri_of(full)
