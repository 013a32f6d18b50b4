"""A run's codes as PyTorch datasets: by index, and as a stream that workers and ranks share out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch
from cachetools import LRUCache
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from i2s_batch.errors import ConfigError
from i2s_batch.table.arrays import is_number, stacked
from i2s_batch.table.dataset import TableFiles, open_table
from i2s_batch.table.selection import ChosenRows, open_chosen, read_positions

_KEPT_GROUPS = 8  # row groups in memory: 128 codes of 18 x 512 are 4.7 MB

# A row: `latent` [L, w_dim], and texts, numbers and truth values of other columns.
Item = dict[str, torch.Tensor | str | float]


class _Rows:
    """What both datasets are made of. The table is opened anew in each process, after a fork too: open files and
    threads do not come along."""

    def __init__(self, out: str, columns: Sequence[str], where: str | None) -> None:
        table, self.chosen = open_chosen(out, columns, where)
        self.latent_shape = table.latent_shape
        for name in columns:
            kind = table.schema.field(name).type
            if not (is_number(kind) or pa.types.is_string(kind)):
                raise ConfigError(f"column {name!r} holds {kind}; a dataset takes columns of numbers and of texts")
        self._table: tuple[int, TableFiles] | None = None

    def table(self) -> TableFiles:
        """The table, open in this process."""
        if self._table is None or self._table[0] != os.getpid():
            self._table = os.getpid(), open_table(self.chosen.out)
        return self._table[1]

    def __getstate__(self) -> object:
        return self.__dict__ | {"_table": None}

    def items(self, batch: pa.RecordBatch) -> Iterator[Item]:
        """The rows of a batch: `latent` float32 [L, w_dim], image_id and the columns; a null is NaN or ''."""
        latents = torch.from_numpy(stacked(pa.chunked_array([batch["latent"]]))).reshape(-1, *self.latent_shape)
        names = [name for name in self.chosen.columns if name != "latent"]
        columns = [_filled(batch[name]) for name in names]
        for latent, *values in zip(latents, *columns, strict=True):
            yield {"latent": latent, **dict(zip(names, values, strict=True))}


class LatentDataset(Dataset[Item]):
    """The pictures with status 'ok' by their number, in the order of the files and of the ids in each, for
    `DataLoader` and its samplers.

    An item is a dict: `latent` float32 [L, w_dim], `image_id`, and each of `columns`, numbers (NaN for null) or
    texts. `where`: a condition in SQL. A row is read when it is asked for, with the 127 beside it; for tables that
    are too large to be shuffled so, `LatentStream` reads in order. Errors as `read_latents`.
    """

    def __init__(self, out: str, columns: Sequence[str] = (), where: str | None = None) -> None:
        self._rows = _Rows(out, columns, where)
        self._starts = self._rows.chosen.starts
        self._groups: LRUCache[tuple[int, int], dict[int, Item]] = LRUCache(_KEPT_GROUPS)

    def __len__(self) -> int:
        return len(self._rows.chosen)

    def __getitem__(self, index: int) -> Item:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"index {index} is outside of the {count} pictures")
        shard = int(np.searchsorted(self._starts, index % count, side="right")) - 1
        position = int(self._rows.chosen.positions[shard][index % count - self._starts[shard]])
        return self._group(shard, position)[position]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """A batch, with each row group read once."""
        found = {index: self[index] for index in sorted(set(indices))}
        return [found[index] for index in indices]

    def __getstate__(self) -> object:
        return self.__dict__ | {"_groups": LRUCache(_KEPT_GROUPS)}

    def _group(self, shard: int, position: int) -> dict[int, Item]:
        """The chosen rows of the row group of `position`, by their place in the shard."""
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
    """The same items in order, each read once and none kept: for tables of any size.

    The rows are cut into as many runs as there are ranks times workers, whose lengths differ by at most one, so that
    each row comes exactly once. `rank` and `world_size`: of this process among those that train together; by
    default what torch.distributed says, if it is in use.
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
        """Of this rank, all its workers together."""
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
    """Return the values of a column; PyTorch's collation knows no null."""
    missing = "" if pa.types.is_string(column.type) else float("nan")
    return [missing if value is None else value for value in column.to_pylist()]
