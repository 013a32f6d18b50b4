"""Checks OUT: that it can be written, exclusively, and what a run would find there."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.findings import FAIL, Finding, fail, fault, ok, warn
from i2s_batch.diagnosis.machine import size
from i2s_batch.diagnosis.probing import missing_features, nearest, remove_new_folders
from i2s_batch.errors import StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.run.terminal import duration
from i2s_batch.storage import Store, is_url, open_store

LEAST_BYTES = 1 << 30
_TRIES = "3"  # of each request: a store that does not respond is to be reported soon
CLOCK_OK_S, CLOCK_LIMIT_S = 60.0, 900.0  # S3 refuses requests of a clock that is 15 minutes off


def check(asked: Asked, known: Known) -> Iterator[Finding]:
    """Yield whether a run could write to OUT."""
    store = open_store(asked.out)
    store.check_can_write()
    has_failed = False
    for finding in _remote(store, asked.out) if is_url(asked.out) else _local(store, Path(store.url)):
        has_failed |= finding.state == FAIL
        yield finding
    if asked.gpus is None and not has_failed:  # not asked of each node
        yield _held(store)


def _local(store: Store, folder: Path) -> Iterator[Finding]:
    existing = nearest(folder)
    try:
        store.check_writable()
    except StorageError as error:
        yield fault("writing", error)
        return
    finally:
        remove_new_folders(folder / "work", existing)
    yield ok("writing", f"files can be created in {folder}")
    free = shutil.disk_usage(existing).free
    room = f"{size(free)} free"
    yield warn("room", room, "make some: a run stops when it is full") if free < LEAST_BYTES else ok("room", room)
    lacking = missing_features(existing)
    if lacking:
        what = f"this file system has no {' and no '.join(lacking)}"
        yield warn("locks and links", what, "lock files serve instead; keep one driver an output")
    else:
        yield ok("locks and links", "this file system has both")


def _remote(store: Store, out: str) -> Iterator[Finding]:
    from i2s_batch.storage.s3_clock import ahead_s

    with _fewer_tries():
        offset = ahead_s(out)
        if offset is not None:
            yield _clock(offset)
        try:
            store.check_writable()
            yield ok("writing", f"objects can be created, once only, and deleted in {store.url}")
            yield _read_and_swapped(store)
        except StorageError as error:
            yield fault("writing", error)


def _read_and_swapped(store: Store) -> Finding:
    """Return whether objects can be read back, listed, and replaced only from what they hold."""
    key = f"{RunLayout.work_prefix}probe-{uuid.uuid4().hex}"
    first, second, third = (uuid.uuid4().hex.encode() for _ in range(3))
    try:
        store.put_new(key, first)
        read = store.get(key) == first
        listed = [info.key for info in store.list(key)] == [key]
        swapped = store.swap(key, first, second) and not store.swap(key, first, third) and store.get(key) == second
    finally:
        store.delete([key])
    if not read or not listed:
        return fail("reading", "an object that was written is not found", "use a store with consistent reads and lists")
    if not swapped:
        return fail("reading", "conditional replacement (If-Match) is ignored", "use a store that honours If-Match")
    return ok("reading", "objects can be read, listed and replaced conditionally")


def _clock(offset: float) -> Finding:
    way = "ahead of" if offset > 0 else "behind"
    found = f"this machine's clock is {duration(abs(offset))} {way} the store's"
    advice = "set it, as with `chronyc makestep`"
    if abs(offset) >= CLOCK_LIMIT_S:
        return fail("clock", f"{found}; S3 refuses requests from {duration(CLOCK_LIMIT_S)} on", advice)
    return warn("clock", found, advice) if abs(offset) > CLOCK_OK_S else ok("clock", found)


def _held(store: Store) -> Finding:
    """Return what OUT holds already."""
    if any(True for info in store.list(RunLayout.run_json) if info.key == RunLayout.run_json):
        return ok("content", "a run, which the same command resumes")
    if any(True for _ in store.list()):
        return ok("content", "files that no run wrote; they stay")
    return ok("content", "nothing yet")


@contextmanager
def _fewer_tries() -> Iterator[None]:
    """Let each request be tried a few times only, unless the user has said how often."""
    name = "AWS_MAX_ATTEMPTS"
    if name in os.environ:
        yield
        return
    os.environ[name] = _TRIES
    try:
        yield
    finally:
        os.environ.pop(name, None)
