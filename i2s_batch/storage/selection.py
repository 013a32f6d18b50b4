"""Images of latent tables chosen by a condition in SQL."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.errors import ConfigError
from i2s_batch.records import STATUS_OK
from i2s_batch.storage.objects import open_store
from i2s_batch.storage.read import existing_shards, open_shard

# Nothing but the table is to be had: no files, no settings, none of Python's variables.
_SEALED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "lock_configuration": True,
    "python_enable_replacements": False,
}


def select_images(outs: Sequence[str], where: str) -> list[str]:
    """The ids of the images with a code for which `where` holds, an SQL condition on the columns of single values,
    in the order of the tables. Raises ConfigError, with what DuckDB says of it."""
    chosen: list[str] = []
    with duckdb.connect(config=_SEALED) as connection:
        for out in outs:
            store = open_store(out)
            for key in existing_shards(store):
                with open_shard(store, key, whole=False) as file:
                    rows = file.read(_single_values(file))
                try:
                    relation = connection.from_arrow(rows).filter(f"({where}) AND status = '{STATUS_OK}'")
                    chosen += relation.project("image_id").to_arrow_table()["image_id"].to_pylist()
                except duckdb.Error as error:
                    reason = " ".join(str(error).split())
                    raise ConfigError(f"{store.url}: the condition {where!r} cannot be used: {reason}") from error
    return chosen


def _single_values(file: pq.ParquetFile) -> list[str]:
    return [field.name for field in file.schema_arrow if not pa.types.is_nested(field.type)]
