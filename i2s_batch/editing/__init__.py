"""Edits of W+ codes: pure functions on arrays, for numpy and torch alike, and what is made with them."""

from i2s_batch.editing.edits.expression import Expression
from i2s_batch.editing.edits.morph import Morph
from i2s_batch.editing.edits.reenact import Reenact
from i2s_batch.editing.edits.render import Render
from i2s_batch.editing.edits.style import Style
from i2s_batch.editing.formulas import add_direction, crossover, expression_direction, morph
from i2s_batch.editing.recipes import ImageSequence, Recipe
from i2s_batch.editing.registered import EDITS, Edit, apply_recipe
from i2s_batch.editing.requests import ListedEdit, Request

PictureSequence = ImageSequence  # the name of earlier versions

__all__ = [
    "EDITS",
    "Edit",
    "Expression",
    "ImageSequence",
    "ListedEdit",
    "Morph",
    "PictureSequence",
    "Recipe",
    "Reenact",
    "Render",
    "Request",
    "Style",
    "add_direction",
    "apply_recipe",
    "crossover",
    "expression_direction",
    "morph",
]
