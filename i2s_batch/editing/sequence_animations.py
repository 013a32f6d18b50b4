"""Makes the animations of an edit: each sequence of images as one file, on the driver when the run has ended."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from i2s_batch.config import EditConfig
from i2s_batch.images.draw.animations import encode_animation
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.output.layout import RunLayout
from i2s_batch.plurals import counted
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.storage import Store
from i2s_batch.table.shards import read_table

_ANIMATIONS_AT_ONCE = 2


@dataclass(frozen=True)
class _Frame:
    """Holds the id of a frame, its index in the sequence, and True if it was made."""

    image_id: str
    index: int
    ok: bool


def make_animations(store: Store, config: EditConfig, animation: str, report: Callable[[str], None]) -> None:
    """Make the animations of the run in `store` that do not exist yet; one with a failed frame is left out.

    Args:
        store: The output of the run.
        config: The settings of the run.
        animation: The file format, one of `config.ANIMATIONS`.
        report: Takes lines for people.
    """
    sequences = _sequences(store)
    existing = {info.key for info in store.list(RunLayout.animations_prefix)}
    missing = [name for name in sequences if RunLayout.animation(name, animation) not in existing]
    whole = [name for name in missing if all(frame.ok for frame in sequences[name])]
    if missing:
        lacking = len(missing) - len(whole)
        left_out = f" ({lacking} {'lacks' if lacking == 1 else 'lack'} a frame)" if lacking else ""
        report(f"making {counted(len(whole), 'animation')}{left_out}")

    def make(name: str) -> None:
        frames = sorted(sequences[name], key=lambda frame: frame.index)
        keys = [RunLayout.picture(frame.image_id, config.picture_format) for frame in frames]
        encoded = encode_animation(
            lambda index: decode_image(store.get(keys[index])), len(keys), animation, config.frames_per_second
        )
        store.put(RunLayout.animation(name, animation), encoded)

    with ThreadPoolExecutor(_ANIMATIONS_AT_ONCE) as pool:
        for _ in pool.map(make, whole):
            pass


def _sequences(store: Store) -> dict[str, list[_Frame]]:
    """Return the frames of every sequence in the table, in the order of the table."""
    table = read_table(store.url, ["image_id", "status", "sequence", "frame", "uri"])
    columns = (table[name].to_pylist() for name in ("sequence", "image_id", "frame", "status"))
    sequences: dict[str, list[_Frame]] = {}
    for sequence, image_id, index, status in zip(*columns, strict=True):
        if sequence is not None:
            sequences.setdefault(sequence, []).append(_Frame(image_id, index, status == STATUS_OK))
    return sequences
