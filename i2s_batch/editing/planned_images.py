"""Writes the images of an edit's plan as columns of the plan's file, and reads them back for a worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import pyarrow as pa

from i2s_batch.editing.recipes import Recipe
from i2s_batch.editing.units import EditImage
from i2s_batch.output.plan import EDIT_INTERNAL
from i2s_batch.schema.row import Cell
from i2s_batch.schema.settings import load
from i2s_batch.table.latent_reader import LOCATION, LatentLocation

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
        LOCATIONS: [
            [None if location is None else location._asdict() for location in image.locations] for image in images
        ],
    }
    return pa.Table.from_pydict(columns, PLANNED)


def recipe_of(cells: Mapping[str, Cell]) -> Recipe:
    """Return the recipe in a row of an edit's table, by the columns of `RECIPE`; it was written by `to_table`."""
    return load({each.name: cells[each.name] for each in fields(Recipe)}, Recipe)


def from_table(rows: pa.Table) -> Iterator[EditImage]:
    """Yield the images in rows of the plan's file."""
    names = ("image_id", "uri", "operation", "parents", "strength", "layers", "threshold", "normalise", LOCATIONS)
    seeds = rows[SEED].to_pylist() if SEED in rows.column_names else [None] * len(rows)
    for image_id, uri, operation, parents, strength, layers, threshold, normalise, stored, seed in zip(
        *(rows[name].to_pylist() for name in names), seeds, strict=True
    ):
        of_style = None if layers is None else tuple(layers)
        recipe = Recipe(operation, tuple(parents), strength, of_style, threshold, normalise)
        locations = tuple(None if one is None else LatentLocation(**one) for one in stored)
        yield EditImage(image_id, uri, recipe, locations, seed)
