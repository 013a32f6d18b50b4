"""What only S3 has: paging, batches, lost answers, broken bodies, credentials."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.source import list_images
from i2s_batch.storage import open_store, s3_client


def test_thousands_of_keys_are_listed_and_deleted(s3: Any, s3_bucket: str) -> None:
    client = s3.client()
    names = [f"many/{i:05d}.png" for i in range(2600)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: client.put_object(Bucket=s3_bucket, Key=name, Body=b"x"), names))
    client.put_object(Bucket=s3_bucket, Key="many-more/x.png", Body=b"x")
    store = open_store(f"s3://{s3_bucket}/many")
    assert [f"many/{info.key}" for info in store.list()] == names
    table = list_images(f"s3://{s3_bucket}/many").read()
    assert table["image_id"].to_pylist() == [name.removeprefix("many/") for name in names]
    assert read_bytes(table["uri"][0].as_py()) == b"x"
    store.delete(info.key for info in store.list())
    assert list(store.list()) == []
    assert [info.key for info in open_store(f"s3://{s3_bucket}").list()] == ["many-more/x.png"]


def test_missing_bucket(s3_env: dict[str, str]) -> None:
    store = open_store("s3://no-such-bucket-here/x")
    for action in (store.check_writable, lambda: list(store.list()), lambda: store.get("a")):
        with pytest.raises(StorageError, match=r"the bucket does not exist"):
            action()
    with pytest.raises(StorageError, match=r"no-such-bucket-here.*the bucket does not exist"):
        list_images("s3://no-such-bucket-here/x")
    with pytest.raises(StorageError, match=r"the bucket does not exist"):
        read_bytes("s3://no-such-bucket-here/x/a.png")


def test_bad_bucket_name(s3_env: dict[str, str]) -> None:
    with pytest.raises(StorageError, match=r"Invalid bucket name"):
        open_store("s3://not a bucket/x").check_writable()


def _use(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)


def test_right_credentials_are_taken(s3_with_auth: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, s3_with_auth.env)
    bucket = s3_with_auth.new_bucket()
    store = open_store(f"s3://{bucket}/out")
    store.check_writable()
    store.put("a", b"1")
    assert store.get("a") == b"1"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret-value", "the secret key is wrong"),
        ("AWS_ACCESS_KEY_ID", "AKIAWRONGWRONGWRONG0", "the access key is unknown"),
    ],
)
def test_wrong_credentials_are_named_but_not_shown(
    s3_with_auth: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    bucket = s3_with_auth.new_bucket()
    env = s3_with_auth.env | {name: value}
    _use(monkeypatch, env)
    store = open_store(f"s3://{bucket}/out")
    for action in (store.check_writable, lambda: list(store.list()), lambda: read_bytes(store.uri("a.png"))):
        with pytest.raises(StorageError, match=rf"{bucket}.*{reason}") as caught:
            action()
        assert "\n" not in str(caught.value)
        assert env["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


def test_no_credentials(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match=r"no usable AWS credentials"):
        open_store(f"s3://{s3_bucket}").check_writable()


def test_unreachable_endpoint(s3_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with pytest.raises(StorageError, match=r"no response from http://127.0.0.1:9 \(EndpointConnectionError\)"):
        open_store("s3://bucket/x").check_writable()


class _Faulty(http.server.BaseHTTPRequestHandler):
    """A tiny S3 with one object per path. `faults` says what goes wrong with the next requests."""

    objects: dict[str, bytes]
    faults: list[str]
    asked: list[tuple[str, dict[str, str]]]  # method and headers

    def do_GET(self) -> None:
        self.asked.append(("GET", dict(self.headers)))
        body = self.objects.get(self.path)
        if body is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        fault = self.faults.pop() if self.faults else ""
        if fault == "denied":
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"etag"')
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "broken" else body)

    def do_PUT(self) -> None:
        self.asked.append(("PUT", dict(self.headers)))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fault = self.faults.pop() if self.faults else ""
        taken = self.headers.get("If-None-Match") and self.path in self.objects
        if fault == "conflict":
            self._answer(409, b"<Error><Code>ConditionalRequestConflict</Code></Error>")
        elif taken:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        else:
            self.objects[self.path] = body
            if fault == "lost answer":
                self.close_connection = True
                return
            self._answer(503 if fault == "busy" else 200, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"etag"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def faulty(s3_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Faulty]]:
    handler = type("Handler", (_Faulty,), {"objects": {}, "faults": [], "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_public_bucket_is_read_without_keys(faulty: type[_Faulty], monkeypatch: pytest.MonkeyPatch) -> None:
    faulty.objects["/bucket/a"] = b"1"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = open_store("s3://bucket")
    with pytest.raises(StorageError, match=r"no usable AWS credentials .* or set AWS_NO_SIGN_REQUEST=YES for a public"):
        store.get("a")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    assert store.get("a") == b"1"
    ((_, headers),) = faulty.asked
    assert "Authorization" not in headers


def test_requester_pays_and_encryption_are_asked_for(faulty: type[_Faulty], monkeypatch: pytest.MonkeyPatch) -> None:
    _use(
        monkeypatch,
        {
            "AWS_REQUEST_PAYER": "requester",
            "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
            "AWS_SSE_KMS_KEY_ID": "arn:aws:kms:eu:1:key/2",
        },
    )
    store = open_store("s3://bucket/out")
    store.put("a", b"1")
    assert store.get("a") == b"1" and store.put_new("lease", b"mine")
    (_, put), (_, got), (_, created) = faulty.asked
    for headers in (put, created):
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "arn:aws:kms:eu:1:key/2"
    assert "x-amz-server-side-encryption" not in got
    assert {headers["x-amz-request-payer"] for headers in (put, got, created)} == {"requester"}


def test_an_encrypted_output_works_as_any_other(s3: Any, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "AES256")
    store = open_store(f"s3://{s3_bucket}/out")
    store.check_writable()
    assert store.put_new("a", b"1") and store.swap("a", b"1", b"2") and not store.swap("a", b"1", b"3")
    assert s3.client().head_object(Bucket=s3_bucket, Key="out/a")["ServerSideEncryption"] == "AES256"


def test_a_body_that_breaks_off_is_read_again(faulty: type[_Faulty]) -> None:
    faulty.objects["/bucket/out/a"] = b"x" * 100_000
    faulty.faults[:] = ["broken", "broken"]
    assert open_store("s3://bucket/out").get("a") == b"x" * 100_000
    assert faulty.faults == []


def test_a_body_that_always_breaks_off_is_an_error(faulty: type[_Faulty], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "PAUSE_S", 0.0)
    faulty.objects["/bucket/out/a"] = b"x" * 100_000
    faulty.faults[:] = ["broken"] * 10
    with pytest.raises(StorageError, match=r"out/a': the response broke off 10 times"):
        open_store("s3://bucket/out").get("a")


@pytest.mark.parametrize("fault", ["lost answer", "busy", "conflict"])
def test_a_create_whose_answer_is_lost_is_still_won(faulty: type[_Faulty], fault: str) -> None:
    store = open_store("s3://bucket/out")
    faulty.faults[:] = [fault]
    assert store.put_new("lease", b"mine") is True
    assert store.put_new("lease", b"other") is False
    assert store.get("lease") == b"mine"


def test_a_store_that_ignores_conditions_is_refused(faulty: type[_Faulty], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faulty, "do_POST", lambda self: self._answer(200, b"<DeleteResult/>"), raising=False)

    class Forgetful(dict[str, bytes]):
        def __contains__(self, key: object) -> bool:
            return False

    monkeypatch.setattr(faulty, "objects", Forgetful())
    with pytest.raises(StorageError, match=r"ignores conditional writes"):
        open_store("s3://bucket/out").check_writable()


def test_a_denied_object_may_not_exist(faulty: type[_Faulty]) -> None:
    faulty.objects["/bucket/out/a"] = b"1"
    faulty.faults[:] = ["denied"]
    with pytest.raises(
        StorageError, match=r"access denied \(GetObject\) or does not exist; check the policy of the bucket"
    ) as caught:
        open_store("s3://bucket/out").get("a")
    assert not isinstance(caught.value, ObjectNotFoundError)
