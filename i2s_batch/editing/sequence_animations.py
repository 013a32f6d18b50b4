"""Makes the animations of an edit: each sequence of images as one file, on the driver when the run has ended."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from i2s_batch.config import EditConfig
from i2s_batch.editing.planned_images import FILE, file_of
from i2s_batch.images.draw.animations import encode_animation
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.output.archives.reading import RunImages
from i2s_batch.output.layout import RunLayout
from i2s_batch.plurals import counted
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.storage import Store
from i2s_batch.table.shards import read_table

_ANIMATIONS_AT_ONCE = 2


@dataclass(frozen=True)
class _Frame:
    """Holds the key of a frame's image, its index in the sequence, and True if it was made."""

    file: str
    index: int
    ok: bool


def make_animations(
    store: Store, images: RunImages, config: EditConfig, animation: str, report: Callable[[str], None]
) -> None:
    """Make the animations of the run in `store` that do not exist yet; one with a failed frame is left out.

    Args:
        store: The output of the run.
        images: Reads its images.
        config: The settings of the run.
        animation: The file format, one of `config.ANIMATIONS`.
        report: Takes lines for people.
    """
    sequences, keys = _sequences(store, images, animation)
    existing = {info.key for info in store.list(RunLayout.animations_prefix)}
    missing = [name for name in sequences if keys[name] not in existing]
    whole = [name for name in missing if all(frame.ok for frame in sequences[name])]
    if missing:
        lacking = len(missing) - len(whole)
        left_out = f" ({lacking} {'lacks' if lacking == 1 else 'lack'} a frame)" if lacking else ""
        report(f"making {counted(len(whole), 'animation')}{left_out}")

    def make(name: str) -> None:
        frames = sorted(sequences[name], key=lambda frame: frame.index)
        encoded = encode_animation(
            lambda index: decode_image(images.get(frames[index].file)), len(frames), animation, config.frames_per_second
        )
        store.put(keys[name], encoded)

    with ThreadPoolExecutor(_ANIMATIONS_AT_ONCE) as pool:
        for _ in pool.map(make, whole):
            pass


def _sequences(store: Store, images: RunImages, animation: str) -> tuple[dict[str, list[_Frame]], dict[str, str]]:
    """Return the frames of every sequence in the table, in the order of the table, and the keys of its animation."""
    names = ("image_id", "status", "sequence", "frame", "uri")
    table = read_table(store.url, [*names, FILE])  # a table of an earlier version has no such column
    files = table[FILE].to_pylist() if FILE in table.column_names else [None] * len(table)
    sequences: dict[str, list[_Frame]] = {}
    keys: dict[str, str] = {}
    for image_id, status, sequence, index, uri, file in zip(
        *(table[name].to_pylist() for name in names), files, strict=True
    ):
        if sequence is not None:
            frame = _Frame(file_of(file, image_id, uri), index, status == STATUS_OK)
            sequences.setdefault(sequence, []).append(frame)
            by_id = RunLayout.animation(sequence, animation)
            keys[sequence] = by_id if file is None else RunLayout.animation_of(images.file_key(file), animation)
    return sequences, keys
