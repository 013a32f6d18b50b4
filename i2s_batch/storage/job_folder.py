"""Knows the folder of a Ray job: a copy of the submitter's --working-dir, which Ray removes some time after the job."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from i2s_batch.errors import ConfigError
from i2s_batch.storage.urls import is_url

_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray for the command of a job, and for nothing else
_UNPACKED = ("runtime_resources", "working_dir_files")  # the folders in which Ray keeps such copies
_REFUSED = "lies in the folder of this Ray job"
_GIVE = "give s3:// or an absolute path that every node sees"


def in_ray_job() -> bool:
    """Return whether this process is the command of a Ray job, or was started by it."""
    return _JOB in os.environ


def check_kept(out: str) -> str:
    """Return `out`, the path or URL of results.

    Raises:
        ConfigError: This is a Ray job, and `out` lies in its folder or is relative to it.
    """
    if in_ray_job() and not is_url(out) and (not Path(out).is_absolute() or _is_unpacked(Path(out))):
        raise ConfigError(f"OUT {out!r} {_REFUSED}, which Ray removes with all that is in it; {_GIVE}")
    return out


def _is_unpacked(path: Path) -> bool:
    return any(pair == _UNPACKED for pair in pairwise(Path(os.path.realpath(path)).parts))


def why_missing(message: str, words: Sequence[str]) -> str:
    """Return what is to be added to an error `message` of a command line of these words: '' outside of a Ray job.

    In a job it says why a relative path that the message names is not there.
    """
    if not in_ray_job() or _REFUSED in message:
        return ""
    for word in words:
        value = word.partition("=")[2] if word.startswith("--") else word
        if value and value in message and _is_missing(value):
            return (
                f" (in a Ray job {value!r} is looked up in the job's folder, a copy of its --working-dir, not where "
                f"the job was submitted; {_GIVE})"
            )
    return ""


def _is_missing(value: str) -> bool:
    """Return whether a text may be meant as a relative path, and nothing is there."""
    return not is_url(value) and not Path(value).is_absolute() and not Path(value).exists()
