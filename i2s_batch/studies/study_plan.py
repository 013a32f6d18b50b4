"""Defines the plan of a study: its rows as values, and the columns that hold them in the plan's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from i2s_batch.embedding.units import Successor
from i2s_batch.output.plan import STUDY_INTERNAL, Plan
from i2s_batch.schema.row import Cell
from i2s_batch.studies.study import Study, Variant
from i2s_batch.studies.study_rows import study_image_id

_SOURCE, _AFTER, _THEN, _THEN_ID = STUDY_INTERNAL
# Beside the columns of the table; `picture` is the id that the image has in the source.
_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("study", pa.string()),
        ("variant", pa.string()),
        ("round", pa.int32()),
        ("picture", pa.string()),
        ("class", pa.string()),
        (_SOURCE, pa.string()),
        (_AFTER, pa.int64()),
        (_THEN, pa.int64()),
        (_THEN_ID, pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """Describes a variant of an image that is to be embedded.

    Attributes:
        uri: The path or URL of the input, which may be written by the run itself.
        image: The id of the image in the source.
        label: Its class.
        source_uri: The path or URL of the image itself.
        after: The index of the row that has to be finished first; None if none.
        successor: The row that resumes from the last state of this one; None if none.
    """

    image_id: str
    uri: str
    variant: str
    round: int
    image: str
    label: str
    source_uri: str
    after: int | None = None
    successor: Successor | None = None


def planned_row(variant: Variant, image: str, label: str, uri: str, source_uri: str) -> PlannedRow:
    """Return the row of a variant of an image, without links to others."""
    return PlannedRow(
        image_id=study_image_id(variant.name, image),
        uri=uri,
        variant=variant.name,
        round=variant.round,
        image=image,
        label=label,
        source_uri=source_uri,
    )


def study_plan(study: Study, rows: Sequence[PlannedRow], shard_size: int) -> Plan:
    """Return the plan of these rows: sorted by id, each with the row that comes before it and the one after."""
    linked = _linked(study, sorted(rows, key=lambda row: row.image_id.encode()))
    return Plan(
        pa.Table.from_pylist([_cells(study, row) for row in linked], _SCHEMA), shard_size, internal=STUDY_INTERNAL
    )


def planned_rows(table: pa.Table) -> list[PlannedRow]:
    """Return rows of a study's plan as values."""
    return [
        PlannedRow(
            image_id=cells["image_id"],
            uri=cells["uri"],
            variant=cells["variant"],
            round=cells["round"],
            image=cells["picture"],
            label=cells["class"],
            source_uri=cells[_SOURCE],
            after=cells[_AFTER],
            successor=None if cells[_THEN] is None else Successor(cells[_THEN], cells[_THEN_ID]),
        )
        for cells in table.to_pylist()
    ]


def _cells(study: Study, row: PlannedRow) -> dict[str, Cell]:
    return {
        "image_id": row.image_id,
        "uri": row.uri,
        "study": study.name,
        "variant": row.variant,
        "round": row.round,
        "picture": row.image,
        "class": row.label,
        _SOURCE: row.source_uri,
        _AFTER: row.after,
        _THEN: None if row.successor is None else row.successor.index,
        _THEN_ID: None if row.successor is None else row.successor.image_id,
    }


def _linked(study: Study, rows: Sequence[PlannedRow]) -> list[PlannedRow]:
    """Return the rows, each with the index of the one that has to come before it and the one that continues it."""
    index = {row.image_id: number for number, row in enumerate(rows)}
    continued = {variant.continues: variant.name for variant in study.variants if variant.continues}
    linked = []
    for row in rows:
        after, following = study.variant(row.variant).after, continued.get(row.variant)
        successor = None
        if following is not None:
            following_id = study_image_id(following, row.image)
            successor = Successor(index[following_id], following_id)
        before = index[study_image_id(after, row.image)] if after else None
        linked.append(replace(row, after=before, successor=successor))
    return linked
