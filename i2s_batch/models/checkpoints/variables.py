"""This module turns a file's variables into ours: names, axes, checks. Messages use the file's own names and shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.stored_arrays import StoredArray
from i2s_batch.models.network_layout import check_shape, shapes_of, widths_of
from i2s_batch.models.network_settings import GeneratorSettings
from i2s_batch.models.stylegan3_layout import Shape
from i2s_batch.models.weights import GeneratorWeights

# Values of a network, 1 GiB as float32. The largest published generators have some 40 million.
MAX_VALUES = 1 << 28


@dataclass(frozen=True)
class Stored:
    """Describes where a variable of ours is in a file.

    `axes`: for each axis of the file's array the axis of ours that it holds, None for an axis of length 1;
    no `axes` at all: the same. `flipped`: the last two axes of ours run backwards. `zero_if_missing`: the format
    may leave it out, and zero is then what it means.
    """

    name: str
    axes: tuple[int | None, ...] | None = None
    flipped: bool = False
    zero_if_missing: bool = False

    def file_shape(self, shape: Shape) -> Shape:
        """Return our shape as the file has it."""
        return shape if self.axes is None else tuple(1 if axis is None else shape[axis] for axis in self.axes)

    def ours(self, array: np.ndarray) -> np.ndarray:
        """Return the file's array with our axes, C order."""
        if self.axes is not None:
            kept = [axis for axis in self.axes if axis is not None]
            plain = array.reshape([n for n, axis in zip(array.shape, self.axes, strict=True) if axis is not None])
            array = plain.transpose(np.argsort(kept)) if kept else plain
        return np.array(np.flip(array, (-2, -1)) if self.flipped else array, np.float32, order="C")


Table = Mapping[str, Stored]


def count_of(pattern: str, names: Iterable[str]) -> int:
    """Return one more than the highest number (up to 99) in names that match `pattern`, where N stands for it.

    The highest and not how many there are, so that a missing one is missed by name.
    """
    matches = (re.fullmatch(pattern.replace("N", r"(\d{1,2})"), name) for name in names)
    return max((int(match[1]) + 1 for match in matches if match), default=0)


def assemble(
    settings: GeneratorSettings, table: Table, found: Mapping[str, StoredArray], origin: str
) -> GeneratorWeights:
    """Return the weights in a file whose variables are `found`. Every shape is checked before any value is read."""

    def size(name: str, axis: int) -> int:
        stored = table[name]
        position = axis if stored.axes is None else stored.axes.index(axis)
        if stored.name not in found or len(found[stored.name].shape) <= position:
            raise CheckpointError(f"the variable {stored.name} is missing or misshapen")
        return found[stored.name].shape[position]

    shapes = shapes_of(settings, widths_of(settings, size))
    for name, shape in shapes.items():
        stored = table[name]
        if stored.name in found:
            check_shape(stored.name, found[stored.name].shape, stored.file_shape(shape))
        elif not stored.zero_if_missing:
            check_shape(stored.name, None, stored.file_shape(shape))
    check_total(map(math.prod, shapes.values()))
    tensors = {name: _values(table[name], found, shape) for name, shape in shapes.items()}
    return GeneratorWeights(settings, tensors, origin)


def _values(stored: Stored, found: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
    if stored.name not in found:
        return np.zeros(shape, np.float32)
    return stored.ours(finite(stored.name, found[stored.name].read()))


def check_total(counts: Iterable[int]) -> None:
    """Raise CheckpointError unless arrays of so many values are together no larger than a network.

    Before any is read: all of them may be views of the same bytes, so the file's size is no limit.
    """
    total = sum(counts)
    if total > MAX_VALUES:
        raise CheckpointError(f"its arrays have {total} values; a network has at most {MAX_VALUES}")


def finite(name: str, values: np.ndarray) -> np.ndarray:
    """Return `values` themselves; raises CheckpointError, naming the variable, if any is not finite as float32."""
    if not np.isfinite(values).all():
        raise CheckpointError(f"the variable {name} has values that are not finite")
    return values


def refuse_unknown(found: Iterable[str], table: Table, ignored: str) -> None:
    """Raise CheckpointError if a file holds variables that are neither read nor known to be needless.

    They would mean another network. `ignored`: a regular expression of whole names.
    """
    known = {stored.name for stored in table.values()}
    for name in found:
        if name not in known and not re.fullmatch(ignored, name):
            raise CheckpointError(f"it holds the variable {name[:80]!r}, which the supported network does not have")
