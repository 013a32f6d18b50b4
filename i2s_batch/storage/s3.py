"""Objects on S3 or a store that speaks its language (AWS_ENDPOINT_URL_S3)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, cast

from botocore.exceptions import ClientError, FlexibleChecksumError, HTTPClientError, IncompleteReadError

from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.storage.s3_client import s3_client, s3_errors
from i2s_batch.storage.s3_file import TAIL_BYTES, RangedFile
from i2s_batch.storage.s3_listing import Page, list_keys
from i2s_batch.storage.store import ObjectInfo, ObjectUnreadableError, Store

READ_ATTEMPTS = 5  # of get and read together; botocore retries the request alone, not the body
CONFLICT_ATTEMPTS = 10  # S3 answers 409 while another conditional write to the same key is under way
DELETE_BATCH = 1000  # the most keys that one DeleteObjects takes

_BROKEN_BODY = (HTTPClientError, IncompleteReadError, FlexibleChecksumError)


def split_s3_url(url: str) -> tuple[str, str]:
    """`s3://bucket/key` as (bucket, key); nothing is unescaped: a key may hold '?', '#' or '%'."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not bucket:
        raise StorageError(f"{url!r} names no bucket; give s3://bucket/prefix")
    return bucket, key


def _pause(attempt: int) -> None:
    """Wait up to 0.2 s, 0.4 s, ... 5 s before the next try, at random lest clients stay in step."""
    time.sleep(random.uniform(0, min(0.2 * 2**attempt, 5.0)))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


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
        return self._fetch(key, limit_bytes)[0]

    def open(self, key: str) -> BinaryIO:
        data, response = self._fetch(key, Range=f"bytes=-{TAIL_BYTES}")
        # An empty object has no part: some stores then send all of nothing, without saying of how much it is a part.
        size = int(response["ContentRange"].rpartition("/")[2]) if "ContentRange" in response else len(data)
        version = response["ETag"]

        def part(start: int, stop: int) -> bytes:
            return self._fetch(key, Range=f"bytes={start}-{stop - 1}", IfMatch=version)[0]

        return cast("BinaryIO", RangedFile(data, size, part))

    def etag(self, key: str) -> str:
        """A short text that changes when the object's content does."""
        with s3_errors(self.uri(key)):
            # No HEAD: its errors have no text, so a missing bucket would look like a missing object.
            response = s3_client().get_object(**self._name(key))
        response["Body"].close()
        return str(response["ETag"])

    def _fetch(self, key: str, limit_bytes: int | None = None, **part: str) -> tuple[bytes, dict[str, Any]]:
        """The bytes of an object, or of a `part` of it, and what S3 says of them."""
        uri = self.uri(key)
        for attempt in range(READ_ATTEMPTS):
            with s3_errors(uri):
                response = s3_client().get_object(**self._name(key), **part)
            size = response["ContentLength"]
            if limit_bytes is not None and size > limit_bytes:
                response["Body"].close()
                raise ObjectUnreadableError(f"{uri!r} has {size} bytes; the limit is {limit_bytes}")
            try:
                return response["Body"].read(), response
            except _BROKEN_BODY as error:
                broken = type(error).__name__
            _pause(attempt)
        raise StorageError(
            f"{uri!r}: the answer broke off {READ_ATTEMPTS} times ({broken}); check the network and try again"
        )

    def put(self, key: str, data: bytes) -> None:
        with s3_errors(self.uri(key)):
            s3_client().put_object(**self._name(key), Body=data)

    def put_new(self, key: str, data: bytes) -> bool:
        return self._put_if(key, data, IfNoneMatch="*")

    def swap(self, key: str, expected: bytes, data: bytes) -> bool:
        try:
            present, response = self._fetch(key)
        except ObjectNotFoundError:
            return False
        return present == expected and self._put_if(key, data, IfMatch=response["ETag"])

    def _put_if(self, key: str, data: bytes, **condition: str) -> bool:
        """Put under a condition; whether the object now holds `data` through this call."""
        uri = self.uri(key)
        for attempt in range(CONFLICT_ATTEMPTS):
            with s3_errors(uri):
                try:
                    s3_client().put_object(**self._name(key), Body=data, **condition)
                    return True
                except ClientError as error:
                    code = _code(error)
                    if code == "PreconditionFailed":
                        # A first try may have succeeded and its answer been lost: its retry is then refused.
                        return self._holds(key, data)
                    if code == "NoSuchKey":  # IfMatch, and the object was deleted meanwhile
                        return False
                    if code != "ConditionalRequestConflict":
                        raise
            _pause(attempt)
        raise StorageError(f"{uri!r} was being written by others at each of {CONFLICT_ATTEMPTS} tries; try again")

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
        uri, where = f"s3://{self.bucket}/{stem}", {"StartAfter": after} if after else {}
        while True:
            with s3_errors(uri):
                answer = s3_client().list_objects_v2(Bucket=self.bucket, Prefix=stem, **where)
            entries = [(item["Key"], item["Size"]) for item in answer.get("Contents", ())]
            if entries and entries[0][0] <= after:
                raise StorageError(f"{uri!r}: the store ignores StartAfter when it lists; use one that honours it")
            if entries or not answer["IsTruncated"]:
                return Page(entries, answer["IsTruncated"])
            where = {"ContinuationToken": answer["NextContinuationToken"]}  # S3 may send a page with nothing

    def sweep(self) -> None:
        """Nothing to do: a PUT that is cut off leaves nothing."""

    def delete(self, keys: Iterable[str]) -> None:
        names = iter([{"Key": self.prefix + key} for key in keys])
        while batch := list(islice(names, DELETE_BATCH)):
            with s3_errors(self.url):
                request = {"Objects": batch, "Quiet": True}
                answer: dict[str, Any] = s3_client().delete_objects(Bucket=self.bucket, Delete=request)
            for failure in answer.get("Errors", ()):
                uri = f"s3://{self.bucket}/{failure['Key']}"
                raise StorageError(f"{uri!r} could not be deleted ({failure['Code']}); check the permissions")
