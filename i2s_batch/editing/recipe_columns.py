"""The columns in which the plan and the table of an edit hold recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from i2s_batch.editing.recipes import Recipe


def recipe_of(row: Mapping[str, Any]) -> Recipe:
    """Return the recipe in a row of an edit's plan or table, by the columns of `RECIPE`."""
    layers = row["layers"]
    return Recipe(
        row["operation"],
        tuple(row["parents"]),
        row["strength"],
        None if layers is None else tuple(layers),
        row["threshold"],
        row["normalise"],
    )
