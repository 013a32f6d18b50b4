"""Seeds as users write them ("0-15", "1,5,9-12"), and the names of their images. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from i2s_batch.errors import ConfigError

MOST_SEEDS = 10_000_000  # images that one command makes, as of an edit
LARGEST_SEED = 2**32 - 1  # that NumPy's RandomState takes
_RANGE = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?")
_NAME = re.compile(r"seed([0-9]{4,10})")


@dataclass(frozen=True)
class Seeds:
    """Holds seeds in ascending order, each once, as the ranges that they form: ten million take no memory."""

    ranges: tuple[range, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self) <= MOST_SEEDS:
            raise ConfigError(f"{len(self)} seeds are given; give from 1 to {MOST_SEEDS}")
        last = self.ranges[-1].stop - 1
        if self.ranges[0].start < 0 or last > LARGEST_SEED:
            raise ConfigError(
                f"seeds from {self.ranges[0].start} to {last} are given; they go from 0 to {LARGEST_SEED}"
            )

    @classmethod
    def parse(cls, text: str) -> Seeds:
        """Return the seeds in a text such as "1,5,9-12". Raises ConfigError if it is none."""
        given = []
        for word in text.replace(",", " ").split():
            match = _RANGE.fullmatch(word)
            if match is None:
                raise ConfigError(f"{word!r} in {text!r} is no seed; give whole numbers and ranges, such as 1,5,9-12")
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise ConfigError(f"{word!r} in {text!r} is no range of seeds; write {last}-{first}")
            given.append(range(first, last + 1))
        return cls.of(given)

    @classmethod
    def of(cls, ranges: Iterable[range]) -> Seeds:
        """Return the seeds of some ranges, which may overlap and come in any order."""
        joined: list[range] = []
        for each in sorted((each for each in ranges if len(each)), key=lambda each: each.start):
            if joined and each.start <= joined[-1].stop:
                joined[-1] = range(joined[-1].start, max(joined[-1].stop, each.stop))
            else:
                joined.append(each)
        return cls(tuple(joined))

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    def __iter__(self) -> Iterator[int]:
        for each in self.ranges:
            yield from each

    def __contains__(self, seed: int) -> bool:
        return any(seed in each for each in self.ranges)

    def __getitem__(self, index: int) -> int:
        """Return the seed at an index from 0."""
        for each in self.ranges:
            if index < len(each):
                return each[index]
            index -= len(each)
        raise IndexError(index)

    def spread(self, count: int) -> list[int]:
        """Return at most `count` of the seeds, evenly spread, the first and the last among them."""
        if len(self) <= count:
            return list(self)
        return [self[round(i * (len(self) - 1) / (count - 1))] for i in range(count)]

    def __str__(self) -> str:
        words = (str(each.start) if len(each) == 1 else f"{each.start}-{each.stop - 1}" for each in self.ranges)
        return ",".join(words)


def image_id_of(seed: int) -> str:
    """Return the image id of a seed: the name that the generators' own programs give its file, such as seed0007."""
    return f"seed{seed:04d}"


def seed_of(image_id: str) -> int | None:
    """Return the seed whose image id this is, None for any other text."""
    match = _NAME.fullmatch(image_id)
    seed = None if match is None else int(match[1])
    return seed if seed is not None and image_id_of(seed) == image_id else None
