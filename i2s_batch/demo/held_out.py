"""Draws the images that no generator of the demo was fitted to and nothing may be learned from: the edit bench's.

Eight faces whose coordinates are known, neutral and smiling, so that the truth of an edit can be drawn; four of them
altered, which the generator cannot draw well. Photographs come from a folder of the user's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from i2s_batch.demo.canvas import Array
from i2s_batch.demo.faces import NAMES, render
from i2s_batch.errors import ConfigError, PictureError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.images.resize import fit_image

SEED = 20_261_127
FACES = 8
SIDE = 64
MOUTH = (NAMES.index("smile"), NAMES.index("mouth_opening"))
NEUTRAL, SMILING = (-0.3, -1.5), (1.8, 1.2)  # coordinates of `MOUTH`
CLASSES = ("face", "altered", "photograph")
# Photographs of which a part is used: left, top, right and bottom in pixels. Of the others it is the central square.
_PARTS = {"astronaut.png": (96, 0, 352, 256)}


@dataclass(frozen=True, eq=False)
class HeldOutImage:
    """Holds an image: its name, its class of `CLASSES`, and its pixels, uint8 [64, 64, 3]."""

    name: str
    label: str
    pixels: np.ndarray


def neutral_coordinates() -> Array:
    """Return the coordinates of the faces with a closed, straight mouth, float64 [8, 24]; deterministic."""
    return _with_mouth(NEUTRAL)


def smiling_coordinates() -> Array:
    """Return those of the same faces with an open, smiling mouth, float64 [8, 24]."""
    return _with_mouth(SMILING)


def _with_mouth(values: tuple[float, float]) -> Array:
    coordinates: Array = np.random.RandomState(SEED).standard_normal((FACES, len(NAMES)))
    coordinates[:, MOUTH] = values
    return coordinates


def drawn_images() -> list[HeldOutImage]:
    """Return the sixteen faces, a neutral and a smiling one in turn, and then the four altered ones."""
    neutral, smiling = (render(each, SIDE) for each in (neutral_coordinates(), smiling_coordinates()))
    faces = []
    for number, (closed, open_mouth) in enumerate(zip(neutral, smiling, strict=True), 1):
        faces.append(HeldOutImage(f"face-{number}-neutral", "face", closed))
        faces.append(HeldOutImage(f"face-{number}-smiling", "face", open_mouth))
    altered = {
        "shifted": np.roll(neutral[0], (7, 4), (0, 1)),
        "colours": np.ascontiguousarray(neutral[1][:, :, [2, 0, 1]]),
        "turned": _turned(render(neutral_coordinates()[2:3], 4 * SIDE)[0]),
        "mirrored-dark": (neutral[3][:, ::-1] * 0.6).astype(np.uint8),
    }
    return [*faces, *(HeldOutImage(f"altered-{name}", "altered", pixels) for name, pixels in altered.items())]


def _turned(image: np.ndarray) -> np.ndarray:
    """Return a large image turned by 14 degrees, reduced to `SIDE`, with 1.3 times the contrast."""
    turned = Image.fromarray(image).rotate(14, Image.Resampling.BICUBIC, fillcolor=(90, 90, 90))
    small = np.asarray(turned.resize((SIDE, SIDE), Image.Resampling.BOX), float)
    stronger: np.ndarray = np.clip((small - 128) * 1.3 + 128, 0, 255).astype(np.uint8)
    return stronger


def read_photographs(folder: Path) -> list[HeldOutImage]:
    """Return the images of a folder, the central square of each, by name; other files are left out.

    Raises:
        ConfigError: The folder holds no image.
    """
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            pixels = decode_image(path.read_bytes()) if path.is_file() else None
        except PictureError:
            continue
        if pixels is not None:
            left, top, right, bottom = _PARTS.get(path.name, (0, 0, *pixels.shape[1::-1]))
            square = fit_image(pixels[top:bottom, left:right], SIDE, "crop")
            found.append(HeldOutImage(f"photo-{path.stem}", "photograph", square))
    if not found:
        raise ConfigError(f"{str(folder)!r} holds no image; give a folder of photographs")
    return found
