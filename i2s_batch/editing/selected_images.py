"""Selects the images that an edit takes, and refuses ids that no table holds: before any network is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

from i2s_batch.editing.edit_options import OPTION, Kind
from i2s_batch.editing.registered import EDITS
from i2s_batch.editing.requests import Request
from i2s_batch.errors import LatentError, UnknownImageError
from i2s_batch.plurals import counted
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.table.latent_reader import LatentIndex
from i2s_batch.table.near_ids import not_in
from i2s_batch.table.selection import chosen_ids
from i2s_batch.table.table_ids import is_called, readings

_TABLES_NAMED = 3


@dataclass(frozen=True, eq=False)
class Selection:
    """Holds where the latents of some tables are, and the images that were chosen from them, in order."""

    index: LatentIndex
    chosen: list[str]


def select_images(
    tables: Sequence[str],
    given: int,
    request: Request,
    ids: Sequence[str] | None,
    where: str | None,
    report: Callable[[str], None],
) -> Selection:
    """Return the images that a request takes from `tables`.

    Args:
        tables: Where the tables are.
        given: The number of tables, the first, that images are chosen from; the others are named as TABLE:ID alone.
        request: The edit that is asked for.
        ids: The images, in this order.
        where: An SQL condition that chooses the images. Without `ids` and `where` all that have a latent are chosen;
            like those of `where`, in natural order: frame 9 before frame 10.
        report: Shows a line.

    Raises:
        UnknownImageError: No table holds an image that an option names, or any of an edit list.
        LatentError: An image that an option names has no latent.
        QueryError: `where` is no condition.
    """
    index = LatentIndex(tables, given)
    _check_options(index, request)
    if request.listed is not None:
        _check_list(index, request)
        return Selection(index, [])
    if ids is not None:
        meant = [_as_meant(image_id, index) for image_id in ids]
        _check_ids(index, meant)
        return Selection(index, meant)
    if where is not None:
        known = set(index.ids)  # a run in progress may have gained rows since
        found = (image_id for table in tables[:given] for image_id in chosen_ids(table, where))
        chosen = [image_id for image_id in found if image_id in known]
        return Selection(index, sorted(chosen, key=_in_natural_order))
    chosen, without = index.in_tables(given)
    if without:
        report(f"{counted(without, 'image')} without a latent {'is' if without == 1 else 'are'} left out")
    return Selection(index, sorted(chosen, key=_in_natural_order))


def _check_options(index: LatentIndex, request: Request) -> None:
    """Check the images that the edit's own options name: every image would lack a parent without them."""
    for option, image_id in _named(request):
        status = index.status_of(image_id)
        if status is None:
            raise UnknownImageError(f"{option}: {_unknown(image_id, index)}")
        if status != STATUS_OK:
            raise LatentError(f"{option}: {image_id!r} has no latent, its status is {status!r}; give another image")


def _named(request: Request) -> Iterator[tuple[str, str]]:
    """Yield the options of an edit whose value is the id of an image, and that id."""
    for each in fields(EDITS.get(request.operation).resolve().options):
        value = getattr(request, each.name, None)
        if each.metadata[OPTION].kind is Kind.IMAGE_ID and isinstance(value, str):
            yield f"--{each.name.replace('_', '-')}", value


def _as_meant(image_id: str, index: LatentIndex) -> str:
    """Return an id without the blanks around it, as lists often have them, unless it is an id with them."""
    return image_id if index.status_of(image_id) is not None else image_id.strip() or image_id


def _check_ids(index: LatentIndex, ids: Sequence[str]) -> None:
    unknown = [image_id for image_id in ids if index.status_of(image_id) is None]
    if unknown:
        more = f" ({len(unknown)} of the {len(ids)} ids are in none)" if len(unknown) > 1 else ""
        raise UnknownImageError(f"--ids: {_unknown(unknown[0], index)}{more}")


def _check_list(index: LatentIndex, request: Request) -> None:
    """Refuse a list of which no image is known; otherwise a row with an unknown one is a row of the table."""
    named = [image_id for edit in request.listed or () for image_id in edit.parents]
    if named and all(index.status_of(image_id) is None for image_id in named):
        raise UnknownImageError(f"none of the images of the edit list is known: {_unknown(named[0], index)}")


def _unknown(name: str, index: LatentIndex) -> str:
    """Return a message: what of a name, an id or TABLE:ID, is unknown, and what may be meant."""
    urls = [table.url for table in index.tables]
    for table, image_id in readings(name):
        called = [url for url in urls if is_called(table, url)]
        if called:
            return not_in(image_id, called, index.ids_in(called))
        if holding := [url for url in urls if image_id in index.ids_in([url])]:
            meant = " or ".join(repr(f"{url.rpartition('/')[2]}:{image_id}") for url in holding[:_TABLES_NAMED])
            return f"{name!r} names a table {table!r}, and there is none; did you mean {meant}?"
    return not_in(name, urls, index.ids)


def _in_natural_order(image_id: str) -> list[tuple[int, str]]:
    """Return a key for sorting in natural order: numbers within a name by their value."""
    parts = re.split(r"(\d+)", image_id)
    return [(int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts)]
