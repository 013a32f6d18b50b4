"""Listing in parallel: the same keys in the same order as one after the other, whatever they look like."""

from __future__ import annotations

import bisect
import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from i2s_batch.errors import StorageError
from i2s_batch.storage import open_store, s3_listing
from i2s_batch.storage import s3_client as s3_module
from i2s_batch.storage.s3_listing import Page, list_keys

STREAM = np.random.default_rng(7)
LAYOUTS = {
    "nothing": [],
    "one": ["a"],
    "numbers": [f"{number:06d}.png" for number in range(3000)],
    "a long stem": [f"data/train/images/img_{number}.png" for number in range(500)],
    "hashes": [hashlib.sha256(str(number).encode()).hexdigest() for number in range(2000)],
    "folders": [f"{'abc'[n % 3]}/{n % 7}/{n}.jpg" for n in range(900)],
    "a key that is a folder too": ["a", "a/", "a/b", *(f"a/b/{n}" for n in range(90)), "a0", "b"],
    "each the beginning of the next": ["x" * length for length in range(1, 300)],
    "letters of one to four bytes": ["".join(STREAM.choice(list("aé猫😀\U0010ffff\x7f "), 5)) for _ in range(800)],
    "after every other letter": ["a\U0010ffff" + "\U0010ffff" * n for n in range(40)] + ["a", "b"],
    "as long as can be": ["é" * 505 + f"{number:04d}" for number in range(200)],
}


class Keys:
    """Sorted keys, a page at a time, as S3 gives them; counts what is asked."""

    def __init__(self, keys: list[str], page: int) -> None:
        self.keys, self.page = sorted(set(keys), key=str.encode), page
        self.asked = 0
        self._lock = threading.Lock()

    def fetch(self, stem: str, after: str) -> Page:
        assert len(after.encode()) <= 1024
        with self._lock:
            self.asked += 1
        start = bisect.bisect_right(self.keys, after) if after else 0
        found = [key for key in self.keys[start:] if key.startswith(stem)]
        return Page([(key, len(key)) for key in found[: self.page]], len(found) > self.page)


@pytest.mark.parametrize("page", [1, 3, 100])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_key_comes_once_and_in_order(layout: str, page: int) -> None:
    keys = Keys(LAYOUTS[layout][:150] if page == 1 else LAYOUTS[layout], page)
    assert list(list_keys(keys.fetch, "")) == [(key, len(key)) for key in keys.keys]
    if layout != "after every other letter":
        assert keys.asked <= 2 * -(-len(keys.keys) // page) + 1
    under = [key for key in keys.keys if key.startswith("a")]
    assert [key for key, _ in list_keys(keys.fetch, "a")] == under


def test_ranges_are_listed_side_by_side() -> None:
    keys, under_way, together = Keys(LAYOUTS["hashes"], 10), [0], []

    def fetch(stem: str, after: str) -> Page:
        under_way[0] += 1
        together.append(under_way[0])
        time.sleep(0.01)
        under_way[0] -= 1
        return keys.fetch(stem, after)

    assert [key for key, _ in list_keys(fetch, "")] == keys.keys
    assert s3_listing.READERS / 2 < max(together) <= s3_listing.READERS


def test_who_stops_early_asks_for_no_more() -> None:
    keys = Keys(LAYOUTS["numbers"], 10)
    assert next(list_keys(keys.fetch, ""))[0] == "000000.png" and keys.asked == 1
    listing: Iterator[tuple[str, int]] = list_keys(keys.fetch, "")
    for _ in range(25):
        next(listing)
    listing.close()
    assert keys.asked < 150


def test_an_error_comes_out() -> None:
    keys = Keys(LAYOUTS["numbers"], 10)

    def fetch(stem: str, after: str) -> Page:
        if after > "002":
            raise StorageError("the network is gone")
        return keys.fetch(stem, after)

    with pytest.raises(StorageError, match="the network is gone"):
        list(list_keys(fetch, ""))


@pytest.mark.parametrize("layout", ["letters of one to four bytes", "a key that is a folder too", "folders"])
def test_a_real_server_lists_the_same(s3: Any, s3_bucket: str, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = sorted(set(LAYOUTS[layout]), key=str.encode)[:300]
    client = s3.client()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=s3_bucket, Key=f"top/{key}", Body=b"x"), keys))
    small = _Pages(s3_module.s3_client())
    monkeypatch.setattr(s3_module, "s3_client", lambda: small)
    assert [info.key for info in open_store(f"s3://{s3_bucket}/top").list()] == keys
    assert small.asked > len(keys) / 20


class _Pages:
    """A client whose pages are short."""

    def __init__(self, client: Any) -> None:
        self._client, self.asked = client, 0

    def list_objects_v2(self, **request: Any) -> Any:
        self.asked += 1
        return self._client.list_objects_v2(MaxKeys=20, **request)


def test_a_store_that_ignores_where_to_start_is_refused(
    s3_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful:
        def list_objects_v2(self, **request: Any) -> Any:
            return {"Contents": [{"Key": "a/1", "Size": 1}, {"Key": "a/2", "Size": 1}], "IsTruncated": True}

    monkeypatch.setattr(s3_module, "s3_client", Forgetful)
    with pytest.raises(StorageError, match="ignores StartAfter"):
        list(open_store("s3://bucket/a").list())


def test_a_page_with_nothing_is_not_the_end(s3_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Hesitant:
        def list_objects_v2(self, **request: Any) -> Any:
            if "ContinuationToken" not in request:
                return {"IsTruncated": True, "NextContinuationToken": "more"}
            return {"Contents": [{"Key": "a/1", "Size": 1}], "IsTruncated": False}

    monkeypatch.setattr(s3_module, "s3_client", Hesitant)
    assert [info.key for info in open_store("s3://bucket/a").list()] == ["1"]
