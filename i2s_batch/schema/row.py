"""Defines a row of a table as a value: workers write it, and readers of single rows return it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TypeAlias

import numpy as np

from i2s_batch.config import TERMS
from i2s_batch.engine_registries import METRICS
from i2s_batch.schema.columns import SCHEMA_VERSION, columns_in

# What a cell of a table holds.
Cell: TypeAlias = "str | bytes | int | float | bool | datetime | np.ndarray | list[Cell] | dict[str, Cell] | None"


@dataclass(frozen=True)
class RowOrigin:
    """Holds what all rows of a run have in common.

    Attributes:
        schema_version: The version of the table's columns: that of the run, which a later program keeps.
        generator_fingerprint: sha256 of the generator, hex.
        run_id: The id of the run; None for one that began before runs had ids.
    """

    schema_version: int = SCHEMA_VERSION
    generator_fingerprint: str | None = None
    run_id: str | None = None


UNKNOWN_ORIGIN = RowOrigin()


@dataclass(frozen=True, kw_only=True)
class Row:
    """Holds one row of the latent table; the columns are described in `columns.COLUMNS`. None is null.

    Attributes:
        latent: float32 [L * w_dim].
        terms: The loss terms before their weights, by name; those of a row without a latent are missing.
        metrics: What is measured on the final image, by the name of its column.
        extra: Pass-through columns, and those that only this kind of run has. Empty in a row that a worker writes.
    """

    image_id: str
    uri: str
    status: str
    attempts: int
    space: str
    embedded_at: datetime
    folder: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    format: str | None = None
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    crop_box: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    transform: np.ndarray | None = None
    error_type: str | None = None
    error: str | None = None
    latent: np.ndarray | None = None
    z: np.ndarray | None = None
    init: str | None = None
    seed: int | None = None
    steps: int | None = None
    evaluations: int | None = None
    stop_reason: str | None = None
    loss: float | None = None
    terms: Mapping[str, float | None] = field(default_factory=dict)
    loss_prior: float | None = None
    loss_curve: np.ndarray | None = None
    loss_curve_steps: np.ndarray | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    seconds: float | None = None
    device: str | None = None
    worker: str | None = None
    generator_fingerprint: str | None = None
    run_id: str | None = None
    vanished_at: datetime | None = None
    noise_steps: int | None = None
    noise_loss: float | None = None
    noise_mse: float | None = None
    noise_psnr: float | None = None
    noise_ssim: float | None = None
    duplicate_of: str | None = None
    extra: Mapping[str, Cell] = field(default_factory=dict)

    def cells(self) -> dict[str, Cell]:
        """Return every column of `COLUMNS` by name."""
        own = {name: getattr(self, name) for name in _PLAIN}
        terms = {f"loss_{term}": self.terms.get(term) for term in TERMS}
        return own | terms | {name: self.metrics.get(name) for name in METRICS.names}

    @classmethod
    def of_cells(cls, cells: Mapping[str, Cell], version: int = SCHEMA_VERSION) -> Row:
        """Return the row that has these cells, in a table of a schema version.

        Columns that an earlier version lacked are None; an extra column that has the name of one stays extra.

        Raises:
            KeyError: A column without which nothing is a row is missing.
        """
        known = {column.name for column in columns_in(version)}
        plain = {name: cells[name] for name in _PLAIN if name in known and (name in cells or name in _REQUIRED)}
        for name in _ARRAYS & plain.keys():
            plain[name] = None if plain[name] is None else np.asarray(plain[name], _ARRAY_TYPES[name])
        return cls(
            **plain,  # type: ignore[arg-type]  # Parquet's types are those of the schema, which was checked
            terms={term: cells.get(f"loss_{term}") for term in TERMS},  # type: ignore[misc]
            metrics={name: cells.get(name) for name in METRICS.names},  # type: ignore[misc]
            extra={name: value for name, value in cells.items() if name not in known},
        )


_PLAIN = tuple(each.name for each in fields(Row) if each.name not in ("terms", "metrics", "extra"))
_REQUIRED = frozenset({"image_id", "uri", "status", "attempts", "space", "embedded_at"})
_ARRAY_TYPES = {
    "latent": np.float32, "z": np.float32, "loss_curve": np.float32, "loss_curve_steps": np.int32,
    "crop_box": np.float32, "landmarks": np.float32, "transform": np.float32,
}  # fmt: skip
_ARRAYS = frozenset(_ARRAY_TYPES)
