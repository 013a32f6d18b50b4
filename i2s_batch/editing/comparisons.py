"""Writes photograph and reconstruction side by side, an image each, on the driver when the run has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from i2s_batch.editing.originals import Original, Originals
from i2s_batch.editing.planned_images import FILE, file_of
from i2s_batch.images.read.decoding import decode_image, encode_image
from i2s_batch.output.layout import RunLayout
from i2s_batch.plurals import counted
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.storage import Store
from i2s_batch.table.shards import read_table

_AT_ONCE = 4  # images in memory, beside their photographs


def write_comparisons(
    store: Store, tables: tuple[str, ...], picture_format: str, report: Callable[[str], None]
) -> None:
    """Write the comparisons of the run in `store` that do not exist yet; without a photograph there is none.

    Args:
        store: The output of the run.
        tables: The tables whose latents were rendered.
        picture_format: The file format of the images, and of the comparisons.
        report: Takes lines for people.
    """
    existing = {info.key for info in store.list(RunLayout.comparisons_prefix)}
    files = {file: parent for file, parent in rendered_images(store) if RunLayout.side_by_side(file) not in existing}
    if not files:
        return
    originals = Originals(tables)

    def write(file: str, original: Original | None) -> bool:
        rendered = decode_image(store.get(file))
        photograph = None if original is None else original.read(rendered.shape[0])
        if photograph is None:
            return False
        both = np.concatenate([photograph, rendered], axis=1)
        store.put(RunLayout.side_by_side(file), encode_image(both, picture_format))
        return True

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        written = sum(pool.map(write, files, map(originals.find, files.values())))
    report(f"{counted(written, 'image')} written beside {'its photograph' if written == 1 else 'their photographs'}")
    if written < len(files):
        lacking = counted(len(files) - written, "photograph is", "photographs are")
        report(f"{lacking} gone, changed or unreadable: no comparison is made of what was embedded from there")


def rendered_images(store: Store) -> Iterator[tuple[str, str]]:
    """Yield the key of each image that was made, and the id of the latent that it shows."""
    names = ("image_id", "status", "uri", "parents")
    table = read_table(store.url, [*names, FILE])  # a table of an earlier version has no such column
    files = table[FILE].to_pylist() if FILE in table.column_names else [None] * len(table)
    for image_id, status, uri, parents, file in zip(*(table[name].to_pylist() for name in names), files, strict=True):
        if status == STATUS_OK:
            yield file_of(file, image_id, uri), parents[0]
