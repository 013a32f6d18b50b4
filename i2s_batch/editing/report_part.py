"""Adds to the report of an edit run: some edits before and after, every image, every animation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from i2s_batch.config import ANIMATIONS
from i2s_batch.editing.planned_images import FILE, file_of
from i2s_batch.editing.strips import Strip, load_strips
from i2s_batch.models import Generator
from i2s_batch.output.archives.reading import RunImages
from i2s_batch.output.layout import RunLayout
from i2s_batch.reporting.facts import Facts
from i2s_batch.reporting.files import ReportFiles
from i2s_batch.reporting.parts import PageParts, Picture, ShownImage
from i2s_batch.reporting.pictures import animation_in_page, digest_of, picture_in_page, url_of
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.table.shards import read_table

STRIP_SIDE = 160  # pixels of an image of an edit inside the page, at most
_ROWS_AT_ONCE = 256
_LEAST_FRAMES = 3  # of a sequence that is shown as an animation too


def edit_parts(
    files: ReportFiles,
    facts: Facts,
    network: Callable[[], Generator] | None,
    strips: Sequence[Strip] | None = None,
) -> PageParts:
    """Return some edits for the page itself, and all images and animations for the pages beside it.

    Args:
        files: Writes to the output.
        facts: The figures of its table.
        network: Builds the generator, when something is to be drawn; None where there is none, and no edits are shown.
        strips: The edits, if they are loaded already.
    """
    if strips is None:
        strips = [] if network is None else load_strips(files.store.url, network)
    images = RunImages.of(files.store)
    animations = _Animations(files, images)
    shown = [_shown(strip, files, images, animations) for strip in strips]
    if sum(len(strip.after) for strip in strips) == facts.rows:
        return PageParts(strips=shown)
    return PageParts(strips=shown, every=_every(facts, files.store.url, images), animations=animations.every())


def _shown(strip: Strip, files: ReportFiles, images: RunImages, animations: _Animations) -> ShownImage:
    pictures = []
    for name, pixels in zip(strip.parents, strip.before, strict=True):
        digest = "" if pixels is None else digest_of(name, pixels.tobytes())
        parent = picture_in_page("parent", pixels, files, digest, "parent not available", STRIP_SIDE)
        pictures.append(replace(parent, what=f"{strip.role} {name}"))
    for key, pixels in zip(strip.files, strip.after, strict=True):
        # Pages cannot show what is in an archive: the whole image is then a file beside them.
        digest = "" if pixels is None or not images.in_archives else digest_of(key, pixels.tobytes())
        small = picture_in_page("reconstruction", pixels, files, digest, "not made", STRIP_SIDE)
        small = replace(small, what=_name(key))
        pictures.append(replace(small, whole=url_of(key)) if small.small and not images.in_archives else small)
    frames = [pixels for pixels in strip.after if pixels is not None]
    if len(frames) >= _LEAST_FRAMES:
        pictures.append(animation_in_page(frames, animations.url(strip.name, strip.files[0])))
    return ShownImage(strip.name, strip.caption, pictures)


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def _every(facts: Facts, out: str, images: RunImages) -> Iterator[ShownImage]:
    """Yield every edited image of the run at `out`: a file, or the name of what is in an archive."""
    table = read_table(out, ["image_id", FILE])
    files = dict(zip(table["image_id"].to_pylist(), _files(table), strict=True))
    for batch in facts.listed.to_batches(_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            done, notes = row["status"] == STATUS_OK, [row["error"]] if row["error"] else []
            key = file_of(files.get(row["image_id"]), row["image_id"], row["uri"])
            picture = Picture("image", missing=f"in {key}") if images.in_archives else Picture("image", url_of(key))
            picture = picture if done else Picture("image", missing=row["status"])
            yield ShownImage(row["image_id"], "" if done else row["status"], [picture], notes)


def _files(table: pa.Table) -> list[str | None]:
    """Return the recorded files of the images in a table; None where an earlier version recorded none."""
    files: list[str | None] = table[FILE].to_pylist() if FILE in table.column_names else [None] * len(table)
    return files


class _Animations:
    """Knows the animations of a run."""

    def __init__(self, files: ReportFiles, images: RunImages) -> None:
        self._store, self._images = files.store, images
        self._keys = {info.key for info in files.store.list(RunLayout.animations_prefix)}

    def url(self, sequence: str, file: str | None) -> str:
        """Return the URL relative to OUT of the animation of a sequence with a frame at the key `file`; '' for none."""
        keys = [RunLayout.animation(sequence, suffix) for suffix in ANIMATIONS]
        frame = None if file is None else self._images.file_key(file)
        keys += [] if frame is None else [RunLayout.animation_of(frame, suffix) for suffix in ANIMATIONS]
        return next((url_of(key) for key in keys if key in self._keys), "")

    def every(self) -> Iterator[ShownImage]:
        """Yield every animation."""
        if not self._keys:
            return
        table = read_table(self._store.url, ["image_id", "sequence", FILE])
        files: dict[str, str | None] = {}  # of one frame of each sequence
        for name, file in zip(table["sequence"].to_pylist(), _files(table), strict=True):
            if name is not None:
                files.setdefault(name, file)
        for name, file in files.items():
            url = self.url(name, file)
            if url:
                is_video = url.endswith(".mp4")
                yield ShownImage(name, "", [Picture("animation", "" if is_video else url, url if is_video else "")])
