"""Adds to the report of an embedding run: images, their reconstructions, and the differences."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from i2s_batch.config import Json
from i2s_batch.embedding.samples import Sample, load_samples
from i2s_batch.images.draw.difference import difference_image
from i2s_batch.models import Generator
from i2s_batch.output.layout import RunLayout
from i2s_batch.reporting.charts import number
from i2s_batch.reporting.facts import Facts
from i2s_batch.reporting.files import ReportFiles
from i2s_batch.reporting.parts import PageParts, Picture, ShownImage
from i2s_batch.reporting.pictures import digest_of, original_picture, picture_in_page, url_of, written
from i2s_batch.run.recorded import present_uris
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.schema.row import Row
from i2s_batch.table.shards import read_rows

# How many reconstructions are drawn for the pages of all images unless a number is asked for: a report is written at
# the end of every run, on the CPU, and should take a minute and not an hour.
MOST_DRAWN = 240
_DRAWN_PIXELS = 32 << 20
_ROWS_AT_ONCE = 64  # whose latents and images are in memory
_COPIES_NAMED = 5

_WHAT = ("original", "reconstruction", "difference")


def embed_parts(
    files: ReportFiles, facts: Facts, network: Callable[[], Generator] | None, images: int | None = None
) -> PageParts:
    """Return some images of the run for the page itself, and all of them for the pages beside it.

    Args:
        files: Writes to the output.
        facts: The figures of its table.
        network: Builds the generator; None where there is none, and only originals are shown.
        images: How many reconstructions are drawn for the pages; None for as many as take about a minute.
    """
    generator = None if network is None else network()
    out, fit, present_uri = files.store.url, facts.settings.run.fit, present_uris(files.store.url)
    drawing = _Drawing(files, facts, generator, present_uri)
    groups = [
        (title, [drawing.in_page(sample) for sample in load_samples(read_rows(out, ids), generator, fit, present_uri)])
        for title, ids in facts.picks.items()
    ]
    if _is_whole(facts):
        return PageParts(groups=groups)
    count = 0 if generator is None else _usual_count(generator) if images is None else images
    done = facts.listed["status"].to_pylist().count(STATUS_OK)
    note = ""
    if generator is not None and count < done:
        command = shlex.join(["i2s-batch", "report", out, "--images", "all"])
        note = f"Reconstructions are drawn of the first {count} of {done} images; {command} draws all."
    return PageParts(groups=groups, every=drawing.every(count), note=note)


def _is_whole(facts: Facts) -> bool:
    """Return whether the page itself shows or names every row."""
    named = {image_id for ids in facts.picks.values() for image_id in ids}
    named |= {copy for image_id in named for copy in facts.copies.get(image_id, [])[:_COPIES_NAMED]}
    reasons = (*facts.failures, *facts.no_images, *facts.no_faces, *facts.too_small)
    named |= {image_id for failure in reasons for image_id, _ in failure.examples}
    return len(named) == facts.rows


def _usual_count(generator: Generator) -> int:
    """Return how many reconstructions are drawn unless a number is asked for."""
    return min(MOST_DRAWN, max(1, _DRAWN_PIXELS // generator.resolution**2))


class _Drawing:
    """Shows rows of an embedding run, with the generator if there is one."""

    def __init__(
        self, files: ReportFiles, facts: Facts, generator: Generator | None, present_uri: Callable[[str], str]
    ) -> None:
        """Show rows of `facts`; `present_uri` tells where an image is now, whose source may have moved."""
        self._files, self._facts, self._generator, self._present_uri = files, facts, generator, present_uri

    def in_page(self, sample: Sample) -> ShownImage:
        """Return a row for the page itself: small images in it, whole ones in files."""
        shown = (sample.original, sample.reconstruction, _difference(sample))
        digest = self._digest(sample.row)
        pictures = [
            picture_in_page(what, pixels, self._files, digest, missing)
            for what, pixels, missing in zip(_WHAT, shown, _missing(sample), strict=True)
        ]
        row = sample.row
        return ShownImage(
            row.image_id,
            _caption(row.metrics["psnr"], row.loss, row.metrics["w_distance"]),
            pictures,
            self._notes(row.image_id, None),
        )

    def every(self, count: int) -> Iterator[ShownImage]:
        """Yield every row in the order of the ids, with the reconstructions of the first `count` that have one."""
        for batch in self._facts.listed.to_batches(_ROWS_AT_ONCE):
            rows = batch.to_pylist()
            chosen = list(islice((row["image_id"] for row in rows if row["status"] == STATUS_OK), count))
            count -= len(chosen)
            drawn = self._drawn(chosen)
            for row in rows:
                pictures = drawn.get(row["image_id"]) or self._undrawn(row)
                caption = row["status"]
                if caption == STATUS_OK:
                    caption = _caption(row["psnr"], row["loss"], row["w_distance"])
                yield ShownImage(row["image_id"], caption, pictures, self._notes(row["image_id"], row["error"]))

    def _drawn(self, ids: Sequence[str]) -> dict[str, list[Picture]]:
        """Return the pictures of some rows from files beside the report, drawn unless they exist."""
        if not ids or self._generator is None:
            return {}
        rows = read_rows(self._files.store.url, ids)
        new = [row for row in rows if not self._exist(self._digest(row))]
        for row in new:  # one image at a time is in memory
            (sample,) = load_samples([row], self._generator, self._facts.settings.run.fit, self._present_uri)
            for what, pixels in zip(_WHAT, (sample.original, sample.reconstruction, _difference(sample)), strict=True):
                if pixels is not None:
                    written(what, pixels, self._files, self._digest(row))
        return {row.image_id: [self._written(row, what) for what in _WHAT] for row in rows}

    def _exist(self, digest: str) -> bool:
        return all(self._files.exists(RunLayout.report_image(digest, what)) for what in _WHAT)

    def _written(self, row: Row, what: str) -> Picture:
        key = RunLayout.report_image(self._digest(row), what)
        return Picture(what, url_of(key)) if self._files.exists(key) else Picture(what, missing=f"no {what}")

    def _undrawn(self, row: dict[str, Json]) -> list[Picture]:
        """Return the original where it is, if a browser can show it, and no more."""
        if row["status"] not in (STATUS_OK, "diverged", "crashed"):
            return [Picture("original", missing=str(row["status"]).replace("_", " "))]
        return [
            original_picture(self._present_uri(str(row["uri"])), self._files.store.url),
            Picture("reconstruction", missing="not drawn"),
        ]

    def _digest(self, row: Row) -> str:
        """Return what the images of a row are named after: all that they depend on."""
        latent = b"" if row.latent is None else np.asarray(row.latent).tobytes()
        generator = self._facts.fingerprints["generator"] if self._generator is not None else ""
        return digest_of(row.image_id, row.sha256 or "", self._facts.settings.run.fit, generator, latent)

    def _notes(self, image_id: str, error: str | None) -> list[str]:
        notes = [error] if error else []
        copies = self._facts.copies.get(image_id, [])
        if copies:
            more = f", and {len(copies) - _COPIES_NAMED} more" if len(copies) > _COPIES_NAMED else ""
            notes.append(
                f"{len(copies) + 1} files with this content; the others: {', '.join(copies[:_COPIES_NAMED])}{more}"
            )
        return notes


def _difference(sample: Sample) -> np.ndarray | None:
    if sample.original is None or sample.reconstruction is None:
        return None
    return difference_image(sample.original, sample.reconstruction)


def _missing(sample: Sample) -> tuple[str, str, str]:
    return f"original {sample.missing}", "not rendered", "no difference"


def _caption(psnr: float | None, loss: float | None, distance: float | None) -> str:
    named = (("PSNR", psnr, " dB"), ("loss", loss, ""), ("distance to w_avg", distance, ""))
    return ", ".join(f"{name} {number(value)}{unit}" for name, value, unit in named if value is not None)
