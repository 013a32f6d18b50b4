"""Checks rows of the work log against the plan: rows of a unit that are not of its images count as damaged.

Damaged rows count as missing: their images are embedded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice

import pyarrow as pa

from i2s_batch.output.plan import Plan
from i2s_batch.output.work_log import RowsDamagedError, WorkLog

_AT_ONCE = 500  # units whose rows are in memory: some 20 MB
_NAMED = 20  # damaged files that are reported one by one


def planned_rows(log: WorkLog, plan: Plan, units: Iterable[int]) -> pa.Table:
    """Return the logged rows of `units`, in their order, one for each planned image.

    Raises:
        RowsGoneError: Some rows do not exist.
        RowsDamagedError: Some rows are damaged or of other images.
    """
    ordered = list(units)
    rows = log.read_rows(ordered)
    planned = {unit: _planned_ids(plan, unit) for unit in ordered}
    if rows["image_id"].to_pylist() != [image_id for unit in ordered for image_id in planned[unit]]:
        raise RowsDamagedError(_of_other_images(log, planned))
    return rows


def with_planned_columns(rows: pa.Table, images: pa.Table) -> pa.Table:
    """Return rows of the log with the columns that only the plan has, from `images`, the same images in order."""
    for name in images.column_names:
        if name not in rows.column_names:
            rows = rows.append_column(name, images.column(name))
    return rows


def _planned_ids(plan: Plan, unit: int) -> list[str]:
    ids: list[str] = plan.unit_rows(unit)["image_id"].to_pylist()
    return ids


def _of_other_images(log: WorkLog, planned: Mapping[int, list[str]]) -> dict[int, str]:
    """Return the units whose rows are not those of their images, and why."""
    wrong = {}
    for unit, ids in planned.items():
        rows = log.find_rows(unit)
        if rows is None or rows["image_id"].to_pylist() != ids:
            wrong[unit] = f"{log.uri(unit)}: a row of the work log is damaged: it is of another image than planned"
    return wrong


def delete_rows_without_noise(
    log: WorkLog, plan: Plan, damaged: RowsDamagedError, report: Callable[[str], None]
) -> None:
    """Delete rows whose noise maps are missing or damaged, and report each; their images are embedded again."""
    log.delete_rows(damaged.reasons)
    for unit, reason in damaged.reasons.items():
        report(f"{reason}; {plan.image_id(plan.unit_range(unit)[0])!r} is embedded again")


def delete_damaged_rows(log: WorkLog, plan: Plan, report: Callable[[str], None]) -> int:
    """Delete every damaged row of the log, report each, and return their number; their images are embedded again."""
    damaged: dict[int, str] = {}
    units = (unit for unit in log.logged_rows() if unit < plan.units)
    while part := list(islice(units, _AT_ONCE)):
        try:
            planned_rows(log, plan, part)
        except RowsDamagedError as error:
            damaged |= error.reasons
    log.delete_rows(damaged)
    for unit, reason in list(damaged.items())[:_NAMED]:
        images = plan.unit_range(unit)
        others = f" and {len(images) - 1} more images are" if len(images) > 1 else " is"
        report(f"{reason}; {plan.image_id(images[0])!r}{others} computed again, unless the table has a row already")
    if len(damaged) > _NAMED:
        report(f"{len(damaged) - _NAMED} more files of the work log are damaged; their images are computed again")
    return len(damaged)
