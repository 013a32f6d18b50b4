"""How long it takes to list many keys of S3, whose pages of a thousand each take their time.

    python -m i2s_batch.bench.listing [KEYS] [SECONDS]

lists KEYS simulated keys (a million), SECONDS (0.1) a page, side by side as the program does, for keys that are
numbers, hashes, or in folders. One after the other the pages would take KEYS / 1000 * SECONDS. The last line is JSON.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import sys
import time
from collections.abc import Sequence

from i2s_batch.storage.s3_listing import Page, list_keys

PAGE_KEYS = 1000


class SimulatedBucket:
    """Keys in the order of their bytes; a page comes after `seconds`."""

    def __init__(self, keys: Sequence[str], seconds: float) -> None:
        self._keys, self._seconds = sorted(keys), seconds  # ASCII: the order of the letters is that of the bytes
        self.requests = 0

    def fetch(self, stem: str, after: str) -> Page:
        """The first page of the keys that begin with `stem` and come after `after`."""
        self.requests += 1
        time.sleep(self._seconds)
        start = max(bisect.bisect_left(self._keys, stem), bisect.bisect_right(self._keys, after))
        stop = bisect.bisect_left(self._keys, stem + "\U0010ffff") if stem else len(self._keys)
        return Page([(key, 0) for key in self._keys[start : min(stop, start + PAGE_KEYS)]], stop - start > PAGE_KEYS)


def main(keys: int, seconds: float) -> None:
    """Print the figures."""
    layouts = {
        "numbers": [f"{number:08d}.png" for number in range(keys)],
        "hashes": [hashlib.sha256(str(number).encode()).hexdigest() for number in range(keys)],
        "folders": [f"{number // 1000:05d}/{number:08d}.png" for number in range(keys)],
    }
    figures: dict[str, float] = {"keys": keys, "one_after_the_other_s": -(-keys // PAGE_KEYS) * seconds}
    for name, layout in layouts.items():
        bucket, began = SimulatedBucket(layout, seconds), time.perf_counter()
        assert sum(1 for _ in list_keys(bucket.fetch, "")) == keys
        figures |= {f"{name}_s": round(time.perf_counter() - began, 2), f"{name}_requests": bucket.requests}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, float(sys.argv[2]) if len(sys.argv) > 2 else 0.1)
