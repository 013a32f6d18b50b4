"""Writes synthetic runs: plans, tables and work logs of any length, with random figures and latents.

Random floats are the worst case of every codec. Every hundredth image is unreadable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from i2s_batch.config import TERMS, EmbedRunConfig
from i2s_batch.embedding.rows import curve_steps
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import Plan
from i2s_batch.output.publication import Checksum
from i2s_batch.output.run_record import CHECKSUMS, RunRecord
from i2s_batch.schema.codec import encode_shard, table_schema
from i2s_batch.schema.columns import STATUS_OK, STATUS_UNREADABLE, folder_of
from i2s_batch.schema.settings import GeneratorRecord, RunSettings, VGGRecord
from i2s_batch.sources.items import sorted_images
from i2s_batch.storage import open_store

SHARD_ROWS = 1000
STEPS = 1000
_BAD_EVERY = 100
GENERATOR = "0" * 64  # its fingerprint


def items(rows: int) -> Iterator[tuple[str, str]]:
    """Yield (image_id, uri) of each image, in the order of the ids."""
    for number in range(rows):
        image_id = f"{number // 1000:05d}/{number:08d}.png"
        yield image_id, f"s3://bucket/pictures/{image_id}"


def write_plan(out: str, rows: int) -> None:
    """Write the frozen plan of `rows` images."""
    Plan(sorted_images(items(rows)), SHARD_ROWS).save(open_store(out))


def record(shape: tuple[int, int]) -> RunRecord:
    """Return the record of such a run, whose latents are [L, w_dim]; its networks do not exist."""
    return RunRecord(
        source="s3://bucket/pictures",
        settings=RunSettings.of(EmbedRunConfig(shard_size=SHARD_ROWS).identity()),
        generator=GeneratorRecord(GENERATOR, "stylegan2", "synthetic", shape),
        vgg=VGGRecord("1" * 64, "synthetic"),
        created_at="2026-01-01T00:00:00+00:00",
        checksums=CHECKSUMS,
        code_version="bench",
    )


def write_run(out: str, rows: int, shape: tuple[int, int], light: bool = False) -> None:
    """Write a finished run: plan, run.json, shards and summary.json.

    Args:
        out: The output.
        rows: The number of images.
        shape: Of a latent, [L, w_dim].
        light: Leaves out latents, curves and figures, and writes the same rows into every shard, for what reads no id.
    """
    store, run_record = open_store(out), record(shape)
    write_plan(out, rows)
    plan, metadata = Plan.load(store, SHARD_ROWS), run_record.table_metadata()
    stream = np.random.default_rng(0)
    data = b""
    for shard in range(plan.shards):
        if not (light and data):
            data = encode_shard(shard_rows(plan, shard, shape, stream, light), metadata)
        store.put(RunLayout.shard(shard), data)
        if not light:
            store.put(RunLayout.checksum(shard), Checksum.of(data).record)
    store.put(RunLayout.run_json, run_record.encode())
    store.put(RunLayout.summary, json.dumps({"finished": True}).encode())


def shard_rows(
    plan: Plan, shard: int, shape: tuple[int, int], stream: np.random.Generator, light: bool = False
) -> pa.Table:
    """Return the rows of a shard of the plan."""
    images, schema = plan.shard_images(shard), table_schema(shape[0] * shape[1])
    count = images.num_rows
    bad = np.arange(count) % _BAD_EVERY == _BAD_EVERY - 1
    columns = {field.name: pa.nulls(count, field.type) for field in schema}
    columns |= {name: images[name] for name in ("image_id", "uri")}
    columns["folder"] = pa.array([folder_of(image_id) for image_id in images["image_id"].to_pylist()], pa.string())
    columns["generator_fingerprint"] = pa.array([GENERATOR] * count, pa.string())
    columns["status"] = pa.array(np.where(bad, STATUS_UNREADABLE, STATUS_OK))
    for name, text in (("error_type", "PictureError"), ("error", "it is no picture")):
        columns[name] = pa.array(np.where(bad, text, ""), mask=~bad)
    columns["embedded_at"] = pa.array(np.full(count, 1_700_000_000_000_000 + shard), schema.field("embedded_at").type)
    if not light:
        columns |= _figures(schema, stream, bad)
    return pa.table(columns, schema)


def _figures(schema: pa.Schema, stream: np.random.Generator, bad: np.ndarray) -> dict[str, pa.Array]:
    """Return the columns that an embedding measures; `bad` [rows] marks the images that have none of it."""
    count, size = len(bad), schema.field("latent").type.list_size
    latents = pa.FixedSizeListArray.from_arrays(
        stream.standard_normal(count * size, np.float32), type=schema.field("latent").type, mask=pa.array(bad)
    )
    mse = stream.uniform(1, 500, count)
    figures = {"mse": mse, "psnr": 10 * np.log10(255**2 / mse), "ssim": stream.uniform(0, 1, count)}
    terms = {f"loss_{term}": stream.uniform(0, 1, count) for term in TERMS}
    figures |= terms | {"loss": np.sum(list(terms.values()), axis=0)}
    figures |= {name: stream.uniform(0, 1, count) for name in ("w_distance", "seconds")}
    steps = curve_steps(STEPS, STEPS)
    starts = pa.array(np.arange(count + 1) * len(steps), pa.int32())
    curves = {"loss_curve": stream.uniform(0, 1, count * len(steps)), "loss_curve_steps": np.tile(steps, count)}
    lists = {
        name: pa.ListArray.from_arrays(
            starts, pa.array(values, schema.field(name).type.value_type, safe=False), schema.field(name).type
        )
        for name, values in curves.items()
    }
    return {"latent": latents} | lists | {name: pa.array(values, mask=bad) for name, values in figures.items()}
