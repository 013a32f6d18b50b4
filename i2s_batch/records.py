"""The latent table's columns and the values that travel between the layers. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 2  # 2 has vanished_at

STATUS_OK = "ok"
STATUS_UNREADABLE = "unreadable"
STATUS_DIVERGED = "diverged"
STATUS_CRASHED = "crashed"
STATUSES = (STATUS_OK, STATUS_UNREADABLE, STATUS_DIVERGED, STATUS_CRASHED)

# The loss terms in the order in which the engine keeps them; the table has one column `loss_<term>` each.
TERMS = ("pixel", "conv1_1", "conv1_2", "conv3_2", "conv4_2")


@dataclass(frozen=True)
class Column:
    """One column of the table. `kind` is a name that `storage.tables.table` turns into an Arrow type."""

    name: str
    kind: str
    meaning: str


COLUMNS: tuple[Column, ...] = (
    Column("image_id", "string", "path relative to SOURCE, unique; each file of the table is sorted by it"),
    Column("uri", "string", "where the picture was read"),
    Column("sha256", "string", "of the file's bytes, hex; null if they could not be read"),
    Column("width", "int32", "of the picture as shown (after EXIF orientation), pixels"),
    Column("height", "int32", "of the picture as shown, pixels"),
    Column("status", "string", "ok, unreadable, diverged or crashed"),
    Column("error_type", "string", "null when ok"),
    Column("error", "string", "one line, null when ok"),
    Column("attempts", "int32", "times the picture was started, 1 when nothing went wrong"),
    Column("latent", "latent", "the W+ code that was synthesised, L * w_dim, layer after layer; null unless ok"),
    Column("z", "floats", "in space z, the vector that was optimised; null otherwise"),
    Column("space", "string", "w+, w or z"),
    Column("init", "string", "mean or random"),
    Column("seed", "int64", "of the random start"),
    Column("steps", "int32", "optimiser steps that made the latent"),
    Column("stop_reason", "string", "steps (all done), plateau (--stop-plateau) or diverged"),
    Column("loss", "float64", "weighted sum of the terms, at the stored latent"),
    *(Column(f"loss_{term}", "float64", "this term before its weight: a mean of squares") for term in TERMS),
    Column("loss_curve", "floats", "loss at loss_curve_steps"),
    Column("loss_curve_steps", "ints", "optimiser steps made before each value of loss_curve"),
    Column("w_distance", "float64", "Euclidean norm of (latent - w_avg) over all layers"),
    Column("mse", "float64", "mean squared error of the final 8-bit picture, peak 255"),
    Column("psnr", "float64", "dB, peak 255; infinite when mse is 0"),
    Column("ssim", "float64", "mean SSIM of the final 8-bit picture, Gaussian window 11, sigma 1.5"),
    Column("lpips", "float64", "LPIPS (VGG); null without ImageNet VGG weights"),
    Column("seconds", "float64", "wall time the picture spent in a slot, all attempts that counted"),
    Column("device", "string", "what computed it"),
    Column("worker", "string", "which worker finished it"),
    Column("embedded_at", "timestamp", "UTC"),
    Column("vanished_at", "timestamp", "UTC, when `--grow` found the picture gone from SOURCE; null while it is there"),
)


@dataclass(frozen=True)
class Task:
    """A unit of the plan, handed to a worker: one image to embed, or some pictures to render.

    `index` is its place among the plan's units and fixes every key; `images` are its rows of the plan, with the columns
    of an input list under their own names; `internal`, of each image: what only this program needs, in a namespace of
    its own, so that no name in a list can mean anything here. `attempts` counts this start; `resume`: a checkpoint may
    exist.
    """

    index: int
    images: tuple[dict[str, Any], ...]
    attempts: int = 1
    resume: bool = False
    internal: tuple[dict[str, Any], ...] = ()

    @property
    def image_id(self) -> str:
        """Its (first) image."""
        return str(self.images[0]["image_id"])

    @property
    def uri(self) -> str:
        """Where its (first) image lies."""
        return str(self.images[0]["uri"])

    @property
    def after(self) -> int | None:
        """The unit that has to be done before this one is handed out; None for most."""
        return self.internal[0].get("_after") if self.internal else None


@dataclass(frozen=True)
class Finished:
    """A unit whose rows are durable in the work log; the status of each row."""

    index: int
    statuses: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What a worker says after a stretch of work.

    `finished`: since the last report; `in_flight`: updates made on each image in a slot; `waiting`: images
    that it holds but has not started; `steps`: updates made since the last report, over all images; `warnings`: lines
    for the user.
    """

    finished: tuple[Finished, ...] = ()
    in_flight: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    steps: int = 0
    warnings: tuple[str, ...] = ()
