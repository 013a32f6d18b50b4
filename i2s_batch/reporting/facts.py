"""Gathers the figures of a run from its table alone: no work log, no run record, no generator."""

from __future__ import annotations

import glob
import json
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.engine_registries import METRICS
from i2s_batch.schema.columns import (
    NOT_FAILED,
    STATUS_NO_FACE,
    STATUS_NOT_AN_IMAGE,
    STATUS_OK,
    STATUS_TOO_SMALL,
    columns_in,
)
from i2s_batch.schema.metadata import (
    META_CODE_VERSION,
    META_GENERATOR,
    META_LATENT_SHAPE,
    META_VGG,
    texts_of,
)
from i2s_batch.schema.settings import EDIT, EMBED, TableSettings
from i2s_batch.table.shards import recorded_settings, table_of
from i2s_batch.table.snapshot import Snapshot, Unfinished, open_snapshot

_LEFT_OUT = {"latent", "z", "loss_curve", "loss_curve_steps"}  # large: not needed of every row
_LISTED = ["image_id", "uri", "status", "error", "psnr", "loss", "w_distance"]  # what the page of an image shows
PER_GROUP = 6  # images shown of the best, the worst and a random sample
EXAMPLES = 5  # failed images named for each reason
REASONS = 40  # reasons named
TIME_BINS = 48
CURVE_SHARDS = 8  # loss curves are read of so many shards, spread evenly


@dataclass(frozen=True)
class Failure:
    """Holds a reason why images failed, the number of images, and some of their ids."""

    status: str
    error_type: str
    count: int
    examples: list[tuple[str, str]]  # image_id, error


@dataclass(frozen=True)
class Share:
    """Holds what one worker did: images finished, their optimiser steps, median seconds an image."""

    worker: str
    device: str
    images: int
    steps: int
    seconds: float


@dataclass(frozen=True)
class Throughput:
    """Holds the images finished over time, and by worker.

    Attributes:
        edges: Seconds since the first image, [bins + 1].
        counts: Images between two edges, [bins].
        shares: The work of each worker.
    """

    edges: np.ndarray
    counts: np.ndarray
    shares: list[Share]


@dataclass(frozen=True)
class Curves:
    """Holds loss curves of some images.

    Attributes:
        steps: [K].
        quantiles: The 5, 25, 50, 75 and 95 % quantiles of the loss, [5, K].
        images: The number of images.
    """

    steps: np.ndarray
    quantiles: np.ndarray
    images: int


@dataclass(frozen=True)
class Facts:
    """Holds all that the report shows of a table.

    Attributes:
        failures: The reasons why images failed.
        no_images: The reasons why files are no images; they did not fail.
        no_faces: The images without a face, in a run that aligned faces, likewise.
        too_small: The images that are smaller than the run embeds, likewise.
        metrics: By name, the values of the images that have one.
        picks: Ids of the images that the page itself shows, by title.
        listed: The rows by their ids, without the latents; of rows with the same content one.
        copies: The ids of the other rows with the same content, by the id of the one that is listed.
        unfinished: What the table lacks; None if it is whole.
    """

    rows: int
    statuses: dict[str, int]
    failures: list[Failure]
    no_images: list[Failure]
    no_faces: list[Failure]
    too_small: list[Failure]
    metrics: dict[str, np.ndarray]
    curves: Curves | None
    throughput: Throughput | None
    picks: dict[str, list[str]]
    listed: pa.Table
    copies: dict[str, list[str]]
    settings: TableSettings
    fingerprints: dict[str, str]
    latent_shape: tuple[int, int]
    code_version: str
    unfinished: Unfinished | None = None

    @property
    def source(self) -> str:
        """Return where the images, or the tables of an edit, were; '' where that is not recorded."""
        source = self.settings.source
        return source if isinstance(source, str) else ", ".join(source)

    @property
    def source_name(self) -> str:
        """Return the last part of where the images were, which people know them by; several joined by ' + '."""
        source = self.settings.source
        places = source.split(" + ") if isinstance(source, str) else source  # a merged run has those of all
        return " + ".join(map(_last_part, places))

    @property
    def is_edit(self) -> bool:
        """Return True if the images were made from other latents."""
        return self.settings.run.kind == EDIT


def _last_part(place: str) -> str:
    """Return the name of a folder or file; of a pattern its folder, too."""
    folder, _, name = place.rstrip("/").rpartition("/")
    return f"{folder.rpartition('/')[2]}/{name}" if glob.has_magic(name) else name


def titles() -> dict[str, tuple[str, str]]:
    """Return the title and the explanation of each figure that the report has a chart of, by column."""
    shown = [metric for metric in METRICS if metric.reported]
    of_images, of_latents = (
        {metric.name: (metric.title or metric.name, metric.reading) for metric in shown if metric.needs_latent == needs}
        for needs in (False, True)
    )
    loss = ("Loss", "equation (1) of Image2StyleGAN at the stored latent; lower is better")
    evaluations = ("Evaluations", "forward and backward passes of an image; shown where images differ")
    return of_images | {"loss": loss} | of_latents | {"evaluations": evaluations}


def gather(out: str, seed: int = 0) -> Facts:
    """Read the table at `out`, without its latents.

    Raises:
        StorageError: There is no row.
    """
    snapshot = open_snapshot(out)
    table = table_of(snapshot, [column.name for column in columns_in(1) if column.name not in _LEFT_OUT])
    done = table.filter(pc.equal(table["status"], STATUS_OK))
    settings = recorded_settings(table.schema, out)
    copies = _copies(table) if settings.run.kind == EMBED else {}
    listed = _without(table, copies)
    metadata = texts_of(table.schema.metadata)
    layers, w_dim = json.loads(metadata[META_LATENT_SHAPE])
    return Facts(
        rows=table.num_rows,
        statuses=dict(sorted(Counter(table["status"].to_pylist()).items())),
        failures=_failures(table.filter(pc.invert(pc.is_in(table["status"], pa.array(NOT_FAILED))))),
        no_images=_failures(table.filter(pc.equal(table["status"], STATUS_NOT_AN_IMAGE))),
        no_faces=_failures(table.filter(pc.equal(table["status"], STATUS_NO_FACE))),
        too_small=_failures(table.filter(pc.equal(table["status"], STATUS_TOO_SMALL))),
        metrics={name: _figures(done, name) for name in titles()},
        curves=_curves(snapshot),
        throughput=_throughput(table),
        picks=_picks(listed.filter(pc.equal(listed["status"], STATUS_OK)), seed),
        listed=listed,
        copies=copies,
        settings=settings,
        fingerprints={"generator": metadata.get(META_GENERATOR, ""), "vgg": metadata.get(META_VGG, "")},
        latent_shape=(layers, w_dim),
        code_version=metadata.get(META_CODE_VERSION, "unknown"),
        unfinished=snapshot.unfinished,
    )


def _figures(done: pa.Table, name: str) -> np.ndarray:
    """Return the values of a figure; those of the evaluations only where they differ."""
    if name != "evaluations":
        values: np.ndarray = done[name].drop_null().to_numpy()
        return values
    # As every version has made them: one for each step, and one at the end.
    evaluations: np.ndarray = done["steps"].drop_null().to_numpy() + 1
    return evaluations if len(np.unique(evaluations)) > 1 else evaluations[:0]


def _copies(table: pa.Table) -> dict[str, list[str]]:
    """Return the ids of images whose file has the same bytes as another's, by the first of them that is ok."""
    counts = pc.value_counts(table["sha256"].drop_null().combine_chunks())
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    copied = table.select(["sha256", "status", "image_id"]).filter(pc.is_in(table["sha256"], several))
    alike: dict[str, list[tuple[bool, str]]] = {}
    for sha256, status, image_id in zip(*(column.to_pylist() for column in copied.columns), strict=True):
        alike.setdefault(sha256, []).append((status != STATUS_OK, image_id))
    ranked = (sorted(group) for group in alike.values())
    return {first: [image_id for _, image_id in others] for (_, first), *others in ranked}


def _without(table: pa.Table, copies: dict[str, list[str]]) -> pa.Table:
    """Return the rows that are listed, by their ids: of those with the same content one."""
    others = pa.array([image_id for group in copies.values() for image_id in group], pa.string())
    return table.select(_LISTED).filter(pc.invert(pc.is_in(table["image_id"], others)))


def _failures(failed: pa.Table) -> list[Failure]:
    reasons = Counter(zip(failed["status"].to_pylist(), failed["error_type"].to_pylist(), strict=True))
    found = []
    for (status, error_type), count in reasons.most_common(REASONS):
        same = failed.filter(pc.and_(pc.equal(failed["status"], status), pc.equal(failed["error_type"], error_type)))
        some = same.slice(0, EXAMPLES)
        examples = list(zip(some["image_id"].to_pylist(), some["error"].to_pylist(), strict=True))
        found.append(Failure(status, error_type or "", count, examples))
    return found


def _picks(done: pa.Table, seed: int) -> dict[str, list[str]]:
    """Return the ids of the images that are shown, by title.

    A small run is shown whole, best first; a larger one by its best and worst images and a random sample.
    """
    order = pc.sort_indices(done, sort_keys=[("psnr", "descending"), ("image_id", "ascending")])
    ids = done["image_id"].take(order)
    if len(ids) <= 2 * PER_GROUP:
        return {"All images, the best first": ids.to_pylist()} if len(ids) else {}
    middle = np.random.default_rng(seed).choice(np.arange(PER_GROUP, len(ids) - PER_GROUP), _at_most(len(ids)), False)
    return {
        "Best": ids.slice(0, PER_GROUP).to_pylist(),
        "Worst": ids.slice(len(ids) - PER_GROUP).to_pylist()[::-1],
        "Random sample": ids.take(pa.array(np.sort(middle))).to_pylist(),
    }


def _at_most(images: int) -> int:
    return min(PER_GROUP, images - 2 * PER_GROUP)


def _throughput(table: pa.Table) -> Throughput | None:
    stamps = table["embedded_at"].drop_null()
    if not len(stamps):
        return None
    seconds = stamps.cast(pa.int64()).to_numpy() / 1e6
    seconds -= seconds.min()
    counts, edges = np.histogram(seconds, bins=min(TIME_BINS, max(1, len(seconds) // 2)), range=(0, seconds.max() or 1))
    by_worker = table.filter(pc.is_valid(table["worker"])).group_by(["worker", "device"], use_threads=False)
    sums = by_worker.aggregate([("image_id", "count"), ("steps", "sum"), ("seconds", "approximate_median")])
    shares = [
        Share(
            row["worker"],
            row["device"],
            row["image_id_count"],
            row["steps_sum"] or 0,  # a worker whose images all failed took none
            row["seconds_approximate_median"] or 0.0,
        )
        for row in sums.sort_by("worker").to_pylist()
    ]
    return Throughput(edges, counts, shares)


def _curves(snapshot: Snapshot) -> Curves | None:
    """Return the loss curves of images with a latent; one that ended early keeps its last loss to the end."""
    table = table_of(snapshot, ["image_id", "status", "loss_curve_steps", "loss_curve"], CURVE_SHARDS)
    rows = table.filter(pc.and_(pc.equal(table["status"], STATUS_OK), pc.is_valid(table["loss_curve"])))
    if not len(rows):
        return None
    pairs = list(zip(rows["loss_curve_steps"].to_pylist(), rows["loss_curve"].to_pylist(), strict=True))
    steps = np.array(max((at for at, _ in pairs), key=lambda at: (at[-1], len(at))))
    losses = np.array([np.interp(steps, at, curve) for at, curve in pairs])
    return Curves(steps, np.quantile(losses, (0.05, 0.25, 0.5, 0.75, 0.95), axis=0), len(pairs))
