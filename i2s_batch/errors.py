"""Defines the exceptions. Every message names the thing, the value found, the limit, and what to do next.

`I2SError` is for people: the command line prints its text as one line and exits with status 2. Anything else that
escapes is a bug: the command line exits with status 70 and the path of a file for a report.

    I2SError
        ConfigError              a setting outside its limits (also a ValueError)
        CheckpointError          a file that is no network weights
        StorageError             a folder, bucket or key that cannot be listed, read or written
            DamagedError         bytes that are not those that were written
            ObjectNotFoundError  a file or key that does not exist
            ObjectUnreadableError  a file or key that exists and cannot be read
        QueryError               a query that fails, or would do more than read
        SourceError              a SOURCE that holds no images, or one twice
        PictureError             a file that is no image: becomes a row
            NoFaceError          an image without a face, where faces are aligned: becomes a row
            DetectorError        a face detector that crashed or hung on an image: becomes a row
        LatentError              a latent that no table has: becomes a row
        RunConflictError         an output of another run or driver
        ClusterError             a Ray cluster that does not answer
        RunFailedError           a run that cannot continue
        InternalError            a bug, reported by a worker

Two warnings say what a table that can be read lacks: `UnfinishedRunWarning`, `DamagedRowsWarning`.
"""

from __future__ import annotations

import signal


class I2SError(Exception):
    """Reports a fault that the user can mend; `str(error)` is one complete line."""


class ConfigError(I2SError, ValueError):
    """Reports a setting outside its limits."""


class CheckpointError(I2SError):
    """Reports a file that cannot be read as network weights: hostile, truncated, foreign or incomplete."""


class StorageError(I2SError):
    """Reports a folder, bucket or key that cannot be listed, read or written."""


class QueryError(I2SError):
    """Reports a query that is not SQL, that fails, or that would do more than read the table.

    Attributes:
        drawing: Lines that show where in the query the fault is: the line, and a caret under it.
    """

    def __init__(self, message: str, drawing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.drawing = drawing


class DamagedError(StorageError):
    """Reports bytes that are not those that were written: a flipped bit, a truncated file, a file of something else."""


class ObjectNotFoundError(StorageError):
    """Reports an object (file or key) that does not exist."""


class ObjectUnreadableError(StorageError):
    """Reports an object that exists but cannot be read (denied, too large, a pipe), in a store that works."""


class SourceError(I2SError):
    """Reports a SOURCE that does not exist, holds nothing, or names an image twice."""


class PictureError(I2SError):
    """Reports a file that cannot be decoded into an image. It never stops a run: it becomes a row.

    Attributes:
        is_image: False for a file that is known to be something else; its row is `not_an_image`, else `unreadable`.
    """

    def __init__(self, message: str, *, is_image: bool = True) -> None:
        super().__init__(message)
        self.is_image = is_image


class NoFaceError(PictureError):
    """Reports an image in which no face was found, where faces are to be aligned; its row is `no_face`."""


class TooSmallError(PictureError):
    """Reports an image with fewer pixels than were asked for; its row is `too_small`."""


class DetectorError(PictureError):
    """Reports a face detector that crashed, hung or failed on an image; its row is `crashed`."""


class LatentError(I2SError):
    """Reports a latent that an edit needs and no table has. It never stops a run: it becomes an `unreadable` row."""


class RunConflictError(I2SError):
    """Reports an output that belongs to another run, or to another driver that is still alive."""


class ClusterError(I2SError):
    """Reports a Ray cluster that does not answer, or has nothing to offer."""


class RunFailedError(I2SError):
    """Reports a run that cannot continue: workers that all die at start, or a device with too little memory."""


class RunStoppedError(I2SError):
    """A run that was stopped by SIGINT (Ctrl-C, or a notebook's button) or SIGTERM. Nothing that was finished is lost.

    Attributes:
        signal: The number of the signal.
        saved: Images in flight that were saved; None where none was in flight.
    """

    def __init__(self, number: int, saved: int | None = None) -> None:
        kept = (
            ""
            if saved is None
            else f"{saved} {'image in flight was' if saved == 1 else 'images in flight were'} saved, "
        )
        name = signal.Signals(number).name
        super().__init__(f"the run was stopped by {name}; {kept}nothing is lost: call the same again to resume it")
        self.signal, self.saved = number, saved


class UnknownImageError(StorageError, KeyError):
    """An image that a table does not hold; also a KeyError, as of any mapping."""

    __str__ = Exception.__str__  # a KeyError's is the message in quotes


class InternalError(I2SError):
    """Reports a fault of this program, caught by the last handler of a worker; the message names worker and images.

    The command line exits with status 70.

    Attributes:
        details: The traceback as text, which travels between processes where the exception itself might not.
    """

    def __init__(self, message: str, details: str) -> None:
        super().__init__(message)
        self.details = details

    def __reduce__(self) -> tuple[type[InternalError], tuple[str, str]]:
        return InternalError, (str(self), self.details)


class UnfinishedRunWarning(UserWarning):
    """Says that a table was read of which the run has not written all rows yet, and how many there are.

    Its only argument is a `table.snapshot.Unfinished`.
    """


class DamagedRowsWarning(UserWarning):
    """Names a file of a work log that is damaged: its rows are left out of a table that was read."""


def described(error: BaseException) -> str:
    """Return the type of an exception, and its message if it has one."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
