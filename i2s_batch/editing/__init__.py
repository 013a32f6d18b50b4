"""Edits latents and renders the results: morphs, style transfer, expressions.

Comes in: tables of latents, the request for an edit. Goes out: images and a table of their latents, through `run`. The
formulas are pure functions on arrays of NumPy and PyTorch alike. It never imports embedding or the command line.
"""

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
