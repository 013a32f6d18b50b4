"""Proves that a source which has moved holds the images that a run has read, by the sha256 in rows and checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from i2s_batch.errors import DamagedError, PictureError, RunConflictError
from i2s_batch.inversion.slot_state import SlotState
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.moved_source import moved_uri
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_record import RunRecord
from i2s_batch.output.work_log import WorkLog
from i2s_batch.sources.identity import move_of
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.storage import Store
from i2s_batch.table.shards import read_shard

Item = TypeVar("Item")

CHECKED = 16  # images of the table; as many of the log, of checkpoints, or of the plan where there is no row
_SHARDS = 4
_READERS = 8


@dataclass(frozen=True)
class _Read:
    """Holds an image that the run has read: where it was, and its sha256; '' where that is not known."""

    image_id: str
    uri: str
    sha256: str


def moved_record(record: RunRecord, source: str) -> RunRecord:
    """Return the record of a run whose source is at `source` now."""
    before = record.source_now or str(record.source)
    latest = move_of(before, source)
    earlier = [(old, latest[1]) for old, _ in record.moved]
    pairs = dict.fromkeys([latest, *earlier])
    moves = sorted((pair for pair in pairs if pair[0] != pair[1]), key=lambda pair: len(pair[0]), reverse=True)
    return replace(record, source_now=None if source == record.source else source, moved=tuple(moves))


def prove_moved(store: Store, plan: Plan, record: RunRecord, report: Callable[[str], None]) -> None:
    """Check that images which the run has read are, byte for byte, where `record` says that its source is now.

    Raises:
        RunConflictError: One of them is not; the message names it.
    """
    source = record.source_now or str(record.source)
    sample = list(_sample(store, plan, record))
    if not sample:
        raise RunConflictError(f"{source!r} cannot be compared: the run has no image of its source; use another OUT")
    with ThreadPoolExecutor(_READERS) as pool:
        for image, found in zip(sample, pool.map(lambda image: _sha256(record, image), sample), strict=True):
            if found != (image.sha256 or found):
                raise _refusal(source, f"{image.image_id!r} is another file there (sha256 {found[:12]}..., "
                               f"it was {image.sha256[:12]}...)")  # fmt: skip
    what = "are the same" if sample[0].sha256 else "exist; none was read before"
    report(f"the source is at {source} now: {len(sample)} of {len(plan)} images were looked at there, and {what}")


def _sha256(record: RunRecord, image: _Read) -> str:
    try:
        return hashlib.sha256(read_bytes(record.present_uri(image.uri))).hexdigest()
    except PictureError as error:
        raise _refusal(
            record.source_now or str(record.source), f"{image.image_id!r} cannot be read there ({error})"
        ) from error


def _refusal(source: str, reason: str) -> RunConflictError:
    return RunConflictError(
        f"{source!r} does not hold the images of this run: {reason}; give the path where they are, or use another OUT"
    )


def _sample(store: Store, plan: Plan, record: RunRecord) -> Iterator[_Read]:
    """Yield some images of the source that were read; of a run that has read none, images that are planned."""
    log = WorkLog(store.url, record.generator.latent_size)
    found = [*islice(_of_table(store, record), CHECKED), *islice(_of_log(log, record), CHECKED)]
    found += [] if found else islice(_of_checkpoints(plan, log, record), CHECKED)
    yield from found or islice(_of_plan(plan, record), CHECKED)


def _has_moved(record: RunRecord, uri: str) -> bool:
    """Return whether an image lies in the source: a study reads others from its own output."""
    return moved_uri(uri, record.moved) != uri


def _of_table(store: Store, record: RunRecord) -> Iterator[_Read]:
    shards = [info.key for info in store.list(RunLayout.shards_prefix) if RunLayout.shard_index(info.key) is not None]
    for key in _spread(shards, _SHARDS):
        rows = read_shard(store, key, ["image_id", "uri", "sha256"]).to_pylist()
        known = [row for row in rows if row["sha256"] and _has_moved(record, row["uri"])]
        yield from (_Read(**row) for row in _spread(known, CHECKED // _SHARDS))


def _of_log(log: WorkLog, record: RunRecord) -> Iterator[_Read]:
    for unit in _spread(list(log.logged_rows()), CHECKED):
        rows = log.find_rows(unit)
        for row in [] if rows is None else rows.select(["image_id", "uri", "sha256"]).to_pylist():
            if row["sha256"] and _has_moved(record, row["uri"]):
                yield _Read(**row)


def _of_checkpoints(plan: Plan, log: WorkLog, record: RunRecord) -> Iterator[_Read]:
    for unit in _spread([unit for unit in log.logged_checkpoints() if unit < plan.units], CHECKED):
        try:
            stored = log.read_checkpoint(unit)
            state = None if stored is None else SlotState.from_bytes(stored)
        except DamagedError:
            continue
        uri = str(plan.unit_rows(unit)["uri"][0].as_py())
        if state is not None and state.sha256 and _has_moved(record, uri):
            yield _Read(state.image_id, uri, state.sha256)


def _of_plan(plan: Plan, record: RunRecord) -> Iterator[_Read]:
    for image in _spread(range(len(plan)), CHECKED):
        row = plan.rows(range(image, image + 1))
        image_id, uri = str(row["image_id"][0].as_py()), str(row["uri"][0].as_py())
        if _has_moved(record, uri):
            yield _Read(image_id, uri, "")


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    """Return at most `count` of the items, evenly from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[index * (len(items) - 1) // (count - 1)] for index in range(count)]
