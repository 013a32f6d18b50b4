"""Describes how one image is made from latents, and the sequences in which such images belong together."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass

_UNSAFE = re.compile(r"[^A-Za-z0-9]+")
_SLUG_CHARACTERS = 24  # of each parent's name
_HASH_CHARACTERS = 16  # 64 bits: among ten million names, two alike once in 370,000 runs


@dataclass(frozen=True)
class Recipe:
    """Describes how one image is made; each field is a column of the table.

    Attributes:
        operation: The name of a registered edit, which makes the latent (`registered.apply_recipe`).
        parents: Image ids, in the order of the edit's roles.
        strength: In a morph 0 is the first parent and 1 the second; in an expression it multiplies the direction.
        layers: The layers that come from the style.
        threshold: That of `formulas.expression_direction`; None, as the fields above, where an edit has no such thing.
        normalise: That of `formulas.expression_direction`.
    """

    operation: str
    parents: tuple[str, ...]
    strength: float | None = None
    layers: tuple[int, ...] | None = None
    threshold: float | None = None
    normalise: bool | None = None

    @property
    def description(self) -> str:
        """Return the operation, its parents and its strength in a few words, for messages."""
        strength = "" if self.strength is None else f" at strength {self.strength:g}"
        return f"{self.operation} of {', '.join(map(repr, self.parents))}{strength}"


@dataclass(frozen=True)
class ImageSequence:
    """Holds images that belong together, in order: the frames of a morph, of a growing smile, of an animation.

    Attributes:
        recipes: One for each image.
        named_after: Image ids that its name shows; None for the first parent of all and the last.
    """

    recipes: tuple[Recipe, ...]
    named_after: tuple[str, ...] | None = None

    @property
    def named(self) -> tuple[str, ...]:
        """Return the image ids that its name shows."""
        ends = (*self.recipes[0].parents[:1], *self.recipes[-1].parents[-1:])
        return tuple(dict.fromkeys(ends)) if self.named_after is None else self.named_after

    @property
    def name(self) -> str:
        """Return the id that it has in the table: safe in a path, and another for every other sequence."""
        content = json.dumps([asdict(recipe) for recipe in self.recipes], sort_keys=True)
        digest = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()
        return "-".join([*filter(None, map(_slug, self.named)), digest[:_HASH_CHARACTERS]])

    def images(self) -> Iterator[tuple[str, int, Recipe]]:
        """Yield the id of each image, its index in the sequence, and its recipe."""
        name = self.name
        for index, recipe in enumerate(self.recipes):
            yield (name if len(self.recipes) == 1 else f"{name}/{index:05d}"), index, recipe


def _slug(image_id: str) -> str:
    stem = image_id.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return _UNSAFE.sub("_", stem)[:_SLUG_CHARACTERS].strip("_")
