"""Writes the images of an edit's plan as columns of the plan's file, and reads them back for a worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import pyarrow as pa

from i2s_batch.editing.recipes import Recipe
from i2s_batch.editing.units import EditImage
from i2s_batch.errors import StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import EDIT_INTERNAL
from i2s_batch.schema.row import Cell
from i2s_batch.schema.settings import load
from i2s_batch.table.latent_reader import LOCATION, LatentLocation

FILE = "image_file"  # the column of the images' files, as keys under the output
# The columns of a recipe and of its sequence, which the table has too, beside those of `schema.columns.COLUMNS`.
RECIPE = pa.schema(
    [
        ("operation", pa.string()),
        ("parents", pa.list_(pa.string())),
        ("strength", pa.float64()),
        ("layers", pa.list_(pa.int32())),
        ("threshold", pa.float64()),
        ("normalise", pa.bool_()),
        ("sequence", pa.string()),
        ("frame", pa.int32()),
        (FILE, pa.string()),
    ]
)
# The locations of the parents' latents; only the plan's file has this column.
(LOCATIONS,) = EDIT_INTERNAL
# What latents without parents are drawn from, in the plans of samples alone; the table has it as `seed`.
SEED = "_seed"
PLANNED = pa.schema([("image_id", pa.string()), ("uri", pa.string()), *RECIPE, (LOCATIONS, pa.list_(LOCATION))])


@dataclass(frozen=True)
class PlannedImage:
    """Holds an image of the plan, and which frame of which sequence it is; both None for a single image."""

    image: EditImage
    sequence: str | None
    frame: int | None


def to_table(planned: Sequence[PlannedImage]) -> pa.Table:
    """Return images as rows of the plan's file, by the columns of `PLANNED`."""
    images = [each.image for each in planned]
    recipes = [image.recipe for image in images]
    columns = {
        "image_id": [image.image_id for image in images],
        "uri": [image.uri for image in images],
        "operation": [recipe.operation for recipe in recipes],
        "parents": [recipe.parents for recipe in recipes],
        "strength": [recipe.strength for recipe in recipes],
        "layers": [recipe.layers for recipe in recipes],
        "threshold": [recipe.threshold for recipe in recipes],
        "normalise": [recipe.normalise for recipe in recipes],
        "sequence": [each.sequence for each in planned],
        "frame": [each.frame for each in planned],
        FILE: [image.file for image in images],
        LOCATIONS: [
            [None if location is None else location._asdict() for location in image.locations] for image in images
        ],
    }
    return pa.Table.from_pydict(columns, PLANNED)


def recipe_of(cells: Mapping[str, Cell]) -> Recipe:
    """Return the recipe in a row of an edit's table, by the columns of `RECIPE`; it was written by `to_table`."""
    return load({each.name: cells[each.name] for each in fields(Recipe)}, Recipe)


def file_of(recorded: Cell, image_id: str, uri: str) -> str:
    """Return the key of an edit's image.

    Args:
        recorded: What the column FILE holds; None in plans and tables of earlier versions, whose files follow from ids.
        image_id: The id of the image.
        uri: Where it is, which ends as its file.

    Raises:
        StorageError: What is recorded is no such key.
    """
    if recorded is None:
        return RunLayout.picture(image_id, uri.rpartition(".")[2])
    if not isinstance(recorded, str) or not RunLayout.is_picture(recorded):
        raise StorageError(
            f"{image_id!r} has {recorded!r} as its file, which is none under pictures/; run i2s-batch verify"
        )
    return recorded


def from_table(rows: pa.Table) -> Iterator[EditImage]:
    """Yield the images in rows of the plan's file."""
    names = ("image_id", "uri", "operation", "parents", "strength", "layers", "threshold", "normalise", LOCATIONS)
    seeds, files = (
        rows[name].to_pylist() if name in rows.column_names else [None] * len(rows) for name in (SEED, FILE)
    )
    for image_id, uri, operation, parents, strength, layers, threshold, normalise, stored, seed, file in zip(
        *(rows[name].to_pylist() for name in names), seeds, files, strict=True
    ):
        of_style = None if layers is None else tuple(layers)
        recipe = Recipe(operation, tuple(parents), strength, of_style, threshold, normalise)
        locations = tuple(None if one is None else LatentLocation(**one) for one in stored)
        yield EditImage(image_id, uri, file_of(file, image_id, uri), recipe, locations, seed)
