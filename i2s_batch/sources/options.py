"""Holds what the user asks of SOURCE beside its name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceOptions:
    """Holds how SOURCE is to be read, and which of its images are meant.

    `path_column`: the column of a list that holds the paths; None for the first with a usual name. `image_column`: the
    column of Parquet files that holds images; None for the one that can be meant. `include` and
    `exclude`: patterns, whatever the case, of names, or of image ids if they hold a '/'; none includes everything.
    `where`: a condition in SQL on image_id, uri and the columns of a list or archive. `limit`: how many images there
    are at most, the first by their ids. `sample`: how many there are at most, drawn at random by `seed` and
    the ids alone, so that a larger sample holds every smaller one of the same seed.
    """

    path_column: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    image_column: str | None = None
    where: str | None = None
    sample: int | None = None
    seed: int = 0

    @property
    def most(self) -> int | None:
        """Return how many images there are at most; None for any number."""
        return self.limit if self.sample is None else self.sample


AS_USUAL = SourceOptions()
