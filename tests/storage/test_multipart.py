"""Objects that are written to S3 in parts: whole or not at all, whatever breaks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from i2s_batch.errors import StorageError
from i2s_batch.storage import open_store, s3_client, s3_multipart
from i2s_batch.storage.s3_multipart import in_parts
from tests.conftest import S3Server
from tests.faults.proxy import FaultProxy, running

MIB = 1 << 20


def content() -> bytes:
    return os.urandom(1 * MIB) * 12 + b"end"


def chunks_of(data: bytes) -> Iterator[bytes]:
    return (data[start : start + 700_000] for start in range(0, len(data), 700_000))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_multipart, "PART_BYTES", 5 * MIB)  # S3 takes no smaller ones
    monkeypatch.setattr(s3_client, "PAUSE_S", 0.01)


def uploads(s3: S3Server, bucket: str) -> list[str]:
    found = s3.client().list_multipart_uploads(Bucket=bucket)
    return [each["Key"] for each in found.get("Uploads", [])]


def test_parts_hold_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_multipart, "PART_BYTES", 4)
    monkeypatch.setattr(s3_multipart, "PARTS_OF_ONE_SIZE", 2)
    data = bytes(range(100))
    parts = list(in_parts(data[start : start + 7] for start in range(0, 100, 7)))
    assert b"".join(parts) == data
    assert [len(part) for part in parts] == [4, 4, 8, 8, 12, 12, 16, 16, 20]  # of 10,000 the last are 160 MiB
    assert list(in_parts([])) == [b""]


def test_an_object_of_several_parts(small_parts: None, s3: S3Server, s3_bucket: str) -> None:
    store, data = open_store(f"s3://{s3_bucket}/out"), content()
    store.put("a", b"old")
    store.put_chunks("a", chunks_of(data))
    assert store.get("a") == data and uploads(s3, s3_bucket) == []
    assert s3.client().head_object(Bucket=s3_bucket, Key="out/a")["ETag"].endswith('-3"')


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("is_lasting", [False, True])
def test_a_part_that_is_refused(
    small_parts: None, s3: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, number: int, is_lasting: bool
) -> None:
    """One refusal is forgotten; a store that refuses again and again ends the upload, of which nothing is left."""
    store, data = open_store(f"s3://{s3_bucket}/out"), content()
    store.put("a", b"old")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    refusals = [0]
    client = s3_client.s3_client()
    real = client.upload_part

    def upload_part(**request: object) -> object:
        if request["PartNumber"] == number and (is_lasting or not refusals[0]):
            refusals[0] += 1
            raise client.exceptions.ClientError(
                {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "UploadPart"
            )
        return real(**request)

    monkeypatch.setattr(client, "upload_part", upload_part)
    if is_lasting:
        with pytest.raises(StorageError, match=r"out/a'?.*busy"):
            store.put_chunks("a", chunks_of(data))
        assert store.get("a") == b"old" and refusals == [3]
    else:
        store.put_chunks("a", chunks_of(data))
        assert store.get("a") == data and refusals == [1]
    assert uploads(s3, s3_bucket) == []


def test_responses_that_are_lost(
    small_parts: None, s3: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a proxy that breaks connections: each request of the upload comes once more, to no harm."""
    data = content()
    proxy = FaultProxy(s3.endpoint)
    with running(proxy) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        store = open_store(f"s3://{s3_bucket}/out")
        # create, part 1, part 2, part 3, complete: the response to each is cut off, the repetition succeeds
        proxy.script.extend(["reset after", "", "reset after", "", "reset after", "", "reset after", "", "reset after"])
        store.put_chunks("a", chunks_of(data))
        assert sum(proxy.injected.values()) == 5
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    assert store.get("a") == data
    assert uploads(s3, s3_bucket) == ["out/a"]  # the one whose response was lost
    store.discard_unfinished("a")
    assert uploads(s3, s3_bucket) == [] and store.get("a") == data


def test_what_a_killed_upload_leaves_is_discarded(small_parts: None, s3: S3Server, s3_bucket: str) -> None:
    client = s3.client()
    for key in ("out/pictures/shard-00000.tar", "out/pictures/shard-00001.tar", "other/pictures/shard-00000.tar"):
        upload = client.create_multipart_upload(Bucket=s3_bucket, Key=key)["UploadId"]
        client.upload_part(Bucket=s3_bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x")
    open_store(f"s3://{s3_bucket}/out").discard_unfinished("pictures/")
    assert uploads(s3, s3_bucket) == ["other/pictures/shard-00000.tar"]  # of another run
    open_store(f"s3://{s3_bucket}-missing/out").discard_unfinished("pictures/")  # is no error: nothing is there


def test_an_object_of_several_parts_is_created_only_where_there_is_none(
    small_parts: None, s3: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = open_store(f"s3://{s3_bucket}/out"), content()
    store.put("a", b"another run's")
    assert not store.put_new_chunks("a", chunks_of(data))
    assert store.get("a") == b"another run's" and uploads(s3, s3_bucket) == []
    proxy = FaultProxy(s3.endpoint)
    with running(proxy) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        there = open_store(f"s3://{s3_bucket}/out")
        proxy.script.extend([""] * 4 + ["reset after"])  # the answer to the completion is lost
        assert there.put_new_chunks("b", chunks_of(data)), "what it finds then is its own"
        assert sum(proxy.injected.values()) == 1
    assert store.get("b") == data
