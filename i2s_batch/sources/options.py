"""What the user says about SOURCE beside its name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceOptions:
    """Holds how SOURCE is to be read.

    `path_column`: the column of a list that holds the paths; None for the first with a usual name.
    """

    path_column: str | None = None


AS_USUAL = SourceOptions()
