"""Writes an object on S3 in parts: only one part is in memory, and the object appears whole when the last is there.

    MultipartUpload("s3://bucket/key", {"Bucket": "bucket", "Key": "key"}).send(parts)

What fails, or is raised by `parts`, aborts the upload. A killed process leaves the parts that it has sent: they are no
object and in no listing, and the store keeps them until `discard_uploads`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from i2s_batch.errors import StorageError
from i2s_batch.storage.s3_client import s3_call

PART_BYTES = 16 << 20  # of a part; S3 takes no smaller one than 5 MiB before the last
_TAKEN = "PreconditionFailed"  # of a completion under the condition that there is no such object
# S3 takes 10,000 parts: as every thousand of them is by 16 MiB larger than the one before, they hold 880 GB.
PARTS_OF_ONE_SIZE = 1000


def in_parts(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of `chunks` in parts of PART_BYTES, later ones of more, the last of fewer; one at least."""
    number, waiting = 0, bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= (size := PART_BYTES * (1 + number // PARTS_OF_ONE_SIZE)):
            yield bytes(waiting[:size])
            del waiting[:size]
            number += 1
    if waiting or not number:
        yield bytes(waiting)


class MultipartUpload:
    """Uploads one object in parts; `name` holds the Bucket and Key of requests, `uri` is for messages.

    `only_new`: the object is written only if there is none of this name when the upload is completed.
    """

    def __init__(self, uri: str, name: Mapping[str, str], only_new: bool = False) -> None:
        self._uri, self._name = uri, dict(name)
        self._size = 0
        self._condition = {"IfNoneMatch": "*"} if only_new else dict[str, str]()

    def send(self, parts: Iterable[bytes]) -> bool:
        """Write the object, whole or not at all; return False if it exists and only a new one is wanted.

        Raises:
            StorageError: A request failed for good; the object is as it was.
        """
        created = s3_call(self._uri, lambda client: client.create_multipart_upload(**self._name))
        upload = {**self._name, "UploadId": str(created["UploadId"])}
        is_complete = False
        try:
            sent = [self._send_part(upload, number, part) for number, part in enumerate(parts, 1)]
            is_complete = self._complete(upload, sent)
        finally:  # also after what `parts` raises: nothing may be left on the store
            if not is_complete:
                with suppress(StorageError):
                    s3_call(self._uri, partial(_abort, upload))
        return is_complete

    def _send_part(self, upload: dict[str, str], number: int, part: bytes) -> dict[str, str | int]:
        def ask(client: Any) -> str:
            return str(client.upload_part(**upload, PartNumber=number, Body=part)["ETag"])

        self._size += len(part)
        return {"PartNumber": number, "ETag": s3_call(self._uri, ask)}

    def _complete(self, upload: dict[str, str], sent: list[dict[str, str | int]]) -> bool:
        asked = False

        def ask(client: Any) -> bool:
            nonlocal asked
            was_asked, asked = asked, True
            try:
                client.complete_multipart_upload(**upload, MultipartUpload={"Parts": sent}, **self._condition)
            except ClientError as error:
                # A first request may have succeeded although its response was lost.
                code = error.response.get("Error", {}).get("Code")
                is_ours = was_asked and code in ("NoSuchUpload", _TAKEN) and self._is_there(client, len(sent))
                if not is_ours and code != _TAKEN:
                    raise
                return is_ours
            return True

        return s3_call(self._uri, ask)

    def _is_there(self, client: Any, parts: int) -> bool:
        found = client.head_object(**self._name)
        return bool(found["ContentLength"] == self._size and found["ETag"].strip('"').endswith(f"-{parts}"))


def _abort(upload: Mapping[str, str], client: Any) -> None:
    client.abort_multipart_upload(**upload)


def discard_uploads(bucket: str, prefix: str) -> None:
    """Abort the uploads to keys under `prefix` that nobody completes any more.

    A store that does not list them, or does not let us, keeps them: the rules of the bucket remove them some day.
    """
    uri, position = f"s3://{bucket}/{prefix}", dict[str, str]()

    def page(client: Any) -> Any:
        return client.list_multipart_uploads(Bucket=bucket, Prefix=prefix, **position)

    with suppress(StorageError):
        while True:
            found = s3_call(uri, page)
            for each in found.get("Uploads", ()):
                name = {"Bucket": bucket, "Key": each["Key"], "UploadId": each["UploadId"]}
                with suppress(StorageError):  # completed or aborted meanwhile
                    s3_call(uri, partial(_abort, name))
            if not found.get("IsTruncated"):
                return
            position = {"KeyMarker": found["NextKeyMarker"], "UploadIdMarker": found["NextUploadIdMarker"]}
