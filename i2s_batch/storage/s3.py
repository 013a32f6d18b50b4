"""Objects on S3 or a store that speaks its language (AWS_ENDPOINT_URL_S3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from botocore.exceptions import ClientError

from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.storage.local import open_regular
from i2s_batch.storage.s3_client import CREDENTIALS, is_transient, s3_call
from i2s_batch.storage.s3_file import TAIL_BYTES, RangedFile
from i2s_batch.storage.s3_listing import Page, list_keys
from i2s_batch.storage.store import ObjectInfo, ObjectUnreadableError, Store
from i2s_batch.storage.urls import without_secrets

DELETE_BATCH = 1000  # the most keys that one DeleteObjects takes


def split_s3_url(url: str) -> tuple[str, str]:
    """`s3://bucket/key` as (bucket, key); nothing is unescaped: a key may hold '?', '#' or '%'."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if "@" in bucket:
        raise StorageError(f"{without_secrets(url)!r} was given with a key in it; give keys by {CREDENTIALS}")
    if not bucket:
        raise StorageError(f"{url!r} names no bucket; give s3://bucket/prefix")
    return bucket, key


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@dataclass(frozen=True)
class _Fetched:
    """Holds the bytes of an object, or of a part of it; `content_range` says which, None of a whole one."""

    data: bytes
    etag: str
    content_range: str | None


@dataclass(frozen=True)
class S3Store(Store):
    """Objects of `bucket` whose keys begin with `prefix` ('' or ending in '/')."""

    bucket: str
    prefix: str = ""

    @classmethod
    def from_url(cls, url: str) -> S3Store:
        """The store at `s3://bucket/prefix`; a '/' at the end changes nothing."""
        bucket, key = split_s3_url(url)
        return cls(bucket, f"{key.rstrip('/')}/" if key else "")

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{key}"

    def _name(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + key}

    def get(self, key: str, limit_bytes: int | None = None) -> bytes:
        return self._fetch(key, limit_bytes).data

    def open(self, key: str) -> BinaryIO:
        response = self._fetch(key, Range=f"bytes=-{TAIL_BYTES}")
        data, content_range = response.data, response.content_range
        # An empty object has no part: some stores then send all of nothing, without saying of how much it is a part.
        size = len(data) if content_range is None else int(content_range.rpartition("/")[2])
        version = response.etag

        def part(start: int, stop: int) -> bytes:
            return self._fetch(key, Range=f"bytes={start}-{stop - 1}", IfMatch=version).data

        return cast("BinaryIO", RangedFile(data, size, part))

    def etag(self, key: str) -> str:
        """A short text that changes when the object's content does."""
        # No HEAD: its errors have no text, so a missing bucket would look like a missing object.
        response = s3_call(self.uri(key), lambda client: client.get_object(**self._name(key)))
        response["Body"].close()
        return str(response["ETag"])

    def _fetch(self, key: str, limit_bytes: int | None = None, **part: str) -> _Fetched:
        """Return the bytes of an object, or of a `part` of it, and what S3 says of them."""
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
        s3_call(self.uri(key), lambda client: client.put_object(**self._name(key), Body=data))

    def put_file(self, key: str, source: Path) -> None:
        def send(client: Any) -> None:
            with open_regular(str(source)) as data:  # anew at each attempt
                client.put_object(**self._name(key), Body=data)

        s3_call(self.uri(key), send)

    def put_new(self, key: str, data: bytes) -> bool:
        return self._put_if(key, data, IfNoneMatch="*")

    def swap(self, key: str, expected: bytes, data: bytes) -> bool:
        try:
            present = self._fetch(key)
        except ObjectNotFoundError:
            return False
        return present.data == expected and self._put_if(key, data, IfMatch=present.etag)

    def _put_if(self, key: str, data: bytes, **condition: str) -> bool:
        """Put under a condition; whether the object now holds `data` through this call."""

        def ask(client: Any) -> str:
            try:
                client.put_object(**self._name(key), Body=data, **condition)
            except ClientError as error:
                if _code(error) in ("PreconditionFailed", "NoSuchKey"):  # the latter: IfMatch, and it was deleted
                    return _code(error)
                raise
            return ""

        refusal = s3_call(self.uri(key), ask)
        # A first try may have succeeded and its answer been lost: its repetition is then refused.
        return not refusal or (refusal == "PreconditionFailed" and self._holds(key, data))

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            return self.get(key) == data
        except ObjectNotFoundError:
            return False

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for key, size in list_keys(self._page, self.prefix + prefix):
            yield ObjectInfo(key[len(self.prefix) :], size)

    def _page(self, stem: str, after: str) -> Page:
        """The first page of the keys that begin with `stem` and come after `after`."""
        uri, position = f"s3://{self.bucket}/{stem}", {"StartAfter": after} if after else {}
        while True:
            response = s3_call(uri, partial(self._ask_page, stem, position))
            entries = [(item["Key"], item["Size"]) for item in response.get("Contents", ())]
            if entries and entries[0][0] <= after:
                raise StorageError(f"{uri!r}: the store ignores StartAfter when it lists; use one that honours it")
            if entries or not response["IsTruncated"]:
                return Page(entries, response["IsTruncated"])
            position = {"ContinuationToken": response["NextContinuationToken"]}  # S3 may send a page with nothing

    def _ask_page(self, stem: str, position: dict[str, str], client: Any) -> Any:
        return client.list_objects_v2(Bucket=self.bucket, Prefix=stem, **position)

    def everything(self) -> Iterator[str]:
        # An empty object whose name ends in '/' stands for an empty folder.
        yield from (info.key for info in self.list() if info.size or not (self.prefix + info.key).endswith("/"))

    def sweep(self, written: Callable[[str], bool]) -> None:
        """Nothing to do: a PUT that is cut off leaves nothing."""

    def _delete(self, names: Sequence[dict[str, str]], client: Any) -> Sequence[dict[str, str]]:
        """Delete up to DELETE_BATCH objects; what was refused, and why."""
        response = client.delete_objects(Bucket=self.bucket, Delete={"Objects": names, "Quiet": True})
        refused: Sequence[dict[str, str]] = response.get("Errors", [])
        for failure in refused:  # some of them may have met a busy store
            error = ClientError({"Error": failure}, "DeleteObjects")
            if is_transient(error):
                raise error
        return refused

    def delete(self, keys: Iterable[str]) -> None:
        names = iter([{"Key": self.prefix + key} for key in keys])
        while batch := list(islice(names, DELETE_BATCH)):
            for failure in s3_call(self.url, partial(self._delete, batch)):
                uri = f"s3://{self.bucket}/{failure['Key']}"
                raise StorageError(f"{uri!r} could not be deleted ({failure['Code']}); check the permissions")


def open_s3(url: str) -> Store:
    """Return the store at `s3://bucket/prefix`."""
    return S3Store.from_url(url)
