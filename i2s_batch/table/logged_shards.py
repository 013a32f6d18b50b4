"""Makes the shards that a run has not published yet, of the rows that its work log holds for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby

import pyarrow as pa

from i2s_batch.output.layout import RunLayout
from i2s_batch.output.logged_rows import planned_rows, with_planned_columns
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_record import RunRecord
from i2s_batch.output.work_log import RowsDamagedError, WorkLog
from i2s_batch.schema.codec import encode_shard
from i2s_batch.storage import Store

_NAMED = 5  # damaged files that are named


class LoggedShards:
    """Reads the work log of a run.

    Attributes:
        rows: How many rows the shards have that were made.
    """

    def __init__(self, store: Store, record: RunRecord, plan: Plan) -> None:
        self._plan, self._metadata = plan, record.table_metadata()
        self._log = WorkLog(store.url, record.generator.latent_size, record.row_origin)
        self._damaged: dict[int, str] = {}
        self.rows = 0

    def shards(self, logged: Iterable[int], published: Collection[int]) -> dict[str, bytes]:
        """Return Parquet by the keys of the shards, with the rows there are for each.

        Args:
            logged: The units whose rows are in the log, ascending.
            published: The shards that are in the table, which need none.

        Raises:
            RowsGoneError: Rows were deleted meanwhile, because their shard was published.
        """
        made: dict[str, bytes] = {}
        for shard, units in groupby((unit for unit in logged if unit < self._plan.units), self._plan.shard_of):
            rows = None if shard in published else self._rows(list(units))
            if rows is not None:
                self.rows += rows.num_rows
                made[RunLayout.shard(shard)] = encode_shard(rows, self._metadata)
        return made

    def _rows(self, units: list[int]) -> pa.Table | None:
        """Return the logged rows of some units of a shard with the columns of the table; None if all are damaged."""
        while units:
            try:
                rows = planned_rows(self._log, self._plan, units)
            except RowsDamagedError as error:
                self._damaged |= error.reasons
                units = [unit for unit in units if unit not in error.reasons]
                continue
            images = pa.concat_tables([self._plan.unit_rows(unit) for unit in units])
            return with_planned_columns(rows, images.select(self._plan.table_columns))
        return None

    def damaged_lines(self) -> Iterator[str]:
        """Yield a line for each damaged file; of many, the first, and how many more there are."""
        for unit, reason in list(self._damaged.items())[:_NAMED]:
            images = self._plan.unit_range(unit)
            others = f" and {len(images) - 1} more images are" if len(images) > 1 else " is"
            yield f"{reason}; {self._plan.image_id(images[0])!r}{others} left out until the run computes it again"
        if len(self._damaged) > _NAMED:
            yield f"{len(self._damaged) - _NAMED} more files of the work log are damaged; their images are left out"
