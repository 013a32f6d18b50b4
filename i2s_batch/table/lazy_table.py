"""Opens the table of a run as an object that reads what it is asked for, and nothing before.

table = open_table("latents")
len(table), table.columns, table.latent_shape
table["cats/0.png"].metrics["psnr"]                      one row, a `Row`
table.query("SELECT status, count(*) FROM latents GROUP BY 1").to_pylist()
table.latents()                                          float32 [N, L, w_dim], the rows with status 'ok'
for batch in table.batches(256, where="psnr > 22"): batch.ids, batch.latents
"""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from i2s_batch.argument_types import path_or_url, typed
from i2s_batch.errors import ConfigError, LatentError, UnknownImageError
from i2s_batch.schema.row import Row
from i2s_batch.table import dataset
from i2s_batch.table.arrays import LatentTable, batches_in, latents_in
from i2s_batch.table.dataset import TableFiles
from i2s_batch.table.shards import rows_of_ids, table_of
from i2s_batch.table.snapshot import Unfinished, open_snapshot
from i2s_batch.table.sql import run_query

_SHOWN_ROWS = 8  # in a notebook
_SHOWN_COLUMNS = ("image_id", "status", "steps", "loss", "psnr", "operation", "parents", "strength", "error")


def open_table(out: str | os.PathLike[str]) -> OpenTable:
    """Open the latent table of the run at `out`, a local path or s3://bucket/prefix.

    Of a run in progress it holds the rows finished so far, and an `UnfinishedRunWarning` says how many there are. Only
    the footers of its files are read, and the rows that are in no file yet. Raises StorageError: no such output, no
    rows yet, or a file that is damaged, foreign or of another table.
    """
    return OpenTable(path_or_url("out", out))


class OpenTable(os.PathLike[str]):
    """Reads the latent table of a run. `len` counts its rows, `in` and iteration go over image ids, in their order.

    It is a path as well, so that edit() and others take it where they take `out`. What is written to the run later is
    seen by a table that is opened later.
    """

    def __init__(self, out: str) -> None:
        self.out = out
        self._snapshot = open_snapshot(out)
        self.files: TableFiles = dataset.files_of(self._snapshot)

    def __fspath__(self) -> str:
        return self.out

    @property
    def unfinished(self) -> Unfinished | None:
        """Return how many rows there were of how many when it was opened; None if all were."""
        return self.files.unfinished

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        return tuple(self.files.schema.names)

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Return L and w_dim of a W+ latent."""
        return self.files.latent_shape

    @cached_property
    def ids(self) -> list[str]:
        """Return every image id, whatever the status of its row, in order."""
        ids: list[str] = table_of(self._snapshot, ["image_id"])["image_id"].to_pylist()
        return ids

    def __len__(self) -> int:
        return sum(sum(shard.row_groups) for shard in self.files.shards)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, image_id: object) -> bool:
        try:
            return isinstance(image_id, str) and bool(self.rows([image_id]))
        except UnknownImageError:
            return False

    def __getitem__(self, image_id: str) -> Row:
        """Return the row of an image; UnknownImageError, a KeyError, if there is none."""
        if not isinstance(image_id, str):
            raise ConfigError(f"a row is asked for by {image_id!r}; give the id of an image, such as {self.ids[0]!r}")
        return self.rows([image_id])[0]

    def rows(self, ids: Sequence[str]) -> list[Row]:
        """Return the rows of some images, all columns, in the order of `ids`; the rest of the table is not read.

        Raises UnknownImageError, a KeyError, for an id that the table does not hold.
        """
        return rows_of_ids(self._snapshot, _listed(ids))

    def latents(self, ids: Sequence[str] | None = None) -> np.ndarray:
        """Return W+ latents, float32 [N, L, w_dim]: of `ids`, in their order, or of every row with status 'ok'.

        Raises UnknownImageError for an id that the table does not hold, LatentError for a row without a latent.
        """
        if ids is None:
            return latents_in(self.files, []).latents
        stacked = np.empty((len(_listed(ids)), *self.latent_shape), np.float32)
        for index, row in enumerate(self.rows(ids)):
            if row.latent is None:
                raise LatentError(f"{row.image_id!r} has no latent: its status is {row.status} ({row.error})")
            stacked[index] = row.latent.reshape(self.latent_shape)
        return stacked

    def batches(
        self, batch_size: int = 256, columns: Sequence[str] | None = None, where: str | None = None
    ) -> Iterator[LatentTable]:
        """Yield the rows with status 'ok' with their latents, `batch_size` at a time: only they are in memory.

        Args:
            batch_size: Rows at a time; fewer at the end.
            columns: Those beside image_id and latent; None for all.
            where: A condition in SQL, such as "psnr > 22".
        """
        return batches_in(self.files, batch_size, columns, where)

    def query(self, sql: str) -> pa.Table:
        """Return what one SELECT in DuckDB's SQL gives, as an Arrow table (`.to_pylist()`, `.to_pandas()`).

        It can only read the tables `latents` and `failures`; `i2s-batch query --help` lists the functions for latents.
        Raises QueryError.
        """
        with run_query(self.files, typed("sql", sql, str)) as found:
            return pa.Table.from_batches(found.batches, found.schema)

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return every row, whatever its status: `columns`, or None for all but the latents, which `latents` gives."""
        usual = [name for name in self.columns if name != "latent"]
        names = usual if columns is None else list(typed("columns", columns, Sequence[str]))
        for name in names:
            if name not in self.columns:
                raise ConfigError(f"the table has no column {name!r}; it has {', '.join(self.columns)}")
        return table_of(self._snapshot, list(dict.fromkeys(["image_id", *names]))).select(names)

    def to_pandas(self, columns: Sequence[str] | None = None) -> Any:
        """Return every row as a pandas.DataFrame, as `to_arrow` does. Needs pandas, which this package does not."""
        try:
            return self.to_arrow(columns).to_pandas()
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"to_pandas needs a library that is not installed ({error}); pip install pandas"
            ) from error

    def __repr__(self) -> str:
        layers, w_dim = self.latent_shape
        return f"OpenTable({self.out!r}, {len(self)} rows, latents {layers} x {w_dim})"

    def _repr_html_(self) -> str:
        names = [name for name in _SHOWN_COLUMNS if name in self.columns]
        shown = self.query(f"SELECT {', '.join(names)} FROM latents ORDER BY image_id LIMIT {_SHOWN_ROWS}")
        lines = [("th", names), *(("td", [_cell(row[name]) for name in names]) for row in shown.to_pylist())]
        rows = "".join(
            f"<tr>{''.join(f'<{kind}>{html.escape(cell)}</{kind}>' for cell in line)}</tr>" for kind, line in lines
        )
        return f"<p><code>{html.escape(repr(self))}</code></p><table>{rows}</table>"


def _listed(ids: Sequence[str]) -> Sequence[str]:
    listed: Sequence[str] = typed("ids", ids, Sequence[str])
    return listed


def _cell(value: object) -> str:
    """Return a value in a few characters."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
