"""Measures how long it takes to list many keys of S3, which sends them in pages of a thousand.

    python -m i2s_batch.bench.listing [KEYS] [SECONDS]

Lists KEYS simulated keys at SECONDS a page, with pages requested in parallel as the program does, for keys that are
numbers, hashes, or in folders. One after another the pages would take KEYS / 1000 * SECONDS. The last line is JSON.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import time
from collections.abc import Sequence

from i2s_batch.bench.command_line import parser_of
from i2s_batch.storage.s3_listing import Page, list_keys

PAGE_KEYS = 1000


class SimulatedBucket:
    """Holds keys in the order of their bytes; a page takes `seconds`."""

    def __init__(self, keys: Sequence[str], seconds: float) -> None:
        self._keys, self._seconds = sorted(keys), seconds  # ASCII: the order of the characters is that of the bytes
        self.requests = 0

    def fetch(self, stem: str, after: str) -> Page:
        """Return the first page of the keys that begin with `stem` and come after `after`."""
        self.requests += 1
        time.sleep(self._seconds)
        start = max(bisect.bisect_left(self._keys, stem), bisect.bisect_right(self._keys, after))
        stop = bisect.bisect_left(self._keys, stem + "\U0010ffff") if stem else len(self._keys)
        return Page([(key, 0) for key in self._keys[start : min(stop, start + PAGE_KEYS)]], stop - start > PAGE_KEYS)


def measure(keys: int, seconds: float) -> dict[str, float]:
    """Return the seconds and requests of each layout of `keys` keys, at `seconds` a page."""
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
    return figures


def main() -> None:
    """Run the command line and print the figures."""
    parser = parser_of("listing", __doc__)
    parser.add_argument("keys", metavar="KEYS", nargs="?", type=int, default=1_000_000, help="Number of keys.")
    parser.add_argument("seconds", metavar="SECONDS", nargs="?", type=float, default=0.1, help="Seconds per page.")
    given = parser.parse_args()
    print(json.dumps(measure(given.keys, given.seconds)))


if __name__ == "__main__":
    main()
