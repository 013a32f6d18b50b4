"""This module describes arrays inside a file, checked against the bytes of the file and read only when asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.restricted import Record

# Element types that weights come in, as the integer or float type that NumPy reads; bfloat16 is widened by hand.
ELEMENTS: Mapping[str, str] = {"float16": "<f2", "float32": "<f4", "float64": "<f8", "bfloat16": "<u2"}
_MAX_AXES = 8
# Numbers of an attribute of a network.
_LONGEST_ROW = 16
_NUMPY_ELEMENTS = {"f2": "float16", "f4": "float32", "f8": "float64"}


@dataclass(frozen=True, eq=False)
class StoredArray:
    """Describes an array in a file. `data`: the whole storage; `offset`, `strides`: in elements.

    Raises CheckpointError when constructed with anything that does not lie within `data`: nothing is allocated from
    a claimed shape.
    """

    data: memoryview
    elements: str
    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or len(self.shape) > _MAX_AXES:
            raise CheckpointError("an array has a malformed shape")
        if self.elements not in ELEMENTS:
            raise CheckpointError(f"an array has elements of type {self.elements[:40]}; weights are floats")
        if any(type(number) is not int or number < 0 for number in numbers):
            raise CheckpointError("an array has a malformed shape, offset or stride")
        held = len(self.data) // np.dtype(ELEMENTS[self.elements]).itemsize
        count = self.count
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if not count:
            raise CheckpointError("an array is empty")
        if count > held or last >= held:
            shown = " x ".join(str(n)[:20] for n in self.shape) or "one"
            raise CheckpointError(f"an array claims {shown} elements where {held} are stored")

    @property
    def count(self) -> int:
        """Return how many values it has."""
        return math.prod(self.shape)

    def read(self) -> np.ndarray:
        """Return the values, float32, in memory of their own."""
        flat = np.frombuffer(self.data, ELEMENTS[self.elements], len(self.data) // self._itemsize)
        strides = tuple(stride * self._itemsize for stride in self.strides)
        view = np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides, writeable=False)
        if self.elements == "bfloat16":
            return np.array((view.astype(np.uint32) << 16).view(np.float32), order="C")
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by name later
            return np.array(view, np.float32, order="C")

    @property
    def _itemsize(self) -> int:
        return np.dtype(ELEMENTS[self.elements]).itemsize


def contiguous(data: memoryview, elements: str, shape: Any) -> StoredArray:
    """Return an array in C order that fills `data` exactly."""
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise CheckpointError("an array has a malformed shape")
    if elements not in ELEMENTS or len(shape) > _MAX_AXES:
        raise CheckpointError(f"an array has elements of type {elements[:40]} or a malformed shape; weights are floats")
    size = math.prod(shape) * np.dtype(ELEMENTS[elements]).itemsize
    if size != len(data):
        raise CheckpointError(f"an array claims {str(size)[:24]} bytes where {len(data)} are stored")
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return StoredArray(data, elements, shape, 0, strides)


def numpy_array(value: Any) -> StoredArray:
    """Return the array that a pickled NumPy array or scalar stands for.

    Object arrays, odd byte orders and Fortran order are refused.
    """
    if isinstance(value, Record) and value.name == "numpy.core.multiarray.scalar" and len(value.args) == 2:
        element, data = value.args
        return contiguous(_bytes(data), _element_type(element), ())
    state = value.state if isinstance(value, Record) else None
    if not isinstance(state, tuple) or len(state) != 5 or value.name != "numpy.core.multiarray._reconstruct":
        raise CheckpointError(f"a {_kind(value)} stands where an array is needed")
    _, shape, element, fortran, data = state
    if fortran is not False:
        raise CheckpointError("an array is in Fortran order; refused")
    return contiguous(_bytes(data), _element_type(element), shape)


_PLAIN = (bool, int, float, str)
_NUMBERS = {"f4": "<f4", "f8": "<f8", "i4": "<i4", "i8": "<i8", "b1": "|b1"}


def narrowed(value: object) -> Json:
    """Return an attribute that is a number, a text, None or a short row of these.

    Of anything else its type in brackets is returned, which is no value of a setting.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list() if len(value) <= _LONGEST_ROW and all(each is None or type(each) in _PLAIN for each in value):
            return list(value)
    return f"({_kind(value)})"


def plain(value: object) -> Json:
    """Return a number, or a short row of numbers, that may be pickled as NumPy's; anything else as `narrowed` does.

    Attributes of a network, not its weights: whole numbers and truth values are among them.
    """
    match value:
        case Record(name="numpy.core.multiarray.scalar", args=(Record() as element, memoryview() as data)):
            number: Json = _decoded(element, data, 1).tolist()[0]
            return number
        case Record(
            name="numpy.core.multiarray._reconstruct",
            state=(_, (int() as count,), Record() as element, False, memoryview() as data),
        ):
            row: Json = _decoded(element, data, count).tolist()
            return row
    return narrowed(value)


def _decoded(element: Record, data: memoryview, count: int) -> np.ndarray:
    code = element.args[0] if element.name == "numpy.dtype" and element.args else None
    order = element.state[1] if isinstance(element.state, tuple) and len(element.state) > 1 else None
    kind = _NUMBERS.get(code) if isinstance(code, str) else None
    if kind is None or order not in ("<", "|") or len(data) != count * np.dtype(kind).itemsize or count > _LONGEST_ROW:
        raise CheckpointError("an attribute is a malformed NumPy number")
    return np.frombuffer(data, kind)


def _bytes(value: Any) -> memoryview:
    if not isinstance(value, memoryview):
        raise CheckpointError("an array's data is no byte string")
    return value


def _element_type(value: Any) -> str:
    """Return the element type of a pickled numpy.dtype: its code, and in its state the byte order."""
    args = value.args if isinstance(value, Record) and value.name == "numpy.dtype" else ()
    code = args[0] if args and isinstance(args[0], str) else "?"
    state = value.state if isinstance(value, Record) else None
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
    if code not in _NUMPY_ELEMENTS or order != "<":
        raise CheckpointError(f"an array has elements of NumPy type {code[:20]!r}; little-endian floats are needed")
    return _NUMPY_ELEMENTS[code]


def _kind(value: Any) -> str:
    return value.name[:60] if isinstance(value, Record) else type(value).__name__
