"""Checks the columns that say which file, folder, generator and run a row is of, each against the columns beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from i2s_batch.errors import PictureError
from i2s_batch.images.align.frame import ffhq_transform, scale_of
from i2s_batch.images.align.landmarks import Landmarks
from i2s_batch.images.resize import used_box
from i2s_batch.output.layout import RunLayout
from i2s_batch.schema.columns import STATUS_OK, STATUS_TOO_SMALL, folder_of
from i2s_batch.schema.row import Cell

WITH_FACTS = 3  # the schema version that added these columns
# What these checks read, in tables that have it: the columns, and those of edits and studies beside them.
_READ = ("image_id", "folder", "bytes", "format", "mode", "width", "height", "crop_box", "status")
_READ_TOO = ("landmarks", "transform", "generator_fingerprint", "run_id", "parents", "variant", "uri", "image_file")


@dataclass(frozen=True)
class ExpectedFacts:
    """Holds what the rows of a run must have in common. None: not known, so not checked.

    Attributes:
        generator: Fingerprint of the generator, hex.
        run_id: The id of the run; None for a merged one, whose rows keep theirs.
        fit: How images were made square; None for a run that embeds none.
        align: How faces were aligned; None for a run that aligns none.
        box: The columns of --box; None for a run that embeds whole images.
        untrained: The variants of a study that have another generator.
        merged: Whether rows may come from earlier versions, which knew no bytes, format and mode.
    """

    generator: str | None = None
    run_id: str | None = None
    fit: str | None = None
    align: str | None = None
    box: str | None = None
    untrained: frozenset[str] = frozenset()
    merged: bool = False


NOTHING_EXPECTED = ExpectedFacts()


def fact_faults(rows: pa.Table, expected: ExpectedFacts) -> Iterator[tuple[str, str]]:
    """Yield (image id, what is wrong with the row) for a table of the version WITH_FACTS or a later one."""
    names = [name for name in (*_READ, *_READ_TOO) if name in rows.column_names]
    for cells in rows.select(names).to_pylist():
        for what in _faults(cells, expected):
            yield cells["image_id"], what


def _faults(cells: Mapping[str, Cell], expected: ExpectedFacts) -> Iterator[str]:
    folder = _folder(cells)
    if cells["folder"] != folder:
        yield f"its folder is {cells['folder']!r}; its id gives {folder!r}"
    of_file = [cells[name] is not None for name in ("bytes", "format", "mode")]
    if cells["width"] is not None and not all(of_file) and (any(of_file) or not expected.merged):
        yield "it has a width, and of its bytes, format and mode some are null"
    if expected.fit is not None and cells["width"] is not None:
        yield from _transform_faults(cells, expected) if expected.align else _box_faults(cells, expected)
    file, uri = cells.get("image_file"), cells.get("uri")
    if isinstance(file, str) and not (RunLayout.is_picture(file) and isinstance(uri, str) and uri.endswith(f"/{file}")):
        yield f"its image_file is {file!r}; it must lie under pictures/ and its uri end so"
    if expected.generator is not None and cells.get("variant") not in expected.untrained:
        yield from _differs("generator_fingerprint", cells, expected.generator)
    if expected.run_id is not None:
        yield from _differs("run_id", cells, expected.run_id)


def _folder(cells: Mapping[str, Cell]) -> str | None:
    """Return what the column `folder` must be."""
    parents = cells.get("parents", [cells["image_id"]])
    first = parents[0] if isinstance(parents, list) and parents else None
    return folder_of(first) if isinstance(first, str) else None


def _box_faults(cells: Mapping[str, Cell], expected: ExpectedFacts) -> Iterator[str]:
    width, height, found = cells["width"], cells["height"], cells["crop_box"]
    assert isinstance(width, int) and isinstance(height, int) and expected.fit is not None
    wanted = list(used_box(width, height, expected.fit))
    without = cells["status"] == STATUS_TOO_SMALL or (expected.box and cells["status"] != STATUS_OK)
    if found == wanted or (without and found is None):
        return
    if not expected.box:
        yield f"its crop_box is {found!r}; its size gives {wanted}"
    elif not (isinstance(found, list) and _is_box(found, width, height)):
        yield f"its crop_box is {found!r}, which is no part of {width} x {height} pixels"


def _is_box(box: list[Cell], width: int, height: int) -> bool:
    numbers = [value for value in box if isinstance(value, float)]
    if len(numbers) != 4 or len(box) != 4:
        return False
    left, top, right, bottom = numbers
    return 0 <= left < right <= width and 0 <= top < bottom <= height


def _transform_faults(cells: Mapping[str, Cell], expected: ExpectedFacts) -> Iterator[str]:
    """Yield what is wrong with the alignment of a row: its transform is that of its landmarks."""
    width, height, points, found = (cells[name] for name in ("width", "height", "landmarks", "transform"))
    assert isinstance(width, int) and isinstance(height, int)
    if cells["crop_box"] is not None:
        yield f"its crop_box is {cells['crop_box']!r}; with --align it is null"
    if points is None or found is None:
        if cells["status"] == STATUS_OK or points is not found:
            yield "its landmarks or its transform are null"
        return
    try:
        face, size = Landmarks(np.asarray(points, np.float64).reshape(-1, 2)), (width, height)
        side = round(scale_of(np.asarray(found)) / scale_of(ffhq_transform(face, size, 1)))
        wanted = ffhq_transform(face, size, side).tolist()
    except (PictureError, ValueError, IndexError) as error:
        yield f"its landmarks are none ({error})"
        return
    if found != wanted:
        yield f"its transform is {found!r}; its landmarks give {wanted}"


def _differs(name: str, cells: Mapping[str, Cell], wanted: str) -> Iterator[str]:
    if cells[name] != wanted:
        yield f"its {name} is {cells[name]!r}; that of the run is {wanted!r}"
