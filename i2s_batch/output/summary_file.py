"""Keeps summary.json up to date in a thread of its own, so that a slow or failing store delays nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from i2s_batch.errors import StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.run_summary import RunSummary
from i2s_batch.storage import Store

# A PUT to S3 costs about 5e-6 dollars: at this interval 4 cents a day.
SUMMARY_EVERY_S = 10.0


class SummaryFile:
    """Writes the summary of the run at `store`; `report` gets a message when that begins to fail."""

    def __init__(self, store: Store, report: Callable[[str], None]) -> None:
        self._store, self._report = store, report
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="summary")
        self._writing: Future[None] | None = None
        self._next = time.monotonic()
        self._failing = False

    def refresh(self, make: Callable[[], RunSummary]) -> None:
        """Start writing what `make` returns if it is time. Never waits for the store and never fails."""
        if time.monotonic() < self._next or (self._writing is not None and not self._writing.done()):
            return
        self._check_last_write()
        self._next = time.monotonic() + SUMMARY_EVERY_S
        self._writing = self._thread.submit(self._put, make())

    def stopped(self, summary: RunSummary) -> None:
        """Write the summary of a run that stops here, if it can be written."""
        self._next = 0.0
        self._wait()
        self.refresh(lambda: summary)
        self._wait()

    def finished(self, summary: RunSummary) -> None:
        """Write the last summary; raise StorageError if that fails."""
        self._wait()
        self._put(summary)

    def close(self) -> None:
        """End the thread; a summary that is being written is completed."""
        self._thread.shutdown()

    def _put(self, summary: RunSummary) -> None:
        self._store.put(RunLayout.summary, summary.encode())

    def _wait(self) -> None:
        """Wait for the write under way: it must not end after a later one."""
        if self._writing is not None:
            self._writing.exception()
        self._check_last_write()

    def _check_last_write(self) -> None:
        """Check how the last write ended; report only the first failure in a row."""
        if self._writing is None:
            return
        error, self._writing = self._writing.exception(), None
        if error is not None and not isinstance(error, StorageError):
            raise error
        if error is not None and not self._failing:
            self._report(f"summary.json could not be written ({error}); the run continues and tries again")
        self._failing = error is not None
