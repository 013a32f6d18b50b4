"""Writes what lies beside report.html, under report/: pages, and the images that they show.

Only files that `RunLayout` spells are written and deleted. An image is named after what it shows, so that one that
exists is not written again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from i2s_batch.errors import RunConflictError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.ownership import check_additions, is_our_page
from i2s_batch.storage import Store, is_remote

_WAITING_BYTES = 8 << 20  # of files that are held in memory until they are written together
_WRITERS = 8  # files that are written to a remote store at once


class ReportFiles:
    """Writes the files of a report, some at a time, and deletes those of an earlier one that are no longer needed."""

    def __init__(self, store: Store) -> None:
        """Write to the output in `store`.

        Raises:
            RunConflictError: It has no run.json of ours and files of a report, which may be anybody's.
        """
        self.store = store
        named = {info.key for info in store.list(RunLayout.report_prefix) if RunLayout.is_report(info.key)}
        # An image is named after its content; a page's name may be that of somebody else's file.
        self._foreign = {key for key in named if key.endswith(".html") and not is_our_page(store, key)}
        self._existing = named - self._foreign
        check_additions(store, [RunLayout.report, *sorted(self._existing)[:1]])
        self._needed: set[str] = set()
        self._waiting: dict[str, bytes] = {}
        self._waiting_bytes = 0

    def exists(self, key: str) -> bool:
        """Return whether a file exists, or waits to be written; it is then part of this report."""
        found = key in self._existing or key in self._needed
        if found:
            self._needed.add(key)
        return found

    def add(self, key: str, data: bytes) -> None:
        """Write a file, at the latest when the report is finished.

        Raises:
            RunConflictError: A file of somebody else has its name.
        """
        if key in self._foreign:
            raise RunConflictError(f"{self.store.uri(key)!r} exists and was written by no report; move it")
        self._needed.add(key)
        self._waiting[key] = data
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= _WAITING_BYTES:
            self._write()

    def finish(self, page: bytes) -> None:
        """Write what waits, then report.html, and delete what only an earlier report needed."""
        self._write()
        self.store.put(RunLayout.report, page)
        self.store.delete(sorted(self._existing - self._needed))

    def _write(self) -> None:
        if is_remote(self.store.url):
            with ThreadPoolExecutor(_WRITERS) as pool:
                for _ in pool.map(self.store.put, self._waiting.keys(), self._waiting.values()):
                    pass
        else:
            self.store.put_all(self._waiting)
        self._waiting, self._waiting_bytes = {}, 0
