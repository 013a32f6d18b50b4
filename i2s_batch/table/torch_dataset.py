"""Presents a run's latents as PyTorch datasets: by index, and as a stream that workers and ranks share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch
from cachetools import LRUCache
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from i2s_batch.argument_types import path_or_url
from i2s_batch.errors import ConfigError
from i2s_batch.table.arrays import is_number, stacked
from i2s_batch.table.dataset import TableFiles, open_shards
from i2s_batch.table.selection import ChosenRows, choose, read_positions

_CACHED_GROUPS = 8  # row groups in memory: 128 latents of 18 x 512 are 4.7 MB

# A row: `latent` [L, w_dim], and texts, numbers and truth values of other columns.
Item = dict[str, torch.Tensor | str | float]


class _Rows:
    """Reads rows for both datasets. Each process opens the table itself, after a fork too.

    Open files and threads do not survive a fork. Of a run in progress all of them read the shards that there were when
    the dataset was made.
    """

    def __init__(self, out: str, columns: Sequence[str], where: str | None) -> None:
        out = path_or_url("out", out)
        table = open_shards(out)
        self.chosen = choose(table, columns, where)
        self._keys = [shard.key for shard in table.shards]
        self.latent_shape = table.latent_shape
        for name in columns:
            kind = table.schema.field(name).type
            if not (is_number(kind) or pa.types.is_string(kind)):
                raise ConfigError(f"column {name!r} holds {kind}; a dataset takes columns of numbers and of texts")
        self._table: tuple[int, TableFiles] | None = None

    def table(self) -> TableFiles:
        """Return the table, opened in this process."""
        if self._table is None or self._table[0] != os.getpid():
            self._table = os.getpid(), open_shards(self.chosen.out, self._keys)
        return self._table[1]

    def __getstate__(self) -> object:
        return self.__dict__ | {"_table": None}

    def items(self, batch: pa.RecordBatch) -> Iterator[Item]:
        """Yield the rows of a batch: `latent` float32 [L, w_dim], image_id and the columns; a null is NaN or ''."""
        latents = torch.from_numpy(stacked(pa.chunked_array([batch["latent"]]))).reshape(-1, *self.latent_shape)
        names = [name for name in self.chosen.columns if name != "latent"]
        columns = [_filled(batch[name]) for name in names]
        for latent, *values in zip(latents, *columns, strict=True):
            yield {"latent": latent, **dict(zip(names, values, strict=True))}


class LatentDataset(Dataset[Item]):
    """Gives the images with status 'ok' by index, in the order of the files and of the ids in each, for `DataLoader`.

    Of a run in progress, those in the shards written so far.

    An item is a dict: `latent` float32 [L, w_dim], `image_id`, and each of `columns`, numbers (NaN for null) or texts.
    A row is read when it is asked for, with up to 127 rows around it; for tables that are too large to be shuffled like
    that, `LatentStream` reads in order. Errors as `read_latents`.

    Args:
        out: The output of a run.
        columns: Columns of the items.
        where: A condition in SQL.
    """

    def __init__(self, out: str, columns: Sequence[str] = (), where: str | None = None) -> None:
        self._rows = _Rows(out, columns, where)
        self._starts = self._rows.chosen.starts
        self._groups: LRUCache[tuple[int, int], dict[int, Item]] = LRUCache(_CACHED_GROUPS)

    def __len__(self) -> int:
        return len(self._rows.chosen)

    def __getitem__(self, index: int) -> Item:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"index {index} is out of range for {count} images")
        shard = int(np.searchsorted(self._starts, index % count, side="right")) - 1
        position = int(self._rows.chosen.positions[shard][index % count - self._starts[shard]])
        return self._group(shard, position)[position]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Return a batch; each row group is read once."""
        found = {index: self[index] for index in sorted(set(indices))}
        return [found[index] for index in indices]

    def __getstate__(self) -> object:
        return self.__dict__ | {"_groups": LRUCache(_CACHED_GROUPS)}

    def _group(self, shard: int, position: int) -> dict[int, Item]:
        """Return the chosen rows of the row group of `position`, by their positions in the shard."""
        file = self._rows.table().shards[shard]
        stops = np.cumsum(file.row_groups)
        group = int(np.searchsorted(stops, position, side="right"))
        found = self._groups.get((shard, group))
        if found is None:
            positions = self._rows.chosen.positions[shard]
            group_positions = positions[np.searchsorted(stops, positions, side="right") == group]
            batches = read_positions(file, group_positions, self._rows.chosen.columns)
            items = [item for batch in batches for item in self._rows.items(batch)]
            found = self._groups[shard, group] = dict(zip(group_positions.tolist(), items, strict=True))
        return found


class LatentStream(IterableDataset[Item]):
    """Yields the same items in order, each read once and none cached: for tables of any size.

    The rows are cut into as many runs as there are ranks times workers, whose lengths differ by at most one, so that
    each row comes exactly once.

    Args:
        out: The output of a run.
        columns: Columns of the items.
        where: A condition in SQL.
        rank: The rank of this process among those that train together; None for that of torch.distributed, if in use.
        world_size: The number of those processes; None with `rank`.
    """

    def __init__(
        self,
        out: str,
        columns: Sequence[str] = (),
        where: str | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if (rank is None) != (world_size is None):
            raise ConfigError("rank and world_size belong together; give both or neither")
        if rank is not None and world_size is not None and not 0 <= rank < world_size:
            raise ConfigError(f"rank is {rank}; it must be between 0 and world_size - 1, {world_size - 1}")
        self._rows = _Rows(out, columns, where)
        self._given_rank = (rank, world_size)

    def __iter__(self) -> Iterator[Item]:
        rank, ranks = self._ranks()
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        part = self._part(rank * workers + number, ranks * workers)
        for batch in part.batches(self._rows.table()):
            yield from self._rows.items(batch)

    def __len__(self) -> int:
        """Return the number of items of this rank, of all its workers together."""
        rank, ranks = self._ranks()
        return len(self._part(rank, ranks))

    def _ranks(self) -> tuple[int, int]:
        rank, ranks = self._given_rank
        if rank is not None and ranks is not None:
            return rank, ranks
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1

    def _part(self, number: int, parts: int) -> ChosenRows:
        count = len(self._rows.chosen)
        return self._rows.chosen.part(count * number // parts, count * (number + 1) // parts)


def _filled(column: pa.Array) -> list[str | float]:
    """Return the values of a column, with nulls filled: PyTorch's collation does not support them."""
    missing = "" if pa.types.is_string(column.type) else float("nan")
    return [missing if value is None else value for value in column.to_pylist()]
