"""Makes one boto3 client a process, retries its requests, and turns botocore's errors into one line without secrets.

boto3's own retries are off. They share an allowance among all threads of a client, which a bad minute of the network
uses up (then nothing is retried any more), and they take a listing whose response never came for an empty one.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import boto3
from botocore import UNSIGNED
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as EndpointError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError, IncompleteRead, ProtocolError

from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.storage.store import ObjectUnreadableError
from i2s_batch.storage.store_settings import NO_CREDENTIALS
from i2s_batch.storage.urls import hide_secrets, without_secrets

ATTEMPTS = 10  # at one request and its response; three are not enough for a burst of 503 SlowDown
PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0  # between attempts: the first limit, doubled each time, and the largest
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 20  # for the next byte
SLOWEST_BYTES_S = 16 * 1024  # a slower response, after a grace of READ_TIMEOUT_S, is requested again
POOL_CONNECTIONS = 32

CREDENTIALS = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE or the instance role"
_REFUSALS = {
    "InvalidAccessKeyId": f"the access key is unknown; check {CREDENTIALS}",
    "SignatureDoesNotMatch": f"the secret key is wrong; check {CREDENTIALS}",
    "InvalidToken": f"the session token is not valid; check {CREDENTIALS}",
    "ExpiredToken": "the credentials have expired; renew them and run the same command again",
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it and run the same command again",
    "NoSuchBucket": "the bucket does not exist; check its name, or create it",
    "InvalidBucketName": "this is not a bucket name; give s3://bucket/prefix",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION to it",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION to it",
    "PreconditionFailed": "it was replaced while it was read; run the same command again",
    "InvalidRange": "it is empty",
    "SlowDown": f"S3 was still too busy at try {ATTEMPTS}; run the same command again, with fewer actors",
}

# Variables of the environment, as GDAL and Apache Arrow's object_store have them, and the parameters of requests.
_PARAMETERS = {
    "AWS_REQUEST_PAYER": "RequestPayer",
    "AWS_SERVER_SIDE_ENCRYPTION": "ServerSideEncryption",
    "AWS_SSE_KMS_KEY_ID": "SSEKMSKeyId",
}
_YES = ("1", "true", "yes", "on")

_READ_BYTES = 2**20
_TRANSIENT_STATUSES = (500, 502, 503, 504)
_TRANSIENT_CODES = (
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "IncompleteBody",
    "BadDigest",
    "ConditionalRequestConflict",  # while another conditional write to the same key is under way
)
# The response did not arrive, or not whole, or not as it was sent.
_BROKEN = (HTTPClientError, HTTPError, EndpointError, IncompleteReadError, FlexibleChecksumError, ResponseParserError)

_Response = TypeVar("_Response")

_clients: dict[tuple[object, ...], BaseClient] = {}  # by process and AWS_* settings, secrets included: never shown
_creation = threading.Lock()


def s3_client() -> Any:
    """Return this process's client. A change of an AWS_* variable gives a new one; a forked child makes its own."""
    settings = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    key = (os.getpid(), *settings)
    if key not in _clients:
        with _creation:  # making clients is not thread-safe in boto3; using one is
            if key not in _clients:
                _clients[key] = _make_client()
    return _clients[key]


def _make_client() -> Any:
    unsigned = os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in _YES
    config = Config(
        signature_version=UNSIGNED if unsigned else None,
        retries={"total_max_attempts": 1},
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=POOL_CONNECTIONS,
    )
    try:
        client = boto3.session.Session().client("s3", config=config)
    except ValueError as error:  # an endpoint that is not a url; the message would show all of it, secrets included
        raise StorageError(
            "AWS_ENDPOINT_URL_S3 (or AWS_ENDPOINT_URL) is not the url of a server; correct it"
        ) from error
    client.meta.events.register("before-parameter-build.s3", _add_wanted)
    client._endpoint.http_session = _CompleteResponses(client._endpoint.http_session)
    return client


def _add_wanted(params: dict[str, str], model: Any, **_: Any) -> None:
    """Add to the parameters of a request what the environment asks for, where the request has such a parameter."""
    for variable, parameter in _PARAMETERS.items():
        value = os.environ.get(variable)
        if value and parameter in model.input_shape.members:
            params.setdefault(parameter, value)


class _CompleteResponses:
    """Wraps botocore's HTTP session: its responses arrive whole and not too slowly, or fail."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def send(self, request: Any) -> Any:
        """Return the response to a request; its body is read later."""
        request.stream_output = True
        response = self._session.send(request)
        response.raw = _Body(response.raw)
        return response

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


class _Body:
    """Reads the body of a response. `raw` limits the wait for the next byte only; this limits the whole."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def read(self, size: int | None = None) -> bytes:
        """Return the whole body: botocore asks for no part. Raises errors of urllib3."""
        began, received = time.monotonic(), bytearray()
        while part := self._raw.read1(_READ_BYTES):
            received += part
            if time.monotonic() - began > READ_TIMEOUT_S + len(received) / SLOWEST_BYTES_S:
                self.close()
                raise ProtocolError(f"only {len(received)} bytes came in {time.monotonic() - began:.0f} s")
        if self._raw.length_remaining:
            raise IncompleteRead(len(received), self._raw.length_remaining)
        return bytes(received)

    def stream(self) -> Iterator[bytes]:
        """Yield the whole body in one piece."""
        yield self.read()

    def close(self) -> None:
        """Stop reading."""
        self._raw.close()


def attempts() -> int:
    """Return how often a request is tried: AWS_MAX_ATTEMPTS, as in other programs, or `ATTEMPTS`."""
    asked = os.environ.get("AWS_MAX_ATTEMPTS", "")
    return max(1, int(asked)) if asked.isdecimal() else ATTEMPTS


def s3_call(uri: str, ask: Callable[[Any], _Response]) -> _Response:
    """Return the result of `ask(client)`, a request with all of its response.

    It is tried again when the store is busy, the network fails or the response is not whole; repeating it must be
    harmless.

    Raises:
        StorageError: The request failed for good; the message names `uri`.
    """
    last = attempts() - 1
    with s3_errors(uri):
        for attempt in range(last):
            try:
                return ask(s3_client())
            except ClientError as error:
                if not is_transient(error):
                    raise
            except _BROKEN:
                pass
            # A random pause, so that many clients do not retry at the same moment.
            time.sleep(random.uniform(0, min(PAUSE_S * 2**attempt, LONGEST_PAUSE_S)))
        return ask(s3_client())


def is_transient(error: ClientError) -> bool:
    """Return whether the store may accept later what it refuses now."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status in _TRANSIENT_STATUSES or error.response.get("Error", {}).get("Code") in _TRANSIENT_CODES


@contextmanager
def s3_errors(uri: str) -> Iterator[None]:
    """Turn botocore's errors into a StorageError that names `uri`, what is wrong, and what to do."""
    try:
        yield
    except ClientError as error:
        raise _client_error(error, uri) from error
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, ProfileNotFound) as error:
        raise StorageError(
            f"{uri!r}: {NO_CREDENTIALS} ({type(error).__name__}); check {CREDENTIALS}, or set "
            "AWS_NO_SIGN_REQUEST=YES for a public bucket"
        ) from error
    except (ResponseParserError, IncompleteReadError, FlexibleChecksumError, HTTPError) as error:
        raise StorageError(
            f"{uri!r}: the response broke off {attempts()} times ({type(error).__name__}); "
            "check the network and run the same command again"
        ) from error
    except (HTTPClientError, EndpointError) as error:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        server = without_secrets(endpoint) if endpoint else "Amazon S3"
        raise StorageError(
            f"{uri!r}: no response from {server} ({type(error).__name__}); "
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
        # To those who may not list the bucket S3 denies access rather than report that an object is missing.
        missing = " or does not exist" if error.operation_name == "GetObject" else ""
        what = f"access denied ({error.operation_name}){missing}"
        return ObjectUnreadableError(f"{uri!r}: {what}; check the policy of the bucket and {CREDENTIALS}")
    if code in _REFUSALS:
        return StorageError(f"{uri!r}: {_REFUSALS[code]}")
    message = hide_secrets(" ".join(str(details.get("Message", "")).split()))
    return StorageError(f"{uri!r}: {error.operation_name} was refused with {code}: {message}")
