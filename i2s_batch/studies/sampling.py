"""Which pictures of a dataset a study looks at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def class_of(image_id: str) -> str:
    """The class of a picture that no list names one for: its first folder, '' if it lies in none."""
    return image_id.partition("/")[0] if "/" in image_id else ""


def choose(image_ids: Sequence[str], classes: Sequence[str], count: int, seed: int) -> list[int]:
    """The places of at most `count` pictures, in ascending order: from each class as many, as far as it has them.

    Drawn by the seed and the ids alone, so that another file in the dataset changes the choice as little as can be.
    """
    ranks = [hashlib.sha256(f"{seed}\n{image_id}".encode()).digest() for image_id in image_ids]
    by_class: dict[str, list[int]] = {}
    for place in sorted(range(len(image_ids)), key=lambda place: ranks[place]):
        by_class.setdefault(classes[place], []).append(place)
    turns = [(turn, name, place) for name, places in by_class.items() for turn, place in enumerate(places)]
    return sorted(place for _, _, place in sorted(turns)[:count])
