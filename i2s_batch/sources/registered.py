"""Registers the kinds of SOURCE in the order in which they are tried. A new kind is one file and one line here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from i2s_batch.registry import Declaration, Registry

if TYPE_CHECKING:  # whoever lists the kinds needs no pyarrow
    from i2s_batch.parquet.sorted_rows import SpilledRows
    from i2s_batch.sources.apart import Output
    from i2s_batch.sources.options import SourceOptions


class Lister(Protocol):
    """Lists the images of a SOURCE."""

    def __call__(self, source: str, out: Output, options: SourceOptions, /) -> SpilledRows | None:
        """Return the images of a SOURCE, sorted by image_id, without what lies in `out`; None for another kind.

        The columns are `image_id`, `uri` and those that are passed through.
        """


@dataclass(frozen=True)
class SourceKind(Declaration[Lister]):
    """Declares a kind of SOURCE; `may_hold_outputs`: outputs of earlier runs may lie among its files."""

    may_hold_outputs: bool = False


SOURCES: Registry[SourceKind] = Registry(
    "source",
    [
        SourceKind(
            "list",
            "A list: .txt, .csv, .tsv, .json, .jsonl, .parquet, or a folder of .parquet files.",
            "i2s_batch.sources.listed:listed",
        ),
        SourceKind("prefix", "Objects below a prefix of a store.", "i2s_batch.sources.prefix:below_prefix", True),
        SourceKind(
            "files", "A folder, a pattern or an image of this machine.", "i2s_batch.sources.local_files:files", True
        ),
    ],
)
