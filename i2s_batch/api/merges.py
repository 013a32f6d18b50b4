"""`merge()` writes several runs as one."""

from __future__ import annotations

import os
from collections.abc import Sequence

from i2s_batch.api.options import output
from i2s_batch.api.results import MergeResult
from i2s_batch.api.sessions import Progress, session
from i2s_batch.argument_types import path_or_url
from i2s_batch.errors import ConfigError
from i2s_batch.maintenance.merging import merge_runs


def merge(
    outs: Sequence[str | os.PathLike[str]],
    new: str | os.PathLike[str],
    *,
    prefixes: Sequence[str] = (),
    progress: Progress = None,
) -> MergeResult:
    """Write the rows of finished runs with the same settings and networks into one table, at `new`.

    An image that several runs hold comes once: the row that is ok first, then the one with the lower loss, then that of
    the run named first. May be run again.

    Args:
        outs: At least two outputs of embed(); paths or s3:// prefixes.
        new: A folder or an s3:// prefix.
        prefixes: A text for each of `outs`, in their order, which is put in front of its ids, so that tables with equal
            ids can be merged; none leaves all ids as they are.
        progress: How it reports, as of embed().

    Raises:
        RunConflictError: The runs differ in settings or networks, or hold different images under one id.
        StorageError: A run is not finished.
        ConfigError: A prefix does not begin a path.
    """
    if isinstance(outs, (str, os.PathLike)) or not isinstance(outs, Sequence) or len(outs) < 2:
        raise ConfigError(f"outs is {outs!r}; give at least two outputs of embed()")
    if isinstance(prefixes, str) or len(prefixes) not in (0, len(outs)):
        raise ConfigError(f"{len(prefixes)} prefixes are given for {len(outs)} runs; give one for each, or none")
    for prefix in prefixes:
        if not prefix.isprintable():
            raise ConfigError(f"the prefix {prefix!r} has characters that cannot be printed; give others")
        if prefix and not _begins_a_path(prefix):
            raise ConfigError(
                f"the prefix {prefix!r} would leave the folder of the ids: it begins with /, or one of its parts is "
                "empty, '.' or '..'; give one such as 'first/'"
            )
    locations = [path_or_url("outs", each) for each in outs]
    with session(progress) as report:
        summary = merge_runs(locations, output("new", new), report, prefixes)
    return MergeResult(
        out=path_or_url("new", new), images=summary.images, statuses=summary.statuses, merged=tuple(locations)
    )


def _begins_a_path(prefix: str) -> bool:
    """Return whether an id with this prefix is a path below a folder, as other ids are."""
    *folders, _ = prefix.split("/")
    return not any(part in ("", ".", "..") for part in folders)
