"""Finds the nearest latents in W+: exactly, in one pass over the table, with a few row groups in memory at a time.

A matrix product in float32 gives each row group's distances up to a rounding error that has a bound. Rows that might
be among the nearest within that bound are computed again in float64 from the differences, so the result is that of
float64 throughout, and equal latents have the distance 0.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from i2s_batch.errors import ConfigError, StorageError
from i2s_batch.table.dataset import TableFiles, open_table
from i2s_batch.table.shards import read_rows

METRICS = ("euclidean", "cosine")
# Layers of a StyleGAN by the resolution they act at: 4 and 8; 16 and 32; from 64 up (Karras et al. 2019, section 3.1).
NAMED_LAYERS = {"coarse": (0, 4), "middle": (4, 8), "fine": (8, None)}

_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


@dataclass(frozen=True)
class Neighbour:
    """Holds an image of the table, and the distance of its latent."""

    image_id: str
    distance: float


@dataclass(frozen=True)
class Search:
    """Holds the result of a search and its cost.

    Attributes:
        neighbours: The nearest first.
        layers: The layers that were compared.
        rows: Latents that were compared.
        latent_bytes: Their bytes as float32.
        seconds: Time of the pass over the table.
    """

    neighbours: list[Neighbour]
    layers: range
    rows: int
    latent_bytes: int
    seconds: float


def layer_range(name: str, layers: int) -> range:
    """Return the layers that a name selects: `all`, `coarse`, `middle`, `fine`, a layer, or `a-b` (both included).

    `layers` is the number of layers of a latent.

    Raises:
        ConfigError: The name is another, or selects layers that do not exist.
    """
    start, stop = 0, layers
    match = _RANGE.fullmatch(name)
    if name in NAMED_LAYERS:
        start, end = NAMED_LAYERS[name]
        stop = layers if end is None else end
    elif match:
        start, stop = int(match[1]), int(match[2] or match[1]) + 1
    elif name != "all":
        raise ConfigError(f"layers is {name!r}; give all, {', '.join(NAMED_LAYERS)}, a layer, or first-last")
    if not 0 <= start < stop <= layers:
        raise ConfigError(
            f"layers {name!r} are {start} to {stop - 1}; the latents here have the layers 0 to {layers - 1}"
        )
    return range(start, stop)


def find_neighbours(
    out: str, query: str | np.ndarray, k: int = 10, layers: str = "all", metric: str = "euclidean"
) -> Search:
    """Return the `k` latents of the table at `out` that are nearest to `query`.

    Args:
        out: The output of a run.
        query: A latent, float32 [L * w_dim], or the id of an image of the table, which is itself left out.
        k: How many.
        layers: The layers that are compared; see `layer_range`.
        metric: euclidean, the norm of the difference over `layers`; or cosine, 1 - the cosine of the angle. Equal
            distances are in the order of the ids.

    Raises:
        StorageError: There is no such image, or it has no latent.
        ConfigError: An argument is out of range.
    """
    table, chosen = check_search(out, k, layers, metric)
    latent = _latent_of(table, query) if isinstance(query, str) else query
    size = table.latent_shape[0] * table.latent_shape[1]
    if latent.shape != (size,):
        raise ConfigError(f"the latent has the shape {list(latent.shape)}; those here have [{size}]")
    excluded_id = query if isinstance(query, str) else None
    nearest = _Nearest(_layers(latent[None], table, chosen)[0], k, metric)
    began, rows = time.perf_counter(), 0
    for ids, latents in _latents(table):
        rows += len(latents)
        nearest.update(ids, _layers(latents, table, chosen), excluded_id)
    found = [Neighbour(name, float(distance)) for name, distance in zip(nearest.ids, nearest.distances, strict=True)]
    seconds = time.perf_counter() - began
    return Search(found, chosen, rows, rows * size * np.dtype(np.float32).itemsize, seconds)


def check_search(out: str, k: int, layers: str, metric: str) -> tuple[TableFiles, range]:
    """Return the table at `out` and the chosen layers; raise what `find_neighbours` raises for its arguments."""
    if metric not in METRICS:
        raise ConfigError(f"metric is {metric!r}; it must be one of {', '.join(METRICS)}")
    if k < 1:
        raise ConfigError(f"k is {k}; it must be at least 1")
    table = open_table(out)
    return table, layer_range(layers, table.latent_shape[0])


def _latent_of(table: TableFiles, image_id: str) -> np.ndarray:
    (row,) = read_rows(table.url, [image_id])
    if row.latent is None:
        raise StorageError(f"{table.url!r}: {image_id!r} has no latent, its status is {row.status!r}")
    return row.latent


def _latents(table: TableFiles) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield every latent, float32 [N, L * w_dim], with its id, in parts of row groups; only rows that are ok have one.

    A part ends at a row without one: the rows between two of those are used where Arrow has put them, because leaving
    out a few rows by copying the rest takes longer than reading them.
    """
    size = table.latent_shape[0] * table.latent_shape[1]
    for shard in table.shards:
        for batch in shard.batches(columns=["image_id", "latent"], batch_readahead=4):
            ids, column = batch["image_id"].to_pylist(), batch["latent"]
            for start, stop in _runs(column.is_valid().to_numpy(zero_copy_only=False)):
                latents = column.slice(start, stop - start).flatten().to_numpy()
                yield ids[start:stop], latents.reshape(-1, size)


def _runs(chosen: np.ndarray) -> np.ndarray:
    """Return where runs of True start and stop in bool [N]: int64 [runs, 2]."""
    edges = np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8))
    return np.flatnonzero(edges).reshape(-1, 2)


def _layers(latents: np.ndarray, table: TableFiles, chosen: range) -> np.ndarray:
    """Return the chosen layers: [N, L * w_dim] -> [N, len(chosen) * w_dim]."""
    w_dim = table.latent_shape[1]
    return np.ascontiguousarray(latents[:, chosen.start * w_dim : chosen.stop * w_dim])


class _Nearest:
    """Holds the best `k` so far: `distances` float64 ascending, with their `ids`."""

    def __init__(self, query: np.ndarray, k: int, metric: str) -> None:
        self._query, self._query64, self._k, self._metric = query, query.astype(np.float64), k, metric
        self._norm = float(np.linalg.norm(self._query64))
        # A dot product of n terms in float32 has an error of about n eps |x| |y| at most; twice that, to be safe.
        self._rounding = 2 * len(query) * float(np.finfo(np.float32).eps)
        self.ids: list[str] = []
        self.distances = np.empty(0)

    def update(self, ids: list[str], latents: np.ndarray, excluded_id: str | None) -> None:
        """Take what is near among `latents`, float32 [N, n]."""
        worst = self.distances[-1] if len(self.ids) == self._k else np.inf
        near = np.flatnonzero(self._lower_bounds(latents) <= worst)
        near = near[[ids[index] != excluded_id for index in near]] if len(near) else near
        if not len(near):
            return
        names = [*self.ids, *(ids[index] for index in near)]
        distances = np.concatenate([self.distances, self._exact(latents[near])])
        order = sorted(range(len(names)), key=lambda index: (distances[index], names[index]))[: self._k]
        self.ids, self.distances = [names[index] for index in order], distances[order]

    def _lower_bounds(self, latents: np.ndarray) -> np.ndarray:
        """Return distances that the exact ones do not fall below, float64 [N]."""
        dots = (latents @ self._query).astype(np.float64)
        squares = np.einsum("ij,ij->i", latents, latents).astype(np.float64)
        norms = np.sqrt(squares)
        if self._metric == "cosine":
            return _cosine(dots, norms * self._norm) - 4 * self._rounding
        square = squares - 2 * dots + self._norm**2 - self._rounding * (norms + self._norm) ** 2
        bounds: np.ndarray = np.sqrt(np.maximum(square, 0))
        return bounds

    def _exact(self, latents: np.ndarray) -> np.ndarray:
        latents64 = latents.astype(np.float64)
        if self._metric == "cosine":
            return _cosine(latents64 @ self._query64, np.linalg.norm(latents64, axis=1) * self._norm)
        lengths: np.ndarray = np.linalg.norm(latents64 - self._query64, axis=1)
        return lengths


def _cosine(dots: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return 1 - cosine, from dot products and the products of the lengths; 1 where a latent is 0."""
    cosines: np.ndarray = np.divide(dots, lengths, out=np.zeros(len(dots)), where=lengths > 0)
    return 1 - cosines
