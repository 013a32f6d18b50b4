"""Lists the images of a SOURCE that is a list, local or in a store."""

from __future__ import annotations

import io
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from i2s_batch.errors import ObjectNotFoundError, SourceError
from i2s_batch.parquet.arrow_files import lent_to_arrow
from i2s_batch.parquet.sorted_rows import SpilledRows, sorted_rows
from i2s_batch.sources.apart import Output
from i2s_batch.sources.items import IMAGE, WHAT_TO_GIVE, Item, image_table
from i2s_batch.sources.list_rows import ListRows, PathColumn, ReadList
from i2s_batch.sources.list_text import is_list
from i2s_batch.sources.lists import read_list
from i2s_batch.sources.names import image_id_of, is_text, uri_of
from i2s_batch.sources.options import SourceOptions
from i2s_batch.sources.parquet_images import holds_surely_images, image_column
from i2s_batch.sources.spellings import LocalSpellings, StoredSpellings, may_be_spelt_otherwise, with_slashes
from i2s_batch.storage import is_remote, open_store, split_url
from i2s_batch.storage.local import open_regular
from i2s_batch.storage.schemes import SCHEMES, scheme_of
from i2s_batch.storage.urls import without_secrets
from i2s_batch.storage.web_requests import is_web_url

_LIST_BYTES_AT_ONCE = 8 << 20  # read at a time of a list in a store


def listed(source: str, out: Output, options: SourceOptions) -> SpilledRows | None:
    """Return the images that a list names, with its extra columns; None for a SOURCE that is no list.

    Raises SourceError: the list names no image, or one twice, or one that lies in OUT, or cannot be read.
    """
    files = _files_of(source)
    if not files or _hold_images(files, options):
        return None
    entries = _Entries(source, _base_of(source))
    wanted = PathColumn(options.path_column)
    with ExitStack() as opened:
        carried, parts = _read(files, opened, wanted)
        images = sorted_rows((_resolved(entries, rows, out) for rows in parts), pa.schema([*IMAGE, *carried]))
        if not images.num_rows:
            raise SourceError(f"{source!r} lists no image")
        doubled = _first_doubled(images)
        if doubled is not None:
            raise _named_twice(entries, _read(files, opened, wanted)[1], doubled)
    return images


def _files_of(source: str) -> list[str]:
    """Return the files of a list: one, the files of a Parquet folder in their order, or none if SOURCE is no list."""
    if is_remote(source):
        if is_list(source):
            return [source]
        store = open_store(source)
        is_folder = source.rstrip("/").endswith(".parquet")
        return [store.uri(name) for name in _parquet_files(info.key for info in store.list())] if is_folder else []
    if os.path.isdir(source):  # noqa: PTH112
        with os.scandir(source) as entries:
            names = _parquet_files(entry.name for entry in entries)
        return [f"{source.rstrip('/')}/{name}" for name in names]
    return [source] if is_list(source) and os.path.isfile(source) else []  # noqa: PTH113


def _parquet_files(names: Iterable[str]) -> list[str]:
    """Return the files of a Parquet folder in their order; none if another file is among them."""
    found = []
    for name in names:
        if name.startswith((".", "_")):  # "_SUCCESS", "_metadata"
            continue
        if not name.endswith(".parquet"):
            return []
        found.append(name)
    return sorted(found)


def _hold_images(files: Sequence[str], options: SourceOptions) -> bool:
    """Return whether Parquet files hold images rather than paths: a column of paths decides unless one surely does."""
    if not files[0].lower().endswith(".parquet") or options.path_column is not None:
        return False
    for name in files:
        try:
            with _opened_list(name) as file:
                fields = pq.ParquetFile(lent_to_arrow(file)).schema_arrow
        except (pa.ArrowException, OSError):  # the next one decides; if there is none, reading the list names this one
            continue
        found = image_column(name, fields, options.image_column)
        paths = PathColumn().found_in(fields.names)
        given = options.image_column is not None
        return found is not None and (given or paths is None or holds_surely_images(found))
    return False


def _base_of(source: str) -> str:
    """Return the folder that relative paths of a list are relative to."""
    path = source.rstrip("/") if is_remote(source) else os.path.abspath(source)  # noqa: PTH100
    return path.rpartition("/")[0] if is_list(path) else path


def _read(files: Sequence[str], opened: ExitStack, wanted: PathColumn) -> ReadList:
    """Return the extra columns and the rows of a list that is in `files`; the first stays open as long as `opened`."""
    schema, first = read_list(files[0], opened.enter_context(_opened_list(files[0])), wanted)

    def parts() -> Iterator[ListRows]:
        yield from first
        for name in files[1:]:
            with _opened_list(name) as file:
                other, rows = read_list(name, file, wanted)
                if other != schema:
                    raise SourceError(f"{name!r} has other columns than {files[0]!r}, which is in the same folder")
                for part in rows:
                    at = [f"{position} of {posixpath.basename(name)}" for position in part.positions]
                    yield replace(part, positions=at)

    return schema, parts()


@contextmanager
def _opened_list(source: str) -> Iterator[BinaryIO]:
    try:
        file = _open_remote(source) if is_remote(source) else open_regular(source)
    except ObjectNotFoundError as error:
        raise SourceError(f"{source!r} does not exist; {WHAT_TO_GIVE}") from error
    with file:
        yield file


def _open_remote(url: str) -> BinaryIO:
    root, key = split_url(url)
    parts = cast("io.RawIOBase", open_store(root).open(key))
    return io.BufferedReader(parts, _LIST_BYTES_AT_ONCE)


def _resolved(entries: _Entries, rows: ListRows, out: Output) -> pa.Table:
    """Return some rows of a list as images; SourceError if one lies in OUT."""
    items = [entries.item(path, position) for path, position in zip(rows.paths, rows.positions, strict=True)]
    for _, uri in items:
        out.check_listed(entries.source, uri)
    table = image_table(items)
    for field, column in zip(rows.carried.schema, rows.carried.columns, strict=True):
        table = table.append_column(field, column)
    return table


def _first_doubled(images: SpilledRows) -> str | None:
    """Return the first id that appears twice."""
    last = pa.array([], pa.string())
    for rows in images.parts(["image_id"]):
        ids = pa.concat_arrays([last, *rows["image_id"].chunks])
        position = pc.index(pc.equal(ids[1:], ids[:-1]), value=True).as_py()
        if position >= 0:
            return str(ids[position])
        last = ids[-1:]
    return None


def _named_twice(entries: _Entries, parts: Iterable[ListRows], image_id: str) -> SourceError:
    """Return the error that says where a list names `image_id`."""
    source = entries.source
    written = ((path, position) for rows in parts for path, position in zip(rows.paths, rows.positions, strict=True))
    items = ((*entries.item(path, position), path, position) for path, position in written)
    (_, one, _, first), (_, other, path, second) = islice((item for item in items if item[0] == image_id), 2)
    if one == other:
        return SourceError(f"{source!r} names {path!r} twice, in {first} and {second}; remove one")
    return SourceError(
        f"{source!r} names two images that would both be {image_id!r}: {one!r} in {first} and {other!r} in {second}; "
        "remove one"
    )


class _Entries:
    """Makes items of the entries of a list; each names the file that exists, however the list spells it."""

    def __init__(self, source: str, base: str) -> None:
        """Make items of the list `source`, whose relative paths are relative to `base`."""
        self.source, self._base = source, base
        self._local, self._stored = LocalSpellings(), StoredSpellings(base)

    def item(self, path: str, position: str) -> Item:
        """Return an entry as an item. A relative path is relative to the list's folder; '..' is resolved as text.

        The image_id is the path below the list's folder, or the whole path or url of an image elsewhere.
        """
        self._check(path, position)
        if is_remote(path) or (is_remote(self._base) and not path.startswith("/")):
            if not is_text(path):
                raise SourceError(f"{self.source!r}: {position} holds {path!r}, which is not UTF-8; keys on S3 are")
            url = self._url(path)
            if may_be_spelt_otherwise(path) and is_remote(self._base):
                url = self._stored.existing([url, self._url(with_slashes(path))])
            return url.removeprefix(f"{self._base}/"), url
        full = self._path(path)
        if may_be_spelt_otherwise(full):
            full = self._local.existing([full, self._path(with_slashes(path))])
        return image_id_of(full.removeprefix(f"{self._base.rstrip('/')}/")), uri_of(full)

    def _check(self, path: str, position: str) -> None:
        """Raise SourceError for a path that cannot be read, or that holds a secret."""
        if (scheme := scheme_of(path)) and (not is_remote(path) or (scheme == "http" and not is_web_url(path))):
            shown = without_secrets(path)
            known = ", ".join(f"{each.name}://" for each in SCHEMES if each.example)
            raise SourceError(
                f"{self.source!r}: {position} holds {shown!r}; local paths and urls with {known} can be read"
            )
        if is_remote(path) and (shown := without_secrets(path)) != path:  # it would be in the table, for everybody
            raise SourceError(
                f"{self.source!r}: {position} holds a key to {shown!r} (a user, a query or a fragment of the url); "
                "remove it, and give keys by the variables of that store, such as AWS_*, or a file on this machine"
            )

    def _url(self, path: str) -> str:
        if is_remote(path):
            return path
        root, key = split_url(self._base)
        return f"{root}/{_joined_key(key, path)}"

    def _path(self, path: str) -> str:
        return os.path.normpath(path if path.startswith("/") else f"{self._base}/{path}")


def _joined_key(folder: str, path: str) -> str:
    """Return the key of an entry relative to a folder of a bucket; two slashes are left as they are."""
    parts = folder.split("/") if folder else []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
