"""Registers the edits: a new one is a new file under `edits/` and a line here. It needs the standard library only.

    EDITS.names                          ("morph", "style", "expression", "reenact", "render")
    EDITS.get("morph").resolve()         the `Edit`; only now is its file imported
    apply_recipe(recipe, latents)        the latent of an image, by the edit that its recipe names

The name of an edit is the value of `operation` in run.json and in the table, and its command: `i2s-batch edit NAME`.
Another program adds its own with `EDITS.add`; `tests/extension/blend.py` is one. Beside its parents, an image is made
by a `Recipe`: strength, layers, threshold, normalise, which are columns of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from i2s_batch.editing.edit_options import EditOptions
from i2s_batch.editing.formulas import Latents
from i2s_batch.editing.recipes import Recipe
from i2s_batch.registry import Declaration, Registry


def _of_first_parent(recipe: Recipe) -> Sequence[float]:
    return (1.0,)


@dataclass(frozen=True)
class Edit:
    """Describes an edit.

    Attributes:
        roles: The parents of an image, in the order in which a recipe names them: the columns of an edit list.
        latent: Returns the latent of a recipe, [L, w_dim], from those of its parents; of their type and dtype.
        options: The options of its command, which make a request.
        noise_weights: Returns how much of each parent's noise maps an image gets where they are kept; by default it
            gets all of the first parent's, the image that is edited.
    """

    roles: tuple[str, ...]
    latent: Callable[[Recipe, Sequence[Latents]], Latents]
    options: type[EditOptions]
    noise_weights: Callable[[Recipe], Sequence[float]] = _of_first_parent


_HERE = "i2s_batch.editing.edits"
EDITS: Registry[Declaration[Edit]] = Registry(
    "edit",
    (
        Declaration("morph", "Morph between images along straight lines in W+.", f"{_HERE}.morph:MORPH"),
        Declaration("style", "Transfer style: the finer layers come from another image.", f"{_HERE}.style:STYLE"),
        Declaration(
            "expression",
            "Transfer an expression from one face to others.",
            f"{_HERE}.expression:EXPRESSION",
        ),
        Declaration(
            "reenact",
            "Animate a face with the expressions of a video.",
            f"{_HERE}.reenact:REENACT",
        ),
        Declaration(
            "render",
            "Render latents as the generator draws them.",
            f"{_HERE}.render:RENDER",
        ),
    ),
)


def apply_recipe(recipe: Recipe, latents: Sequence[Latents]) -> Latents:
    """Return the latent of a recipe, [L, w_dim], from those of its parents; of the parents' type and dtype.

    Raises:
        ConfigError: No edit of that name is registered in this process, or the latents do not fit each other.
    """
    return EDITS.get(recipe.operation).resolve().latent(recipe, latents)
