"""How one picture is made from codes, and the sequences in which such pictures belong together."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from i2s_batch.editing.formulas import NORM_THRESHOLD, Codes, add_direction, crossover, expression_direction, morph

MORPH, STYLE, EXPRESSION, REENACT, RENDER = "morph", "style", "expression", "reenact", "render"

# What the parents of each operation are, in the order in which a recipe names them.
ROLES: dict[str, tuple[str, ...]] = {
    MORPH: ("from", "to"),
    STYLE: ("content", "style"),
    EXPRESSION: ("content", "neutral", "expressive"),
    REENACT: ("target", "neutral", "frame"),
    RENDER: ("content",),
}

_UNSAFE = re.compile(r"[^A-Za-z0-9]+")
_SLUG_LETTERS = 24  # of each parent's name
_HASH_LETTERS = 16  # 64 bits: among ten million names, two alike once in 370,000 runs


@dataclass(frozen=True)
class Recipe:
    """One picture: an operation on the codes of its parents, which are image ids in the order of `ROLES`.

    `strength`: of a morph 0 is the first parent and 1 the second; of an expression it multiplies the direction.
    `layers` of a style are those that come from the style. `threshold`, `normalise`: of an expression's
    direction (`latents.expression_direction`). None where an operation has no such thing.
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

    def apply(self, codes: Sequence[Codes]) -> Codes:
        """The code of the picture, [L, w_dim], from those of its parents; of the parents' kind and dtype."""
        if self.operation == RENDER:
            return codes[0]
        if self.operation == MORPH:
            return morph(codes[1], codes[0], self.strength)
        if self.operation == STYLE:
            return crossover(codes[0], codes[1], layers=self.layers or ())
        threshold = NORM_THRESHOLD if self.threshold is None else self.threshold
        direction = expression_direction(codes[1], codes[2], threshold, bool(self.normalise))
        return add_direction(codes[0], direction, self.strength)


@dataclass(frozen=True)
class PictureSequence:
    """Pictures that belong together, in order: the frames of a morph, of a growing smile, of a film."""

    recipes: tuple[Recipe, ...]

    @property
    def name(self) -> str:
        """A file name for it: readable, safe on every system, and another for every other sequence."""
        first, last = self.recipes[0], self.recipes[-1]
        named = dict.fromkeys([*first.parents[:1], *last.parents[-1:]]) if first.operation != REENACT else first.parents
        content = json.dumps([asdict(recipe) for recipe in self.recipes], sort_keys=True)
        digest = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()
        return "-".join([*filter(None, map(_slug, named)), digest[:_HASH_LETTERS]])

    def pictures(self) -> Iterator[tuple[str, int, Recipe]]:
        """The id of each picture, its place in the sequence, and its recipe."""
        name = self.name
        for place, recipe in enumerate(self.recipes):
            yield (name if len(self.recipes) == 1 else f"{name}/{place:05d}"), place, recipe


def _slug(image_id: str) -> str:
    stem = image_id.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return _UNSAFE.sub("_", stem)[:_SLUG_LETTERS].strip("_")
