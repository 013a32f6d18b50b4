"""Prints rows as an aligned table in the width of the terminal."""

from __future__ import annotations

import datetime
import decimal
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from i2s_batch.run.terminal import printable

_GAP = "  "
_LEAST_COLUMNS = 12  # to which texts are shortened before whole columns are left out
_LIST_ITEMS = 3  # shown of a list


@dataclass(frozen=True)
class Aligned:
    """Holds the lines of a table, and the names of the columns for which the terminal is too narrow."""

    lines: list[str]
    left_out: list[str]


def terminal_columns() -> int | None:
    """Return the width of the terminal (or the value of COLUMNS); None when the output goes elsewhere."""
    return shutil.get_terminal_size((0, 0)).columns or None


def aligned(names: Sequence[str], rows: Sequence[Sequence[Any]], columns: int | None) -> Aligned:
    """Return rows as lines of at most `columns` characters (None: any number), texts shortened to fit.

    Numbers are aligned to the right, texts to the left.
    """
    numbers = [_is_number([row[index] for row in rows]) for index in range(len(names))]
    cells = [[printable(name) for name in names], *([cell(value) for value in row] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(names))]
    if columns is not None:
        _narrow(widths, numbers, columns)
    shown = len(widths) if columns is None else _fitting(widths, columns)
    lines = []
    for line in cells:
        texts = [
            text.rjust(width) if number else _shortened(text, width).ljust(width)
            for text, width, number in zip(line[:shown], widths, numbers, strict=False)
        ]
        lines.append(_GAP.join(texts).rstrip())
    rule = _GAP.join("-" * width for width in widths[:shown])
    return Aligned([lines[0], rule, *lines[1:]], list(names[shown:]))


def cell(value: Any) -> str:
    """Return one value in a few characters."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        items = ", ".join(cell(item) for item in value[:_LIST_ITEMS])
        return f"[{items}]" if len(value) <= _LIST_ITEMS else f"[{items}, ... {len(value)} in all]"
    if isinstance(value, datetime.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "null" if value is None else printable(str(value))


def _is_number(values: list[Any]) -> bool:
    types = {type(value) for value in values if value is not None}
    return bool(types) and types <= {int, float, decimal.Decimal}


def _narrow(widths: list[int], numbers: list[bool], columns: int) -> None:
    """Narrow the widest text columns in place until everything fits, or no text can be narrowed further."""
    while sum(widths) + len(_GAP) * (len(widths) - 1) > columns:
        texts = [index for index, number in enumerate(numbers) if not number and widths[index] > _LEAST_COLUMNS]
        if not texts:
            return
        widths[max(texts, key=lambda index: widths[index])] -= 1


def _fitting(widths: list[int], columns: int) -> int:
    """Return how many columns fit, at least one."""
    used = 0
    for index, width in enumerate(widths):
        used += width + (len(_GAP) if index else 0)
        if used > columns:
            return max(1, index)
    return len(widths)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
