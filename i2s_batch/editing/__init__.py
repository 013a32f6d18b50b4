"""Edits of W+ codes: pure functions on arrays, for numpy and torch alike, and what is made with them."""

from i2s_batch.editing.formulas import add_direction, crossover, expression_direction, morph
from i2s_batch.editing.recipes import ROLES, PictureSequence, Recipe
from i2s_batch.editing.requests import Expression, Job, Morph, Reenact, Render, Request, Style

__all__ = [
    "ROLES",
    "Expression",
    "Job",
    "Morph",
    "PictureSequence",
    "Recipe",
    "Reenact",
    "Render",
    "Request",
    "Style",
    "add_direction",
    "crossover",
    "expression_direction",
    "morph",
]
