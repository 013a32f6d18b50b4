"""Empties an output of ours for another run: it deletes what its own run wrote, and nothing else.

run.json stays until the other run's takes its place, so that OUT is ours at every moment, whatever else lies in it. The
plan goes last of all before that: an output without a plan in which no image was begun is free for another run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import pyarrow as pa

from i2s_batch.config import ANIMATIONS
from i2s_batch.errors import ObjectNotFoundError, RunConflictError, StorageError
from i2s_batch.output.archives.names import unarchived_key
from i2s_batch.output.archives.registered import ARCHIVES, archive_key
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.ownership import is_our_page
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_record import RunRecord
from i2s_batch.schema.settings import EMBED, STUDY
from i2s_batch.storage import Store

_OF_ALL = (RunLayout.summary, RunLayout.report)
_OF_IMAGES = (
    *(RunLayout.pictures_prefix, RunLayout.inputs_prefix, RunLayout.animations_prefix, RunLayout.comparisons_prefix),
    RunLayout.unaligned_prefix,
)
_IMAGE_FILE = "image_file"  # the column of a plan with the keys of edited images
# Where something lies once an image has been finished.
_FINISHED = (
    *(RunLayout.shards_prefix, RunLayout.checksums_prefix, RunLayout.pictures_prefix, RunLayout.animations_prefix),
    *(RunLayout.figures_prefix, RunLayout.comparisons_prefix, RunLayout.report_prefix),
    RunLayout.unaligned_prefix,
)


def is_unbegun(store: Store) -> bool:
    """Return whether no image of the run at an output was begun: there is no row, no checkpoint, no image.

    Another run may then take the output. What somebody else keeps in the folders of the run counts as begun.
    """
    if any(next(iter(store.list(prefix)), None) is not None for prefix in _FINISHED):
        return False
    return not any(_is_begun(info.key) for info in store.list(RunLayout.work_prefix))


def _is_begun(key: str) -> bool:
    return key == RunLayout.deaths or RunLayout.is_logged(key) or RunLayout.is_intent(key)


def has_plan(store: Store) -> bool:
    """Return whether an output has a plan, whole or damaged."""
    try:
        store.open(RunLayout.plan).close()
    except ObjectNotFoundError:
        return False
    except StorageError:
        return True
    return True


def clear_run(store: Store, record: RunRecord, confirm: Callable[[], None]) -> None:
    """Delete what the run of `record` wrote into an output, but for run.json and the lease.

    Files of others stay, and so do the figures of a study, which the next study replaces.

    Args:
        store: The output.
        record: Its run.json.
        confirm: Raises if the output is no longer ours to change.
    """
    confirm()
    store.delete(chain(_table_keys(store), _OF_ALL, _of_kind(record), _page_keys(store)))
    plan = _plan_of(store, record)
    for keys in () if plan is None else _image_keys(store, record, plan):
        confirm()
        store.delete(keys)
    confirm()
    store.delete([RunLayout.plan])


def check_writes_over_nothing(store: Store, replaced: RunRecord, record: RunRecord, plan: Plan) -> None:
    """Raise RunConflictError if a run would write over files in OUT that the run it replaces has not written.

    Args:
        store: The output.
        replaced: The run.json that is there.
        record: That of the run which takes its place.
        plan: The images of the latter.
    """
    present = {info.key for prefix in _OF_IMAGES for info in store.list(prefix)}
    present |= {info.key for key in _of_kind(record) for info in store.list(key) if info.key == key}
    foreign_noise = _foreign_noise(store, record, plan)
    if not present and not foreign_noise:
        return
    known, old = set(_of_kind(replaced)), _plan_of(store, replaced)
    for keys in () if old is None else _image_keys(store, replaced, old):
        known |= keys & present
    wanted = set(_of_kind(record)).union(*(keys & present for keys in _image_keys(store, record, plan)))
    if foreign := sorted((wanted & present - known) | foreign_noise):
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise RunConflictError(
            f"{store.uri(foreign[0])!r}{more} would be written over, and the run in {store.url} has not written it; "
            "move it, or give another OUT"
        )


def _of_kind(record: RunRecord) -> tuple[str, ...]:
    """Return the keys of the single files that only some kinds of runs write."""
    if record.is_edit:
        return (RunLayout.contact_sheet,)
    return (RunLayout.study,) if record.settings.kind == STUDY else ()


def _page_keys(store: Store) -> list[str]:
    """Return the keys of what a report has written beside itself."""
    keys = [info.key for info in store.list(RunLayout.report_prefix) if RunLayout.is_report(info.key)]
    return [key for key in keys if not key.endswith(".html") or is_our_page(store, key)]


def _plan_of(store: Store, record: RunRecord) -> Plan | None:
    """Return the plan of a run; None if it cannot be read: no file is known to be the run's by its name alone."""
    try:
        return Plan.load(store, record.shard_size)
    except StorageError:
        return None


def _table_keys(store: Store) -> list[str]:
    """Return the keys of the table, of its noise maps, of their checksums and of the work log."""
    shards = (info.key for info in store.list(RunLayout.shards_prefix))
    checksums = (info.key for info in store.list(RunLayout.checksums_prefix))
    work = (info.key for info in store.list(RunLayout.work_prefix))
    return [
        *(key for key in shards if RunLayout.shard_index(key) is not None),
        *_noise_keys(store),  # before their checksums, which say that they are the run's
        *(key for key in checksums if _is_checksum(key)),
        *(key for key in work if RunLayout.is_work(key) and key != RunLayout.lease),
    ]


def _noise_keys(store: Store) -> list[str]:
    """Return the keys of the files of noise maps that a run has published here: each has a checksum, or an intent."""
    records = chain(store.list(RunLayout.checksums_prefix), store.list(RunLayout.publishing_prefix))
    named = set()
    for info in records:
        for index in (RunLayout.noise_checksum_index(info.key), RunLayout.noise_publishing_index(info.key)):
            if index is not None:
                named.add(RunLayout.noise(index))
    return [info.key for info in store.list(RunLayout.noise_prefix) if info.key in named]


def _foreign_noise(store: Store, record: RunRecord, plan: Plan) -> set[str]:
    """Return the keys at which a run may write noise maps, and where files lie that no run has published."""
    if not record.settings.noise_steps:
        return set()
    most = plan.shards * record.shard_size  # a file has the maps of one image at least
    taken = {info.key for info in store.list(RunLayout.noise_prefix)} - set(_noise_keys(store))
    return {key for key in taken if (number := RunLayout.noise_index(key)) is not None and number < most}


def _is_checksum(key: str) -> bool:
    return RunLayout.checksum_index(key) is not None or RunLayout.noise_checksum_index(key) is not None


def _image_keys(store: Store, record: RunRecord, plan: Plan) -> Iterator[set[str]]:
    """Yield the keys of images and animations that a plan names, some thousand at a time; an embedding run has none."""
    present = [prefix for prefix in _OF_IMAGES if next(iter(store.list(prefix)), None) is not None]
    if not present or record.settings.kind == EMBED:
        return
    suffix, output = record.settings.picture_format or "png", record.settings.output
    if output in ARCHIVES:
        yield {archive_key(output, shard) for shard in range(plan.shards)}
    for rows in plan.parts():
        keys = {key for image_id in rows["image_id"].to_pylist() for key in _of_image(image_id, suffix)}
        files = set() if output in ARCHIVES else _as_planned(store, rows, record.is_edit)
        beside = {name(key) for key in files for name in (RunLayout.side_by_side, RunLayout.unaligned)}
        yield keys | files | beside | _animations(rows, record)


def _of_image(image_id: str, suffix: str) -> tuple[str, str]:
    return RunLayout.picture(image_id, suffix), RunLayout.altered(image_id)


def _as_planned(store: Store, rows: pa.Table, is_edit: bool) -> set[str]:
    """Return the keys of images that the plan says are written into this very output."""
    below = f"{store.url}/"
    inside = [uri.removeprefix(below) for uri in rows["uri"].to_pylist() if uri and uri.startswith(below)]
    inside += [key for key in _files(rows, is_edit) if key]  # where the output was moved, its uris are elsewhere
    return {key for key in inside if key.startswith(_OF_IMAGES) and ".." not in key.split("/")}


def _files(rows: pa.Table, is_edit: bool) -> list[str | None]:
    """Return the keys of edited images. In other runs the column is one of the user's list."""
    known = is_edit and _IMAGE_FILE in rows.column_names
    files: list[str | None] = rows[_IMAGE_FILE].to_pylist() if known else [None] * len(rows)
    return files


def _animations(rows: pa.Table, record: RunRecord) -> set[str]:
    in_archives = record.settings.output in ARCHIVES
    if not record.is_edit or "sequence" not in rows.column_names:
        return set()
    keys = set()
    for name, file in set(zip(rows["sequence"].to_pylist(), _files(rows, record.is_edit), strict=True)):
        if name is not None:
            frame = unarchived_key(file) if file and in_archives else file
            keys |= {RunLayout.animation(name, suffix) for suffix in ANIMATIONS}
            keys |= {RunLayout.animation_of(frame, suffix) for suffix in ANIMATIONS} if frame else set()
    return keys
