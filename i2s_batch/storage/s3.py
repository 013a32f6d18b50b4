"""Stores objects on S3 or a server with the same protocol (AWS_ENDPOINT_URL_S3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from botocore.exceptions import ClientError

from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.storage.local import open_regular
from i2s_batch.storage.s3_client import CREDENTIALS, is_transient, s3_call
from i2s_batch.storage.s3_file import TAIL_BYTES, RangedFile
from i2s_batch.storage.s3_listing import Page, list_keys
from i2s_batch.storage.s3_multipart import MultipartUpload, discard_uploads, in_parts
from i2s_batch.storage.store import ObjectInfo, ObjectUnreadableError, Store
from i2s_batch.storage.urls import without_secrets

DELETE_BATCH = 1000  # the most keys that one DeleteObjects takes


def split_s3_url(url: str) -> tuple[str, str]:
    """Return `s3://bucket/key` as (bucket, key); nothing is unescaped: a key may hold '?', '#' or '%'."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if "@" in bucket:
        raise StorageError(f"{without_secrets(url)!r} was given with credentials in it; give them by {CREDENTIALS}")
    if not bucket:
        raise StorageError(f"{url!r} names no bucket; give s3://bucket/prefix")
    return bucket, key


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@dataclass(frozen=True)
class _Fetched:
    """Holds the bytes of an object, or of a part of it; `content_range` describes the part, None for a whole object."""

    data: bytes
    etag: str
    content_range: str | None


@dataclass(frozen=True)
class S3Store(Store):
    """Stores objects of `bucket` whose keys begin with `prefix` ('' or ending in '/')."""

    bucket: str
    prefix: str = ""

    @classmethod
    def from_url(cls, url: str) -> S3Store:
        """Return the store at `s3://bucket/prefix`; a '/' at the end makes no difference."""
        bucket, key = split_s3_url(url)
        return cls(bucket, f"{key.rstrip('/')}/" if key else "")

    @property
    def url(self) -> str:
        """Return `s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def uri(self, key: str) -> str:
        """Return the url of an object."""
        return f"s3://{self.bucket}/{self.prefix}{key}"

    def _name(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + key}

    def get(self, key: str, limit_bytes: int | None = None) -> bytes:
        """Return the bytes of an object."""
        return self._fetch(key, limit_bytes).data

    def open(self, key: str) -> BinaryIO:
        """Open an object as a seekable file whose parts are fetched when they are read."""
        response = self._fetch(key, Range=f"bytes=-{TAIL_BYTES}")
        data, content_range = response.data, response.content_range
        # An empty object has no part: some stores then send a whole, empty body without Content-Range.
        size = len(data) if content_range is None else int(content_range.rpartition("/")[2])
        version = response.etag

        def part(start: int, stop: int) -> bytes:
            return self._fetch(key, Range=f"bytes={start}-{stop - 1}", IfMatch=version).data

        return cast("BinaryIO", RangedFile(data, size, part))

    def get_part(self, key: str, start: int, stop: int) -> bytes:
        """Return a part of an object with one request."""

        def ask(client: Any) -> bytes:
            try:
                response = client.get_object(**self._name(key), Range=f"bytes={start}-{max(start, stop - 1)}")
            except ClientError as error:
                if _code(error) == "InvalidRange":  # the object ends before the part begins
                    return b""
                raise
            data: bytes = response["Body"].read()
            return data[: stop - start]

        return s3_call(self.uri(key), ask)

    def etag(self, key: str) -> str:
        """Return a short text that changes when the object's content does."""
        # GET, not HEAD, whose errors have no text: a missing bucket would look like a missing object.
        response = s3_call(self.uri(key), lambda client: client.get_object(**self._name(key)))
        response["Body"].close()
        return str(response["ETag"])

    def _fetch(self, key: str, limit_bytes: int | None = None, **part: str) -> _Fetched:
        """Return the bytes of an object, or of a `part` of it, and its headers."""
        uri = self.uri(key)

        def ask(client: Any) -> _Fetched:
            response = client.get_object(**self._name(key), **part)
            size = response["ContentLength"]
            if limit_bytes is not None and size > limit_bytes:
                response["Body"].close()
                raise ObjectUnreadableError(f"{uri!r} has {size} bytes; the limit is {limit_bytes}")
            return _Fetched(response["Body"].read(), response["ETag"], response.get("ContentRange"))

        return s3_call(uri, ask)

    def put(self, key: str, data: bytes) -> None:
        """Write an object with one PUT, which S3 applies whole or not at all."""
        s3_call(self.uri(key), lambda client: client.put_object(**self._name(key), Body=data))

    def put_file(self, key: str, source: Path) -> None:
        """Write the bytes of a local file with one PUT."""

        def send(client: Any) -> None:
            with open_regular(str(source)) as data:  # opened at each attempt, which reads it from the start
                client.put_object(**self._name(key), Body=data)

        s3_call(self.uri(key), send)

    def put_chunks(self, key: str, chunks: Iterable[bytes]) -> None:
        """Write chunks with one PUT, or where they are more than one part holds with a multipart upload."""
        parts = in_parts(chunks)
        first, second = next(parts), next(parts, None)
        if second is None:
            self.put(key, first)
        else:
            MultipartUpload(self.uri(key), self._name(key)).send(chain((first, second), parts))

    def put_new_chunks(self, key: str, chunks: Iterable[bytes]) -> bool:
        """Create an object with a conditional PUT, or a multipart upload whose completion is conditional."""
        parts = in_parts(chunks)
        first, second = next(parts), next(parts, None)
        if second is None:
            return self.put_new(key, first)
        return MultipartUpload(self.uri(key), self._name(key), only_new=True).send(chain((first, second), parts))

    def discard_unfinished(self, prefix: str) -> None:
        """Abort the multipart uploads to keys under `prefix` that were never completed."""
        discard_uploads(self.bucket, self.prefix + prefix)

    def put_new(self, key: str, data: bytes) -> bool:
        """Create an object with a conditional PUT (If-None-Match)."""
        return self._put_if(key, data, IfNoneMatch="*")

    def swap(self, key: str, expected: bytes, data: bytes) -> bool:
        """Replace an object that holds `expected` with a conditional PUT (If-Match)."""
        try:
            present = self._fetch(key)
        except ObjectNotFoundError:
            return False
        return present.data == expected and self._put_if(key, data, IfMatch=present.etag)

    def _put_if(self, key: str, data: bytes, **condition: str) -> bool:
        """Put under a condition; return whether the object now holds `data` through this call."""

        def ask(client: Any) -> str:
            try:
                client.put_object(**self._name(key), Body=data, **condition)
            except ClientError as error:
                if _code(error) in ("PreconditionFailed", "NoSuchKey"):  # the latter: IfMatch, and it was deleted
                    return _code(error)
                raise
            return ""

        refusal = s3_call(self.uri(key), ask)
        # A first try may have succeeded although its response was lost: its repetition is then refused.
        return not refusal or (refusal == "PreconditionFailed" and self._holds(key, data))

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            return self.get(key) == data
        except ObjectNotFoundError:
            return False

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose keys begin with `prefix`, sorted."""
        for key, size in list_keys(self._page, self.prefix + prefix):
            yield ObjectInfo(key[len(self.prefix) :], size)

    def _page(self, stem: str, after: str) -> Page:
        """Return the first page of the keys that begin with `stem` and come after `after`."""
        uri, position = f"s3://{self.bucket}/{stem}", {"StartAfter": after} if after else {}
        while True:
            response = s3_call(uri, partial(self._ask_page, stem, position))
            entries = [(item["Key"], item["Size"]) for item in response.get("Contents", ())]
            if entries and entries[0][0] <= after:
                raise StorageError(f"{uri!r}: the store ignores StartAfter when it lists; use one that honours it")
            if entries or not response["IsTruncated"]:
                return Page(entries, response["IsTruncated"])
            position = {"ContinuationToken": response["NextContinuationToken"]}  # S3 may send an empty page

    def _ask_page(self, stem: str, position: dict[str, str], client: Any) -> Any:
        return client.list_objects_v2(Bucket=self.bucket, Prefix=stem, **position)

    def everything(self) -> Iterator[str]:
        """Yield every key but those of empty folders."""
        # An empty object whose name ends in '/' stands for an empty folder.
        yield from (info.key for info in self.list() if info.size or not (self.prefix + info.key).endswith("/"))

    def sweep(self, written: Callable[[str], bool]) -> None:
        """Do nothing: an interrupted PUT leaves nothing behind."""

    def _delete(self, names: Sequence[dict[str, str]], client: Any) -> Sequence[dict[str, str]]:
        """Delete up to DELETE_BATCH objects; return those that were refused, and why."""
        response = client.delete_objects(Bucket=self.bucket, Delete={"Objects": names, "Quiet": True})
        refused: Sequence[dict[str, str]] = response.get("Errors", [])
        for failure in refused:  # the store may have been too busy for some of them
            error = ClientError({"Error": failure}, "DeleteObjects")
            if is_transient(error):
                raise error
        return refused

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, a thousand in one request."""
        names = iter([{"Key": self.prefix + key} for key in keys])
        while batch := list(islice(names, DELETE_BATCH)):
            for failure in s3_call(self.url, partial(self._delete, batch)):
                uri = f"s3://{self.bucket}/{failure['Key']}"
                raise StorageError(f"{uri!r} could not be deleted ({failure['Code']}); check the permissions")


def open_s3(url: str) -> Store:
    """Return the store at `s3://bucket/prefix`."""
    return S3Store.from_url(url)
