"""The error tree. Every message names the thing, the value found, the limit, and what to do next.

`I2SError` is for people: the command line prints its text as one line and leaves with status 2.
Anything else that escapes is a bug: the command line leaves with status 70 and the path of a file for a report.
"""

from __future__ import annotations

import signal


class I2SError(Exception):
    """A fault that the user can mend; `str(error)` is one line and complete."""


class ConfigError(I2SError, ValueError):
    """A setting outside its limits."""


class CheckpointError(I2SError):
    """A file that cannot be read as network weights: hostile, truncated, foreign or incomplete."""


class StorageError(I2SError):
    """A place (folder, bucket, key) that cannot be listed, read or written."""


class QueryError(I2SError):
    """A query that is not SQL, that fails, or that would do more than read the table."""


class DamagedError(StorageError):
    """Bytes are not those that were written: a flipped bit, a truncated file, a file of something else."""


class ObjectNotFoundError(StorageError):
    """An object (file or key) that does not exist."""


class ObjectUnreadableError(StorageError):
    """One object that exists but cannot be read (denied, too large, a pipe), in a place that answers."""


class SourceError(I2SError):
    """A SOURCE that does not exist, holds nothing, or names an image twice."""


class PictureError(I2SError):
    """A file that cannot be decoded into a picture. Never stops a run: it becomes an `unreadable` row."""


class LatentError(I2SError):
    """A code that an edit needs and that no table has. Never stops a run: it becomes an `unreadable` row."""


class RunConflictError(I2SError):
    """An output that belongs to another run, or to another driver that is still alive."""


class ClusterError(I2SError):
    """A Ray cluster that does not answer, or has nothing to offer."""


class RunFailedError(I2SError):
    """A run that cannot go on: a fleet that dies at start, or a device with too little memory."""


class RunStoppedError(I2SError):
    """A run that was stopped by SIGINT (Ctrl-C, or a notebook's button) or SIGTERM. Nothing that was finished is lost.

    Attributes:
        signal: The number of the signal.
        saved: Images in flight that were saved; None where none was in flight.
    """

    def __init__(self, number: int, saved: int | None = None) -> None:
        kept = "" if saved is None else f"{saved} images in flight were saved, "
        name = signal.Signals(number).name
        super().__init__(f"the run was stopped by {name}; {kept}nothing is lost: call the same again to resume it")
        self.signal, self.saved = number, saved


class UnknownImageError(StorageError, KeyError):
    """An image that a table does not hold; also a KeyError, as of any mapping."""

    __str__ = Exception.__str__  # a KeyError's is the message in quotes


class InternalError(I2SError):
    """A fault of this program, caught by the last net of a worker; the message names worker and images.

    The command line leaves with status 70. `details`: the traceback as text, which travels between processes where the
    exception itself might not.
    """

    def __init__(self, message: str, details: str) -> None:
        super().__init__(message)
        self.details = details

    def __reduce__(self) -> tuple[type[InternalError], tuple[str, str]]:
        return InternalError, (str(self), self.details)


def described(error: BaseException) -> str:
    """Return the type of an exception, and its message if it has one."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
