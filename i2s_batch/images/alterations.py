"""Alters an image before a study embeds it: moves, turns and scales (the paper's table 1), and damage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Pixels = np.ndarray  # uint8 [R, R, 3]
# Changes an image, given its id and a seed, to one of the same shape.
Alteration = Callable[[Pixels, str, int], Pixels]

# The paper gives distances for images of 1024 pixels.
_OF = 1024

# Named as image ids name them.
TRANSFORMS = ("right-140", "left-160", "zoom-out-2x", "zoom-in-2x", "rotate-90", "rotate-180")
DEFECTS = ("hole-8th", "hole-4th", "hole-half", "scribble", "blur-4th", "noise-4th")
ALTERATIONS = (*TRANSFORMS, *DEFECTS)

_LINES, _POINTS = 3, 5  # of a scribble


def alter(image: Pixels, alteration: str, image_id: str, seed: int) -> Pixels:
    """Return `image` uint8 [R, R, 3] altered, of the same shape.

    The position of a defect follows from the seed and the image's id; it is the same for defects of one size.
    """
    if alteration in _MOVES:
        return _MOVES[alteration](image)
    mask = defect_mask(alteration, image.shape[0], image_id, seed)
    return np.where(mask[..., None], _damage(alteration)(image, _stream(seed, image_id, "values")), image)


def alteration(name: str) -> Alteration:
    """Return the alteration of that name, one of ALTERATIONS, as a function."""
    return lambda image, image_id, seed: alter(image, name, image_id, seed)


def defect_mask(defect: str, resolution: int, image_id: str, seed: int) -> np.ndarray:
    """Return which pixels are damaged, bool [R, R]: none by an alteration that is not a defect."""
    if defect not in DEFECTS:
        return np.zeros((resolution, resolution), bool)
    if defect == "scribble":
        return _scribble(resolution, _stream(seed, image_id, defect))
    size = defect.partition("-")[2]
    side = max(1, resolution // {"8th": 8, "4th": 4, "half": 2}[size])
    top, left = _stream(seed, image_id, size).integers(0, resolution - side + 1, 2)
    mask = np.zeros((resolution, resolution), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def _stream(seed: int, image_id: str, what: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\n{what}\n".encode() + image_id.encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def _moved(image: Pixels, pixels_of_1024: int) -> Pixels:
    """Return the image moved to the right; what comes into view is black."""
    width = image.shape[1]
    shift = round(pixels_of_1024 * width / _OF)
    moved = np.zeros_like(image)
    moved[:, max(0, shift) : width + min(0, shift)] = image[:, max(0, -shift) : width - max(0, shift)]
    return moved


def _zoomed_out(image: Pixels) -> Pixels:
    """Return the image half as large, in the middle of black."""
    side = image.shape[0]
    small = np.asarray(Image.fromarray(image).resize((side // 2, side // 2), Image.Resampling.LANCZOS))
    zoomed = np.zeros_like(image)
    start = (side - side // 2) // 2
    zoomed[start : start + side // 2, start : start + side // 2] = small
    return zoomed


def _zoomed_in(image: Pixels) -> Pixels:
    """Return the middle of the image, twice as large."""
    side = image.shape[0]
    box = (side / 4, side / 4, side * 3 / 4, side * 3 / 4)
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS, box))


_MOVES: dict[str, Callable[[Pixels], Pixels]] = {
    "right-140": lambda image: _moved(image, 140),
    "left-160": lambda image: _moved(image, -160),
    "zoom-out-2x": _zoomed_out,
    "zoom-in-2x": _zoomed_in,
    "rotate-90": lambda image: np.ascontiguousarray(np.rot90(image, -1)),
    "rotate-180": lambda image: np.ascontiguousarray(np.rot90(image, 2)),
}


def _damage(defect: str) -> Callable[[Pixels, np.random.Generator], Pixels]:
    """Return the function that computes the values of damaged pixels."""
    if defect.startswith("blur"):
        return lambda image, _: np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(image.shape[0] / 32)))
    if defect.startswith("noise"):
        return lambda image, stream: stream.integers(0, 256, image.shape, np.uint8)
    if defect == "scribble":
        return lambda image, _: np.broadcast_to(np.array([220, 30, 30], np.uint8), image.shape)
    return lambda image, _: np.zeros_like(image)


def _scribble(resolution: int, stream: np.random.Generator) -> np.ndarray:
    canvas = Image.new("1", (resolution, resolution))
    pen = ImageDraw.Draw(canvas)
    for _ in range(_LINES):
        points = stream.uniform(0, resolution, (_POINTS, 2))
        pen.line([tuple(point) for point in points.tolist()], fill=1, width=max(1, resolution // 32), joint="curve")
    return np.asarray(canvas)
