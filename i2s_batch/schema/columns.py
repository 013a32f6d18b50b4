"""Lists the columns of the latent table, its schema version, and the statuses of a row. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from i2s_batch.config import TERMS
from i2s_batch.engine_registries import METRICS, OWN_METRICS

SCHEMA_VERSION = 2  # version 2 added vanished_at

STATUS_OK = "ok"
STATUS_UNREADABLE = "unreadable"
STATUS_DIVERGED = "diverged"
STATUS_CRASHED = "crashed"
STATUS_NOT_AN_IMAGE = "not_an_image"  # a text, a table, a video: a file beside the images, by its name and content
STATUSES = (STATUS_OK, STATUS_UNREADABLE, STATUS_DIVERGED, STATUS_CRASHED, STATUS_NOT_AN_IMAGE)
NOT_FAILED = (STATUS_OK, STATUS_NOT_AN_IMAGE)  # the statuses of rows that do not count as failed


@dataclass(frozen=True)
class Column:
    """Describes one column of the table. `kind` is a name that `schema.codec` translates into an Arrow type."""

    name: str
    kind: str
    meaning: str


_COLUMNS: tuple[Column, ...] = (
    Column("image_id", "string", "path relative to SOURCE, unique; each file of the table is sorted by it"),
    Column("uri", "string", "where the image was read"),
    Column("sha256", "string", "of the file's bytes, hex; null if they could not be read"),
    Column("width", "int32", "of the image as shown (after EXIF orientation), pixels"),
    Column("height", "int32", "of the image as shown, pixels"),
    Column("status", "string", "ok, unreadable, diverged, crashed or not_an_image"),
    Column("error_type", "string", "null when ok"),
    Column("error", "string", "one line, null when ok"),
    Column("attempts", "int32", "times the image was started, 1 when nothing went wrong"),
    Column("latent", "latent", "the W+ latent that was synthesised, L * w_dim, layer after layer; null unless ok"),
    Column("z", "floats", "in space z, the vector that was optimised; null otherwise"),
    Column("space", "string", "w+, w or z"),
    Column("init", "string", "mean or random"),
    Column("seed", "int64", "of the random start"),
    Column("steps", "int32", "optimiser steps that made the latent"),
    Column("stop_reason", "string", "steps (all done), plateau (--early-stopping) or diverged"),
    Column("loss", "float64", "weighted sum of the terms, at the stored latent"),
    *(Column(f"loss_{term}", "float64", "this term before its weight: a mean of squares") for term in TERMS),
    Column("loss_curve", "floats", "loss at loss_curve_steps"),
    Column("loss_curve_steps", "ints", "optimiser steps made before each value of loss_curve"),
    *(Column(metric.name, "float64", metric.summary) for metric in OWN_METRICS),
    Column("seconds", "float64", "wall time the image spent in a slot, all attempts that counted"),
    Column("device", "string", "what computed it"),
    Column("worker", "string", "which worker finished it"),
    Column("embedded_at", "timestamp", "UTC"),
    Column(
        "vanished_at", "timestamp", "UTC, when `--update` found the image missing from SOURCE; null while it exists"
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
