"""Reads the landmarks of a face from what a list, a JSON file or a detector gives, in pixels of the image as shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from i2s_batch.errors import PictureError

POINT_NAMES = ("left_eye", "right_eye", "mouth")  # left as the viewer sees it
ALL_POINTS = "landmarks"
_COUNTS = (3, 5, 68)  # the three above; left eye, right eye, nose, corners of the mouth; those of dlib
_SEPARATORS = re.compile(r"[\s,;]+")


@dataclass(frozen=True)
class Landmarks:
    """Holds the points of one face: float64 [3, 2], [5, 2] or [68, 2], each a point (x, y).

    The centre of the first pixel is (0, 0). Three points are the left eye, the right eye and the mouth; five are the
    left eye, the right eye, the nose and the left and right corner of the mouth; 68 are in dlib's order. Left is left
    as the viewer sees it.
    """

    points: np.ndarray

    @property
    def left_eye(self) -> np.ndarray:
        """Return the middle of the left eye, [2]."""
        return self._mean(slice(36, 42), [0])

    @property
    def right_eye(self) -> np.ndarray:
        """Return the middle of the right eye, [2]."""
        return self._mean(slice(42, 48), [1])

    @property
    def mouth(self) -> np.ndarray:
        """Return the middle between the corners of the mouth, [2]."""
        return self._mean([48, 54], [2] if len(self.points) == 3 else [3, 4])

    def _mean(self, of_dlib: slice | list[int], otherwise: list[int]) -> np.ndarray:
        chosen = self.points[of_dlib if len(self.points) == 68 else otherwise]
        mean: np.ndarray = chosen.mean(axis=0)
        return mean

    @property
    def flat(self) -> np.ndarray:
        """Return the points as the table holds them, float32 [2 n]: x and y of each in turn."""
        return self.points.astype(np.float32).ravel()


def landmarks_of(value_of: Callable[[str], object]) -> Landmarks | None:
    """Return the landmarks of a row of a list, or of a JSON file; None if it holds none.

    They are the three values of `POINT_NAMES`, or those of `ALL_POINTS`. A value is a list, nested or not, an object
    with x and y, or such a thing as text.

    Args:
        value_of: Returns the value of a name, None if there is none.

    Raises:
        PictureError: The values are no landmarks; the message names the column.
    """
    named = {name: _numbers(name, value) for name in POINT_NAMES if (value := value_of(name)) is not None}
    if len(named) == len(POINT_NAMES):
        for name, numbers in named.items():
            _check(len(numbers) == 2, name, f"it has {len(numbers)} numbers, and a point has 2")
        return Landmarks(np.array([named[name] for name in POINT_NAMES]))
    if named:
        missing = ", ".join(name for name in POINT_NAMES if name not in named)
        raise PictureError(f"it has {', '.join(named)} and no {missing}; give all three, or {ALL_POINTS}")
    if value_of(ALL_POINTS) is None:
        return None
    numbers = _numbers(ALL_POINTS, value_of(ALL_POINTS))
    counts = ", ".join(map(str, _COUNTS[:-1])) + f" or {_COUNTS[-1]}"
    _check(len(numbers) in [2 * n for n in _COUNTS], ALL_POINTS, f"it has {len(numbers)} numbers; give {counts} points")
    return Landmarks(np.array(numbers).reshape(-1, 2))


def landmarks_in_json(content: bytes) -> Landmarks | None:
    """Return the landmarks in a JSON file; None if it is no JSON object, or one of something else.

    Raises:
        PictureError: It holds values under those names that are no landmarks.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return landmarks_of(value.get) if isinstance(value, dict) else None


def box_of(values: Iterable[object], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a box (left, top, right, bottom) in whole pixels of an image of `size` (width, height).

    It is the smallest that holds the given one, within the image.

    Raises:
        PictureError: The values are no box, or it lies outside the image.
    """
    numbers = [number for value in values for number in _numbers("box", value)]
    _check(len(numbers) == 4, "box", f"it has {len(numbers)} numbers; give x0, y0, x1 and y1")
    left, top = (max(0, int(np.floor(number))) for number in numbers[:2])
    right, bottom = (min(int(np.ceil(number)), side) for number, side in zip(numbers[2:], size, strict=True))
    if right <= left or bottom <= top:
        shown = ", ".join(f"{number:g}" for number in numbers)
        raise PictureError(f"its box [{shown}] holds no pixel of its {size[0]} x {size[1]}; give x0 < x1 and y0 < y1")
    return left, top, right, bottom


def _numbers(name: str, value: object) -> list[float]:
    """Return all numbers of a value in their order."""
    if isinstance(value, str):
        return _numbers_of_text(name, value)
    if isinstance(value, Mapping) and value.keys() >= {"x", "y"}:
        value = [value["x"], value["y"]]
    if isinstance(value, (list, tuple, np.ndarray)):
        return [number for each in value for number in _numbers(name, each)]
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    _check(is_number and bool(np.isfinite(value)), name, f"it holds {value!r}, which is no finite number")  # type: ignore[call-overload]
    return [float(value)]  # type: ignore[arg-type]


def _numbers_of_text(name: str, text: str) -> list[float]:
    try:
        return _numbers(name, json.loads(text))
    except (ValueError, RecursionError):
        words = [word for word in _SEPARATORS.split(text.strip("[]() \t")) if word]
    try:
        return _numbers(name, [float(word) for word in words])
    except ValueError as error:
        raise PictureError(f"its {name} are {text!r}; give numbers, such as [203.5, 101]") from error


def _check(condition: bool, name: str, what: str) -> None:
    if not condition:
        raise PictureError(f"its {name} cannot be used: {what}")
