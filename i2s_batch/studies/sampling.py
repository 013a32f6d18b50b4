"""Chooses the images of a dataset that a study looks at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def class_of(image_id: str) -> str:
    """Return the class of an image that no list names one for: its first folder, '' if it lies in none."""
    return image_id.partition("/")[0] if "/" in image_id else ""


def choose(image_ids: Sequence[str], classes: Sequence[str], count: int, seed: int) -> list[int]:
    """Return the indices of at most `count` images, in ascending order: as many of each class, as far as it has them.

    Drawn by the seed and the ids alone, so that another file in the dataset changes the choice as little as can be.
    """
    ranks = [hashlib.sha256(f"{seed}\n{image_id}".encode()).digest() for image_id in image_ids]
    by_class: dict[str, list[int]] = {}
    for index in sorted(range(len(image_ids)), key=lambda index: ranks[index]):
        by_class.setdefault(classes[index], []).append(index)
    turns = [(turn, name, index) for name, indices in by_class.items() for turn, index in enumerate(indices)]
    return sorted(index for _, _, index in sorted(turns)[:count])
