"""Outputs of runs that have not ended, made of outputs of runs that have."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from i2s_batch.output.layout import RunLayout
from i2s_batch.output.ownership import find_record
from i2s_batch.output.plan import Plan
from i2s_batch.schema.codec import encode_cells, table_schema
from i2s_batch.storage import Store
from i2s_batch.table.shards import read_shard


def plan_of(store: Store) -> Plan:
    """Load the plan of an output."""
    record = find_record(store)
    assert record is not None
    return Plan.load(store, record.shard_size)


def unpublish(store: Store, shards: Iterable[int], without: Collection[str] = (), keep: bool = False) -> None:
    """Put the rows of some shards back into the work log, as before they were published.

    The images `without` lose their rows. With `keep` the shards stay, as when a driver is killed between the two.
    """
    record, plan = find_record(store), plan_of(store)
    assert record is not None
    schema = table_schema(record.generator.latent_size)
    for shard in shards:
        rows = {row["image_id"]: row for row in read_shard(store, RunLayout.shard(shard)).to_pylist()}
        for unit in plan.units_of(shard):
            ids = plan.unit_rows(unit)["image_id"].to_pylist()
            if not set(ids) & set(without):
                cells = [{name: rows[image_id][name] for name in schema.names} for image_id in ids]
                store.put(RunLayout.row(unit), encode_cells(cells, schema))
        if not keep:
            store.delete([RunLayout.shard(shard), RunLayout.checksum(shard)])


def publish(store: Store, finished: Store, shard: int) -> None:
    """Publish a shard as a driver does, with the bytes that it has in `finished`, and delete its rows in the log."""
    store.put(RunLayout.shard(shard), finished.get(RunLayout.shard(shard)))
    store.delete([RunLayout.row(unit) for unit in plan_of(store).units_of(shard)])
