"""Registers the formats in which latents are exported: files by the end of their name, and folders by their own.

A new one is one file and one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from i2s_batch.registry import Declaration, Registry

if TYPE_CHECKING:
    from pathlib import Path

    from i2s_batch.table.hugging_face_dataset import ImageSource

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

# Writes the latents of the run at OUT for which an SQL condition holds into an empty folder, with the images that the
# last argument returns; returns their number.
FolderWriter = Callable[[str, "str | None", "Path", "ImageSource | None"], int]

FOLDER_EXPORTERS: Registry[Declaration[FolderWriter]] = Registry(
    "format",
    [
        Declaration(
            "huggingface",
            "What Hugging Face datasets read, with a card.",
            "i2s_batch.table.hugging_face_dataset:write_dataset",
        ),
    ],
)
