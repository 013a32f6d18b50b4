"""Exports a table as a folder that `datasets.load_dataset(FOLDER)` of Hugging Face reads.

    the dataset card, README                     the run's settings, the columns, how to read latents
    FOLDER/data/train-00000-of-00003.parquet     the rows with status 'ok', a file for each of the table

With images each row has a column `image` too, which `datasets` shows as one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.parquet.hugging_face import IMAGE, IMAGE_TYPE, feature_metadata
from i2s_batch.plurals import counted
from i2s_batch.schema.codec import LATENT_LEAF
from i2s_batch.schema.columns import COLUMNS
from i2s_batch.schema.settings import TableSettings
from i2s_batch.storage.files import errors_named
from i2s_batch.table.dataset import TableFiles
from i2s_batch.table.selection import ChosenRows, open_chosen, read_positions
from i2s_batch.table.shards import recorded_settings

# Returns the encoded image of each row; None where there is none.
ImageSource = Callable[[pa.RecordBatch], Sequence[bytes | None]]

_GROUP_ROWS = 32  # of a row group with images
# What says where something lies on the machines of the run is of no use to others.
_LEFT_OUT = ("uri", "worker", "image_file")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_dataset(out: str, where: str | None, folder: Path, images: ImageSource | None) -> int:
    """Write the rows of the run at `out` with status 'ok' for which `where` holds into a new folder.

    Args:
        out: The output of a run.
        where: A condition in SQL; None for all rows.
        folder: The folder, which exists and is empty.
        images: Returns the images of rows; None for a dataset without images.

    Returns:
        The number of rows.
    """
    table, chosen = open_chosen(out, None, where)
    schema = _schema(table.schema, images is not None)
    with errors_named(folder):
        (folder / "data").mkdir()
        numbers = [number for number, positions in enumerate(chosen.positions) if len(positions)]
        for index, number in enumerate(numbers):
            path = folder / "data" / f"train-{index:05d}-of-{len(numbers):05d}.parquet"
            rows = read_positions(table.shards[number], chosen.positions[number], chosen.columns)
            _write(path, schema, rows, images)
        (folder / "README.md").write_text(_card(table, chosen, schema, images is not None), encoding="utf-8")
    return len(chosen)


def _schema(table: pa.Schema, with_images: bool) -> pa.Schema:
    """Return the columns of the files: those of the table, and the image after the id."""
    kept = [pa.field(_renamed(each.name, with_images), each.type) for each in table if each.name not in _LEFT_OUT]
    if with_images:
        kept.insert(1, pa.field(IMAGE, IMAGE_TYPE))
    schema = pa.schema(kept)
    return schema.with_metadata(feature_metadata(schema))


def _renamed(name: str, with_images: bool) -> str:
    """Return the name of a column in the dataset: that of a list with the name of the images is another one there."""
    return f"list_{name}" if with_images and name == IMAGE else name


def _write(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch], images: ImageSource | None) -> None:
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    writer = pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=texts, use_byte_stream_split=[LATENT_LEAF]
    )
    with closing(writer):
        for batch in batches:
            step = len(batch) if images is None else _GROUP_ROWS
            for start in range(0, len(batch), step):
                writer.write_table(_with_images(batch.slice(start, step), schema, images))


def _with_images(batch: pa.RecordBatch, schema: pa.Schema, images: ImageSource | None) -> pa.Table:
    names = [_renamed(name, images is not None) for name in batch.schema.names]
    columns = dict(zip(names, batch.columns, strict=True))
    if images is not None:
        ids = batch["image_id"].to_pylist()
        cells = [
            None if data is None else {"bytes": data, "path": f"{image_id}.png"}
            for data, image_id in zip(images(batch), ids, strict=True)
        ]
        columns[IMAGE] = pa.array(cells, IMAGE_TYPE)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _card(table: TableFiles, chosen: ChosenRows, schema: pa.Schema, with_images: bool) -> str:
    """Return the dataset card: what Hugging Face reads between the rules, and a page for people."""
    settings, layers = recorded_settings(table.schema, table.url), table.latent_shape
    size = next((name for most, name in _SIZES if len(chosen) < most), "1M<n<10M")
    image = "an image of each, " if with_images else ""
    lines = [
        "---",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path: data/*.parquet",
        f"size_categories:\n- {size}",
        "tags:\n- gan-inversion\n- image2stylegan\n- latents",
        "---",
        "",
        f"# Latents of {counted(len(chosen), 'image')}",
        "",
        f"Latent codes in W+ of a StyleGAN generator, float32 [{layers[0]}, {layers[1]}], {image}with what was "
        "measured, made by i2s_batch (Image2StyleGAN: GAN inversion by optimisation).",
        "",
        "```python",
        "import datasets, numpy",
        'rows = datasets.load_dataset("path/of/this/folder")["train"]',
        f'latent = numpy.array(rows[0]["latent"], "float32").reshape({layers[0]}, {layers[1]})',
        "```",
        "",
        *_setting_lines(settings),
        "## Columns",
        "",
        *_column_lines(schema),
        "",
        "Images and latents are under the licences of the pictures and of the generator that they were made with.",
        "",
    ]
    return "\n".join(lines)


def _setting_lines(settings: TableSettings) -> list[str]:
    facts = {name: value for name, value in settings.run.values.items() if name not in ("source", "generator", "vgg")}
    if settings.generator is not None:
        facts |= {"generator family": settings.generator.family, "generator sha256": settings.generator.fingerprint}
    if settings.vgg is not None:
        facts["VGG-16 sha256"] = settings.vgg.fingerprint
    rows = [f"| {name} | `{json.dumps(value)}` |" for name, value in facts.items()]
    return ["## Settings of the run", "", "| setting | value |", "|---|---|", *rows, ""]


def _column_lines(schema: pa.Schema) -> list[str]:
    meanings = {column.name: column.meaning for column in COLUMNS} | {IMAGE: "the image of the latent"}
    rows = [f"| `{field.name}` | {field.type} | {meanings.get(field.name, '')} |" for field in schema]
    return ["| column | type | |", "|---|---|---|", *rows]
