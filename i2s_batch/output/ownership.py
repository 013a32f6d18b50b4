"""Decides what a command may write: an OUT that is free or holds a run of ours, a FILE that no run reserves.

It decides this for every command, before anything is written. Other files in an OUT of ours stay as they are: only
keys that `RunLayout` names are written or deleted there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import PurePosixPath

from i2s_batch.checksums import is_marked
from i2s_batch.errors import ObjectNotFoundError, ObjectUnreadableError, RunConflictError, StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import is_plan
from i2s_batch.output.run_record import RunRecord
from i2s_batch.schema.settings import json_object
from i2s_batch.storage import Store, is_remote, open_store
from i2s_batch.storage.files import is_temporary
from i2s_batch.storage.store import PROBES

_COUNTED = 100  # files that are counted at most: of millions the first are enough to refuse the output
_NAMED = 3
_PAGE_MARK, _MARKED_BYTES = b'<meta name="generator" content="i2s-batch report">', 1000  # where every page begins
_LIMIT_BYTES = 1 << 24  # of the record of a run, which has some thousand bytes
# Files that systems and file managers create by themselves: no reason to refuse a folder, and never deleted.
_SYSTEM_FILES = frozenset(
    {".DS_Store", ".localized", ".directory", "Thumbs.db", "desktop.ini", ".Spotlight-V100", ".fseventsd"}
    | {".Trashes", ".TemporaryItems", "$RECYCLE.BIN", "System Volume Information"}
)
_SYSTEM_PREFIXES = ("._", ".nfs0")  # AppleDouble; files on NFS that were deleted while they were open
# Fields by which our JSON files are recognised.
_FIELDS = {
    RunLayout.lease: {"id", "host", "pid", "since", "beat"},
    RunLayout.summary: {"finished", "updated_at", "images", "done", "statuses"},
}


def claim(store: Store) -> RunRecord | None:
    """Return the record of the run at an output; None if the output is free for a new one.

    It is free if nothing is there, or only what a run of ours left that has no run.json.

    Raises:
        RunConflictError: Something else is there; the message names it.
        StorageError: run.json is not ours.
    """
    store.check_can_write()
    record = find_record(store)
    if record is not None:
        return record
    _check_outside_runs(store.url, "OUT")
    planned = _exists(store, RunLayout.plan)
    try:
        check_free(store, lambda key: _is_leftover(store, key, planned))
    except RunConflictError:
        record = find_record(store)  # another driver may have started a run between the two checks
        if record is None:
            raise
    return record


def check_free(store: Store, is_ours: Callable[[str], bool]) -> None:
    """Raise RunConflictError that names the files at an output for whose key `is_ours` is false.

    Files that systems and file managers create by themselves do not count.
    """
    foreign = list(
        islice((key for key in store.everything() if not (_is_system_file(key) or is_ours(key))), _COUNTED + 1)
    )
    if foreign:
        raise RunConflictError(
            f"{store.url!r} holds {_named(foreign)} and no run.json of i2s-batch; give an OUT that is new or empty, or "
            "the OUT of the run that is to be resumed"
        )


def find_record(store: Store) -> RunRecord | None:
    """Return the record of the run at an output; None if there is no run.json.

    Raises:
        StorageError: run.json is not ours.
    """
    try:
        return RunRecord.decode(store.get(RunLayout.run_json, _LIMIT_BYTES), store.uri(RunLayout.run_json))
    except ObjectNotFoundError:
        return None


def check_additions(store: Store, keys: Iterable[str]) -> None:
    """Raise RunConflictError if something is at one of the `keys` of an output without a run.json of ours.

    Such is a report beside a table that was copied without its run.json: it may be anybody's.
    """
    if find_record(store) is not None:
        return
    for key in keys:
        if _exists(store, key):
            raise RunConflictError(
                f"{store.uri(key)!r} exists without a run.json of i2s-batch beside it: it may be anybody's; move it"
            )


def check_same(store: Store, files: Mapping[str, bytes]) -> None:
    """Raise RunConflictError if one of `files`, which are always the same, exists with other content."""
    for key, data in files.items():
        try:
            found = store.get(key)
        except ObjectNotFoundError:
            continue
        if found != data:
            raise RunConflictError(f"{store.uri(key)!r} exists and is another file; move it, or give another folder")


def is_our_page(store: Store, key: str) -> bool:
    """Return whether a page under report/ was written by a report, and not by somebody else under the same name."""
    try:
        return _PAGE_MARK in store.get(key, _LIMIT_BYTES)[:_MARKED_BYTES]
    except StorageError:
        return False


def _exists(store: Store, key: str) -> bool:
    try:
        store.get(key, limit_bytes=0)
    except ObjectNotFoundError:
        return False
    except ObjectUnreadableError:
        return True
    return True


def check_file(path: str) -> None:
    """Raise RunConflictError if a run of ours reserves `path`, a file that the user names to be written."""
    _check_outside_runs(path, "FILE")


def _check_outside_runs(location: str, what: str) -> None:
    for parent, key in _parents(location):
        if RunLayout.names(key) and _holds_run(parent):
            raise RunConflictError(
                f"{what} {location!r} lies where the run at {parent!r} keeps its own files ({key!r}); "
                "give a path outside"
            )


def _parents(location: str) -> Iterator[tuple[str, str]]:
    """Yield every folder or prefix above `location`, and the key of `location` in it. Links are followed."""
    scheme, path = "", os.path.realpath(location)
    if is_remote(location):
        name, _, rest = location.partition(":/")
        scheme, path = f"{name}:/", rest
    whole = PurePosixPath(path)
    for parent in whole.parents:
        if not scheme or parent.name:
            yield f"{scheme}{parent}", whole.relative_to(parent).as_posix()


def _holds_run(folder: str) -> bool:
    try:
        return find_record(open_store(folder)) is not None
    except StorageError:  # no run of ours, or none that we may read
        return False


def _is_system_file(key: str) -> bool:
    parts = key.split("/")
    return not _SYSTEM_FILES.isdisjoint(parts) or parts[-1].startswith(_SYSTEM_PREFIXES)


def _is_leftover(store: Store, key: str, planned: bool) -> bool:
    """Return whether a run of ours without a run.json left this: killed before it had one, or with its OUT deleted.

    `planned`: whether there is a plan. Rows without one are of no use to anybody; rows with one are the work of a run
    whose run.json was lost.
    """
    folder, _, name = key.rpartition("/")
    if is_temporary(name):
        return RunLayout.is_folder(folder)
    logged = RunLayout.is_logged(key) or RunLayout.is_intent(key)
    try:
        return not (logged and planned) and _is_by_its_content(store, key)
    except ObjectNotFoundError:
        return True  # deleted since it was listed: another driver is at work
    except StorageError:
        return False


def _is_by_its_content(store: Store, key: str) -> bool:
    """Return whether the content is what a run keeps at this key: where it can be checked, a name is no proof."""
    if key == RunLayout.plan:
        return is_plan(store)
    if RunLayout.is_logged(key):  # training programs use such names for their checkpoints too
        with store.open(key) as file:  # the images of a unit, and its noise maps, may be large
            return is_marked(file.read(_MARKED_BYTES))
    if RunLayout.is_intent(key):
        return {"sha256", "size"} <= json_object(store.get(key, _LIMIT_BYTES)).keys()
    if RunLayout.is_probe(key):
        return store.get(key, _LIMIT_BYTES) in PROBES
    if key == RunLayout.deaths:
        deaths = json_object(store.get(key, _LIMIT_BYTES))
        return bool(deaths) and all(unit.isdecimal() and type(count) is int for unit, count in deaths.items())
    return key in _FIELDS and _FIELDS[key] <= json_object(store.get(key, _LIMIT_BYTES)).keys()


def _named(keys: list[str]) -> str:
    """Return the first of some keys and their number, as text."""
    count = f"more than {_COUNTED}" if len(keys) > _COUNTED else len(keys)
    first = ", ".join(map(repr, keys[:_NAMED])) + (", ..." if len(keys) > _NAMED else "")
    return f"{count} {'file' if len(keys) == 1 else 'files'} ({first})"
