"""A picture and its neighbours as a contact sheet."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from i2s_batch.embedding.samples import Sample, load_samples
from i2s_batch.embedding.single_image import NewPicture
from i2s_batch.errors import ConfigError
from i2s_batch.images.draw.contact_sheet import contact_sheet
from i2s_batch.models import build_generator
from i2s_batch.output.ownership import check_file
from i2s_batch.run.networks import generator_of
from i2s_batch.schema.codec import META_GENERATOR, META_SETTINGS
from i2s_batch.storage.files import written_whole
from i2s_batch.table.dataset import open_table
from i2s_batch.table.neighbours import Neighbour
from i2s_batch.table.shards import read_rows


@dataclass(frozen=True)
class _Near(Sample):
    distance: float = 0.0

    @property
    def caption(self) -> str:
        return f"distance {self.distance:.4g}"


@dataclass(frozen=True)
class _Query(Sample):
    @property
    def caption(self) -> str:
        return "embedded for this search"


def check_sheet(path: str) -> None:
    """Raise ConfigError unless a sheet can have this name, RunConflictError if a run of ours keeps that to itself."""
    if not path.lower().endswith(".png") or "://" in path:
        raise ConfigError(f"the contact sheet is {path!r}; give a path on this machine that ends in .png")
    check_file(path)


def write_neighbour_sheet(
    out: str, query: str | NewPicture, neighbours: list[Neighbour], generator: str | None, path: str
) -> str:
    """Draw `query`, an image of the table or a picture that was embedded for this, and its neighbours, each original
    beside its reconstruction, into the PNG file `path`.

    `generator`: a path or URL, None for the recorded one. Without any the originals stand alone, and the answer says
    why; it is empty otherwise.
    """
    check_sheet(path)
    schema = open_table(out).schema
    weights, why_none = generator_of(out, schema.metadata[META_GENERATOR.encode()].decode(), generator)
    fit = json.loads(schema.metadata[META_SETTINGS.encode()]).get("fit", "crop")
    network = None if weights is None else build_generator(weights)
    shown = [] if isinstance(query, NewPicture) else [Neighbour(query, 0.0)]
    shown += neighbours
    rows = read_rows(out, [one.image_id for one in shown])
    samples: list[Sample] = [
        _Near(sample.row, sample.original, sample.reconstruction, sample.missing, one.distance)
        for sample, one in zip(load_samples(rows, network, fit), shown, strict=True)
    ]
    if isinstance(query, NewPicture):
        samples.insert(0, _Query({"image_id": query.image_id, "error": None}, query.original, query.reconstruction))
    name = query.image_id if isinstance(query, NewPicture) else query
    with written_whole(Path(path), seekable=True) as file:
        file.write(contact_sheet(samples, f"Nearest to {name}"))
    return why_none
