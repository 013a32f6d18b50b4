"""A kind of SOURCE of another program: `drawn:FOLDER:COUNT` draws so many images into a folder and lists them."""

from __future__ import annotations

from pathlib import Path

from i2s_batch.parquet.sorted_rows import SpilledRows
from i2s_batch.sources.apart import Output
from i2s_batch.sources.items import sorted_images
from i2s_batch.sources.options import SourceOptions
from i2s_batch.sources.registered import SourceKind


def drawn(source: str, out: Output, options: SourceOptions, /) -> SpilledRows | None:
    """Return the images of SOURCE, (image_id, uri) each; None if it is no SOURCE of this kind."""
    if not source.startswith("drawn:"):
        return None
    _, folder, count = source.split(":")
    names = [f"{number:02d}.ppm" for number in range(int(count))]
    for number, name in enumerate(names):
        pixels = bytes((5 * x + 30 * number + channel) % 256 for x in range(40) for channel in (0, 60, 120))
        (Path(folder) / name).write_bytes(b"P6 40 40 255\n" + 40 * pixels)
    return sorted_images((name, str(Path(folder) / name)) for name in names)


DRAWN = SourceKind("drawn", "Images that are drawn when they are listed.", "tests.extension.drawn_source:drawn")
