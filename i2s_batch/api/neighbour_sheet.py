"""Draws an image and its nearest neighbours as a contact sheet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from i2s_batch.embedding.samples import load_samples
from i2s_batch.embedding.single_image import NewImage
from i2s_batch.errors import ConfigError
from i2s_batch.images.draw.contact_sheet import SheetCell, contact_sheet
from i2s_batch.models import build_generator
from i2s_batch.output.ownership import check_file
from i2s_batch.run.networks import generator_of
from i2s_batch.run.recorded import present_uris
from i2s_batch.schema.metadata import META_GENERATOR, texts_of
from i2s_batch.storage.files import written_whole
from i2s_batch.storage.urls import is_url
from i2s_batch.table.dataset import open_table
from i2s_batch.table.neighbours import Neighbour
from i2s_batch.table.shards import read_rows, recorded_settings


def check_sheet(path: str) -> None:
    """Raise an error unless a sheet can have this name.

    Raises:
        ConfigError: It is no path on this machine that ends in .png.
        RunConflictError: It is a file that a run of ours keeps to itself.
    """
    if not path.lower().endswith(".png") or is_url(path):
        raise ConfigError(f"the contact sheet is {path!r}; give a path on this machine that ends in .png")
    check_file(path)


def write_neighbour_sheet(
    out: str, query: str | NewImage, neighbours: list[Neighbour], generator: str | None, path: str
) -> str:
    """Draw `query` and its neighbours, each original beside its reconstruction, into the PNG file `path`.

    Args:
        out: The output of the run.
        query: The id of an image of the table, or an image that was embedded for this search.
        neighbours: The neighbours, nearest first.
        generator: A path or URL; None for the recorded one.
        path: The file.

    Returns:
        The reason why there are only originals, where the generator is missing; otherwise ''.
    """
    check_sheet(path)
    schema = open_table(out, quiet=True).schema
    texts = texts_of(schema.metadata)
    weights, why_none = generator_of(out, texts.get(META_GENERATOR, ""), generator)
    network = None if weights is None else build_generator(weights)
    shown = [] if isinstance(query, NewImage) else [Neighbour(query, 0.0)]
    shown += neighbours
    rows = read_rows(out, [one.image_id for one in shown])
    samples = load_samples(rows, network, recorded_settings(schema, out).run.fit, present_uris(out))
    cells = [
        replace(sample.cell, note=f"distance {one.distance:.4g}") for sample, one in zip(samples, shown, strict=True)
    ]
    if isinstance(query, NewImage):
        note = "embedded for this search"
        cells.insert(0, SheetCell(query.original, query.reconstruction, query.image_id, note))
    name = query.image_id if isinstance(query, NewImage) else query
    with written_whole(Path(path), seekable=True) as file:
        file.write(contact_sheet(cells, f"Nearest to {name}"))
    return why_none
