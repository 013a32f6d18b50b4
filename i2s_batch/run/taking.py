"""Decides what a run finds in its OUT: a run to resume, another whose place it may take, or nothing."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace

from i2s_batch.errors import RunConflictError, StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.overwriting import clear_run, has_plan, is_unbegun
from i2s_batch.output.ownership import claim
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_record import RunRecord
from i2s_batch.output.run_state import scan
from i2s_batch.output.same_run import check_same_run
from i2s_batch.output.work_log import WorkLog
from i2s_batch.plurals import counted
from i2s_batch.sources.identity import is_same_source
from i2s_batch.storage import Store


@dataclass(frozen=True)
class Found:
    """Holds the record of the run that is resumed, or of the one whose place another takes; both None in a free OUT."""

    resumed: RunRecord | None = None
    replaced: RunRecord | None = None


def run_at(store: Store, asked: Callable[[RunRecord], RunRecord], overwrite: bool) -> Found:
    """Return which run an output holds.

    Another run takes its place if it is to be overwritten, or if no image of it was begun.

    Args:
        store: The output.
        asked: Returns what the run that is asked for would record, given what the output has recorded.
        overwrite: Whether whatever run is there is replaced.

    Raises:
        RunConflictError: The output holds a run with other settings, or files of somebody else.
    """
    record = claim(store)
    if record is None:
        return Found()
    if overwrite:
        return Found(replaced=record)
    try:
        check_same_run(record, asked(record), store.url)
    except RunConflictError:
        if not is_unbegun(store):
            raise
        return Found(replaced=record)
    if not has_plan(store) and is_unbegun(store):  # a driver was killed while it took the place of another run
        return Found(replaced=record)
    return Found(resumed=record)


def with_recorded_sources(existing: RunRecord, asked: RunRecord) -> RunRecord:
    """Return the record `asked` with the names of `existing` for tables that are the same files."""
    old, new = existing.source, asked.source
    if isinstance(new, str) or isinstance(old, str) or len(new) != len(old):
        return asked
    pairs = zip(old, new, strict=True)
    return replace(asked, source=tuple(one if is_same_source(one, other) else other for one, other in pairs))


def described(store: Store, record: RunRecord) -> str:
    """Return in words what is lost with a run at an output."""
    source = record.source_now or record.source
    over = source if isinstance(source, str) else ", ".join(source)
    begun = f"{store.url} holds a run over {over}, begun {record.created_at}"
    try:
        plan = Plan.load(store, record.shard_size)
        done = scan(store, plan, WorkLog(store.url, record.generator.latent_size))
    except StorageError:  # it is damaged, which may be why it is to go
        return begun
    return f"{begun}, with {done.images - done.remaining_images} of {counted(done.images, 'image')} done"


def take_place(
    store: Store, replaced: RunRecord, record: RunRecord, overwrite: bool, confirm: Callable[[], None]
) -> None:
    """Delete what a run wrote, and record another in its place, which has no plan yet.

    Whoever looks at the output when the driver was killed between the two sees the command that was interrupted: the
    one that is replaced would find its rows gone.
    """
    confirm()
    command = record.resume_command(store.url)
    words = None if command is None else (*shlex.split(command)[1:], *(("--overwrite",) if overwrite else ()))
    store.put(RunLayout.run_json, replace(replaced, command=words).encode())
    clear_run(store, replaced, confirm)
    store.put(RunLayout.run_json, record.encode())


def recorded_anew(store: Store, existing: RunRecord, asked: RunRecord, confirm: Callable[[], None]) -> RunRecord:
    """Return the record of a resumed run; where none of its images was begun, with the command of today."""
    record = replace(
        existing,
        command=asked.command,
        in_process=asked.in_process,
        max_failed_fraction=asked.max_failed_fraction,
        given=asked.given,
        preset=asked.preset,
    )
    if record == existing or not is_unbegun(store):
        return existing
    confirm()
    store.put(RunLayout.run_json, record.encode())
    return record
