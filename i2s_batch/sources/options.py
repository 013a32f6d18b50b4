"""Holds what the user asks of SOURCE beside its name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceOptions:
    """Holds how SOURCE is to be read, and which of its images are meant.

    `path_column`: the column of a list that holds the paths; None for the first with a usual name. `image_column`: the
    column of Parquet files that holds images; None for the one that can be meant. `include` and
    `exclude`: patterns, whatever the case, of names, or of image ids if they hold a '/'; none includes everything.
    `limit`: how many images there are at most, the first by their ids.
    """

    path_column: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    image_column: str | None = None


AS_USUAL = SourceOptions()
