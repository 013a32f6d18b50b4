"""Brings rows of earlier schema versions to the columns of this one, as far as what is recorded tells them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.images.resize import used_box
from i2s_batch.output.run_record import RunRecord
from i2s_batch.schema.codec import table_schema
from i2s_batch.schema.columns import columns_in, folder_of
from i2s_batch.schema.metadata import schema_version_of
from i2s_batch.sources.list_rows import names_in_new_table
from i2s_batch.table.shards import latent_shape


def upgraded(rows: pa.Table, record: RunRecord, prefix: str = "") -> pa.Table:
    """Return rows of a shard with the columns of this version, without metadata.

    New columns are filled where the row and run.json tell their values, and null elsewhere. An extra column that has
    the name of a new one is renamed, as it would be in a new run.

    Args:
        rows: Rows of one shard, with its metadata.
        record: The run.json of its run.
        prefix: Is put in front of every id.
    """
    layers, w_dim = latent_shape(rows.schema)
    version = schema_version_of(rows.schema.metadata)
    known = [column.name for column in columns_in(version)]
    extra = [name for name in rows.column_names if name not in known]
    wanted = table_schema(layers * w_dim)
    ids = [prefix + image_id for image_id in rows["image_id"].to_pylist()]
    values = {name: rows[name] for name in known}
    values["image_id"] = pa.array(ids, pa.string())
    values["folder"] = pa.array(list(map(folder_of, ids)), pa.string())
    for name in {"generator_fingerprint", "run_id"} - set(known):
        values[name] = pa.repeat(pa.scalar(getattr(record.row_origin, name), pa.string()), len(rows))
    if "crop_box" not in known:
        values["crop_box"] = pa.array(_boxes(rows, record.settings.fit), wanted.field("crop_box").type)
    if "evaluations" not in known:  # those versions made one more than steps
        values["evaluations"] = pc.cast(pc.add(rows["steps"], 1), wanted.field("evaluations").type)
    columns = [values.get(field.name, pa.nulls(len(rows), field.type)) for field in wanted]
    table = pa.table(columns, schema=wanted)
    for name, new_name in zip(extra, names_in_new_table(extra), strict=True):
        table = table.append_column(rows.schema.field(name).with_name(new_name), rows[name])
    return table


def _boxes(rows: pa.Table, fit: str) -> list[tuple[float, ...] | None]:
    sizes = zip(rows["width"].to_pylist(), rows["height"].to_pylist(), strict=True)
    return [None if width is None else used_box(width, height, fit) for width, height in sizes]
