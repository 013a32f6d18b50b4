"""Registers the formats in which latents are exported, by the end of the file's name.

A new one is one file and one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from i2s_batch.registry import Declaration, Registry

# Writes the latents of the run at OUT for which an SQL condition holds into a file; returns their number.
Writer = Callable[[str, str | None, BinaryIO], int]


@dataclass(frozen=True)
class Exporter(Declaration[Writer]):
    """Declares a format, named as the end of the file's name without its dot.

    Args:
        seekable: Whether its file is written back and forth, which a pipe does not support.
    """

    seekable: bool = True


EXPORTERS: Registry[Exporter] = Registry(
    "the end of FILE",
    [
        Exporter(
            "npy", "The latents alone, float32 [N, L, w_dim].", "i2s_batch.table.export:write_npy", seekable=False
        ),
        Exporter(
            "npz", "The latents as `w`, with image_id and every column of numbers.", "i2s_batch.table.export:write_npz"
        ),
        Exporter(
            "pt",
            "The same for torch.load, weights only.",
            "i2s_batch.table.export:write_pt",
        ),
    ],
)
