"""Compares this machine's clock with that of an S3 store: requests of a clock that is far off are refused."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

from i2s_batch.storage.s3 import split_s3_url
from i2s_batch.storage.s3_client import s3_call


def ahead_s(url: str) -> float | None:
    """Return the seconds that this machine's clock is ahead of the store's; None where it does not say its time.

    It is good to a second or two: the store's time is in whole seconds.

    Raises:
        StorageError: The store does not respond.
    """
    bucket, _ = split_s3_url(url)

    def ask(client: Any) -> dict[str, str]:
        try:
            response = client.list_objects_v2(Bucket=bucket, MaxKeys=1)
        except ClientError as error:  # a refusal has a date, too: that of a wrong clock above all
            response = error.response
        headers: dict[str, str] = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return headers

    began = time.time()
    date = s3_call(url, ask).get("date")
    if not date:
        return None
    return (began + time.time()) / 2 - parsedate_to_datetime(date).timestamp()
