"""One boto3 client a process, and botocore's errors as one clear line without secrets."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as EndpointError

from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.storage.store import ObjectUnreadableError
from i2s_batch.storage.urls import hide_secrets, without_secrets

ATTEMPTS = 10  # of one request; three are not enough for a burst of 503 SlowDown
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
POOL_CONNECTIONS = 32

CREDENTIALS = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE or the instance role"
_REFUSALS = {
    "InvalidAccessKeyId": f"the access key is unknown; check {CREDENTIALS}",
    "SignatureDoesNotMatch": f"the secret key is wrong; check {CREDENTIALS}",
    "InvalidToken": f"the session token is not valid; check {CREDENTIALS}",
    "ExpiredToken": "the credentials have expired; renew them and run the same command again",
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it and run the same command again",
    "NoSuchBucket": "the bucket does not exist; check its name, or create it",
    "InvalidBucketName": "this is no bucket name; give s3://bucket/prefix",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION to it",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION to it",
    "PreconditionFailed": "it was replaced while it was read; run the same command again",
    "InvalidRange": "it is empty",
    "SlowDown": f"S3 was still too busy at try {ATTEMPTS}; run the same command again, with fewer actors",
}

_clients: dict[tuple[object, ...], Any] = {}  # by process and settings; the keys stay in this module
_creation = threading.Lock()


def s3_client() -> Any:
    """This process's client. A change of an AWS_* variable gives a new one; a forked child makes its own."""
    settings = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    key = (os.getpid(), *settings)
    if key not in _clients:
        with _creation:  # making clients is not thread-safe in boto3; using one is
            if key not in _clients:
                _clients[key] = _make_client()
    return _clients[key]


def _make_client() -> Any:
    retries: dict[str, Any] = {"mode": "standard"}
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = ATTEMPTS
    config = Config(
        retries=retries,
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=POOL_CONNECTIONS,
    )
    try:
        return boto3.session.Session().client("s3", config=config)
    except ValueError as error:  # an endpoint that is no url; the message would show all of it
        raise StorageError("AWS_ENDPOINT_URL_S3 (or AWS_ENDPOINT_URL) is no url of a server; correct it") from error


@contextmanager
def s3_errors(uri: str) -> Iterator[None]:
    """Turn botocore's errors into a StorageError that names `uri`, what is wrong, and what to do."""
    try:
        yield
    except ClientError as error:
        raise _client_error(error, uri) from error
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, ProfileNotFound) as error:
        raise StorageError(
            f"{uri!r}: no usable AWS credentials ({type(error).__name__}); check {CREDENTIALS}"
        ) from error
    except (HTTPClientError, EndpointError) as error:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        place = without_secrets(endpoint) if endpoint else "Amazon S3"
        raise StorageError(
            f"{uri!r}: no answer from {place} ({type(error).__name__}); "
            "check the network, AWS_ENDPOINT_URL_S3 and AWS_REGION"
        ) from error
    except BotoCoreError as error:
        message = hide_secrets(" ".join(str(error).split()))
        raise StorageError(f"{uri!r}: {message}; check the url and the AWS settings") from error


def _client_error(error: ClientError, uri: str) -> StorageError:
    details = error.response.get("Error", {})
    code = str(details.get("Code", ""))
    if code == "NoSuchKey":
        return ObjectNotFoundError(f"{uri!r}: it does not exist")
    if code == "AccessDenied":
        # S3 denies rather than say that an object is missing to those who may not list the bucket.
        missing = " or does not exist" if error.operation_name == "GetObject" else ""
        what = f"access denied ({error.operation_name}){missing}"
        return ObjectUnreadableError(f"{uri!r}: {what}; check the policy of the bucket and {CREDENTIALS}")
    if code in _REFUSALS:
        return StorageError(f"{uri!r}: {_REFUSALS[code]}")
    message = hide_secrets(" ".join(str(details.get("Message", "")).split()))
    return StorageError(f"{uri!r}: {error.operation_name} was refused with {code}: {message}")
