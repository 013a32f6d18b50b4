"""Lists the columns of the latent table, its schema version, and the statuses of a row. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from i2s_batch.config import TERMS
from i2s_batch.engine_registries import METRICS, OWN_METRICS

# 2 added vanished_at; 3 what is known of the file, folder, generator_fingerprint and run_id; 4 evaluations, loss_prior,
# landmarks, transform and the noise stage; 5 duplicate_of and the status too_small.
SCHEMA_VERSION = 5
READABLE_VERSIONS = range(1, SCHEMA_VERSION + 1)

STATUS_OK = "ok"
STATUS_UNREADABLE = "unreadable"
STATUS_DIVERGED = "diverged"
STATUS_CRASHED = "crashed"
STATUS_NOT_AN_IMAGE = "not_an_image"  # a text, a table, a video: a file beside the images, by its name and content
STATUS_NO_FACE = "no_face"  # with --align: an image in which no face was found
STATUS_TOO_SMALL = "too_small"  # with --min-size: an image with a smaller side of fewer pixels
STATUS_MISSING = "missing"  # of an edit: no table holds the image that it asks for
STATUSES = (
    *(STATUS_OK, STATUS_UNREADABLE, STATUS_DIVERGED, STATUS_CRASHED, STATUS_NOT_AN_IMAGE, STATUS_NO_FACE),
    *(STATUS_TOO_SMALL, STATUS_MISSING),
)
NOT_COUNTED = (
    STATUS_NOT_AN_IMAGE,
    STATUS_NO_FACE,
    STATUS_TOO_SMALL,
)  # neither ok nor failed: there is nothing to embed
NOT_FAILED = (STATUS_OK, *NOT_COUNTED)  # the statuses of rows that do not count as failed


@dataclass(frozen=True)
class Column:
    """Describes one column of the table.

    Attributes:
        name: Its name.
        kind: A name that `schema.codec` translates into an Arrow type.
        meaning: What it holds, for the documentation.
        since: The schema version that added it.
    """

    name: str
    kind: str
    meaning: str
    since: int = 1


_COLUMNS: tuple[Column, ...] = (
    Column("image_id", "string", "path relative to SOURCE, unique; each file of the table is sorted by it"),
    Column("uri", "string", "where the image was read; of an edit, where it was written"),
    Column(
        "folder",
        "string",
        "first folder of image_id, the class in imagefolder layout; null at the top level; of an edit, that of its "
        "first parent",
        since=3,
    ),
    Column("sha256", "string", "of the file's bytes, hex; null if they could not be read"),
    Column("bytes", "int64", "size of the file; null if it could not be read", since=3),
    Column("format", "string", "of the file, as it was decoded: JPEG, PNG, TIFF, ...; null unless decoded", since=3),
    Column("mode", "string", "Pillow's mode of the file before conversion: RGB, L, CMYK, I;16, ...", since=3),
    Column("width", "int32", "of the image as shown (after EXIF orientation), pixels"),
    Column("height", "int32", "of the image as shown, pixels"),
    Column(
        "crop_box",
        "floats",
        "[left, top, right, bottom] in pixels of the image as shown: what was embedded; all of it with --fit pad or "
        "stretch; with --box the box; null unless decoded, with --align, and of an edit",
        since=3,
    ),
    Column(
        "landmarks",
        "floats",
        "with --align, the points of the face: x and y of each in turn, in pixels of the image as shown, the centre of "
        "the first pixel at (0, 0); null otherwise",
        since=4,
    ),
    Column(
        "transform",
        "affine",
        "with --align, [a, b, c, d, e, f]: the point (x, y) of the image as shown was embedded at (a x + b y + c, "
        "d x + e y + f); null otherwise",
        since=4,
    ),
    Column(
        "status",
        "string",
        "ok, unreadable, diverged, crashed, not_an_image, no_face, too_small or, of an edit, missing",
    ),
    Column("error_type", "string", "null when ok"),
    Column("error", "string", "one line, null when ok"),
    Column("attempts", "int32", "times the image was started, 1 when nothing went wrong"),
    Column("latent", "latent", "the W+ latent that was synthesised, L * w_dim, layer after layer; null unless ok"),
    Column("z", "floats", "in space z, the vector that was optimised; null otherwise"),
    Column("space", "string", "w+, w or z"),
    Column("init", "string", "the initialisation: mean, random or learned"),
    Column("seed", "int64", "of the random start"),
    Column("steps", "int32", "optimiser steps that made the latent"),
    Column("evaluations", "int32", "forward and backward passes that were made for the latent", since=4),
    Column(
        "stop_reason",
        "string",
        "steps (all done), plateau (--early-stopping), target (--target-loss or --target-psnr) or diverged",
    ),
    Column("loss", "float64", "weighted sum of the terms, at the stored latent"),
    *(Column(f"loss_{term}", "float64", "this term before its weight: a mean of squares") for term in TERMS),
    Column(
        "loss_prior",
        "float64",
        "penalty on unlikely latents at the stored latent, which `loss` leaves out; null without --prior",
        since=4,
    ),
    Column("loss_curve", "floats", "loss at loss_curve_steps, without the prior"),
    Column("loss_curve_steps", "ints", "optimiser steps made before each value of loss_curve"),
    *(Column(metric.name, "float64", metric.summary) for metric in OWN_METRICS),
    Column("seconds", "float64", "wall time the image spent in a slot, all attempts that counted"),
    Column("device", "string", "what computed it"),
    Column("worker", "string", "which worker finished it"),
    Column("embedded_at", "timestamp", "UTC"),
    Column("generator_fingerprint", "string", "sha256 of the generator that the latent belongs to, hex", since=3),
    Column("run_id", "string", "of the run that made the row, as in its run.json; null of runs before it", since=3),
    Column(
        "vanished_at",
        "timestamp",
        "UTC, when `--update` found the image missing from SOURCE; null while it exists",
        since=2,
    ),
    Column("noise_steps", "int32", "steps of the noise stage; null without maps of its own (--noise-steps)", since=4),
    Column("noise_loss", "float64", "loss of the latent with the image's noise maps, without their penalty", since=4),
    Column("noise_mse", "float64", "mse with the image's noise maps", since=4),
    Column("noise_psnr", "float64", "psnr with the image's noise maps, dB", since=4),
    Column("noise_ssim", "float64", "ssim with the image's noise maps", since=4),
    Column(
        "duplicate_of",
        "string",
        "with --dedupe, the image_id of the image with the same bytes whose result this row has; null of a row with a "
        "result of its own",
        since=5,
    ),
)


class _TableColumns(Sequence[Column]):
    """Lists the columns of every table, and after them those of metrics that another program has added."""

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, index: int) -> Column: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Column, ...]: ...

    def __getitem__(self, index: int | slice) -> Column | tuple[Column, ...]:
        return self._all()[index]

    def __iter__(self) -> Iterator[Column]:
        return iter(self._all())

    @staticmethod
    def _all() -> tuple[Column, ...]:
        added = (metric for metric in METRICS if metric not in OWN_METRICS)
        return (*_COLUMNS, *(Column(metric.name, "float64", metric.summary) for metric in added))


COLUMNS: Sequence[Column] = _TableColumns()


def columns_in(version: int) -> list[Column]:
    """Return the columns of tables of a schema version, in their order."""
    return [column for column in COLUMNS if column.since <= version]


def folder_of(image_id: str) -> str | None:
    """Return the first folder of an image id, the class in imagefolder layout; None at the top level."""
    folders = [part for part in image_id.split("/")[:-1] if part not in ("", ".", "..")]
    return folders[0] if folders else None
