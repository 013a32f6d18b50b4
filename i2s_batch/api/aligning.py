"""`align()` writes the aligned faces of a source into a folder, with a list that embed() takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from i2s_batch.api.options import output
from i2s_batch.api.sessions import Progress, session
from i2s_batch.argument_types import path_or_url
from i2s_batch.embedding.align_run import LEFT_OUT, LIST, AlignRequest, align_faces
from i2s_batch.run.cores import usable_cores
from i2s_batch.schema.columns import NOT_COUNTED, STATUS_OK
from i2s_batch.sources.options import AS_USUAL, SourceOptions


@dataclass(frozen=True)
class AlignResult:
    """Holds what was aligned.

    Attributes:
        images: The list of the aligned images: a SOURCE.
        left_out: The list of the images that could not be aligned.
        statuses: Faces that are ok, and images that are not, by status.
    """

    images: str
    left_out: str
    statuses: Mapping[str, int]

    @property
    def aligned(self) -> int:
        """Return the number of aligned faces."""
        return self.statuses.get(STATUS_OK, 0)

    @property
    def failed(self) -> int:
        """Return the number of images that failed; one without a face has not."""
        return sum(n for status, n in self.statuses.items() if status not in (STATUS_OK, *NOT_COUNTED))


def align(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    size: int = 1024,
    faces: str = "largest",
    face_model: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    source_options: SourceOptions = AS_USUAL,
    min_size: int | None = None,
    progress: Progress = None,
) -> AlignResult:
    """Align the faces of `source` into the folder `out`, as `i2s-batch align` does.

    A call with the same arguments resumes one that was stopped.

    Args:
        source: A folder, a glob, an image, an s3:// prefix, or a list.
        out: A folder or an s3:// prefix, new or of the same call.
        size: The side of an aligned image, in pixels.
        faces: "largest" or "all" faces of an image; the second is `ID#face1`.
        face_model: The model file of the face detector; None for that of the installed package.
        workers: How many images are worked on at once; None for one per CPU core.
        source_options: How the source is read.
        min_size: The fewest pixels of an image's smaller side; a smaller one is left out. None takes all.
        progress: How the run reports, as of embed().

    Raises:
        I2SError: What a user can mend.
    """
    model = None if face_model is None else path_or_url("face_model", face_model)
    at_once = usable_cores() if workers is None else workers
    where = output("out", out)
    request = AlignRequest(
        path_or_url("source", source),
        where,
        size,
        faces,
        model,
        at_once,
        source_options=source_options,
        min_size=min_size,
    )
    with session(progress) as report:
        statuses = align_faces(request, report)
    folder = where.rstrip("/")
    return AlignResult(f"{folder}/{LIST}", f"{folder}/{LEFT_OUT}", statuses)
