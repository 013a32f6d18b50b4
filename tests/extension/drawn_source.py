"""A kind of SOURCE of another program: `drawn:FOLDER:COUNT` draws so many images into a folder and lists them."""

from __future__ import annotations

from pathlib import Path

from i2s_batch.parquet.sorted_rows import SpilledRows
from i2s_batch.sources.apart import Output
from i2s_batch.sources.items import sorted_images
from i2s_batch.sources.options import SourceOptions
from i2s_batch.sources.registered import SourceKind
from tests.material import scene


def drawn(source: str, out: Output, options: SourceOptions, /) -> SpilledRows | None:
    if not source.startswith("drawn:"):
        return None
    _, folder, count = source.split(":")
    names = [f"{number:02d}.png" for number in range(int(count))]
    for number, name in enumerate(names):
        scene(number, (40, 40)).save(Path(folder) / name)
    return sorted_images((name, str(Path(folder) / name)) for name in names)


DRAWN = SourceKind("drawn", "Images that are drawn when they are listed.", "tests.extension.drawn_source:drawn")
