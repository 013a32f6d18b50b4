"""Draws the demo's eight images: six faces, two of them of one person; one that is no face; one damaged.

The generator has never seen any of them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from i2s_batch.demo.faces import NAMES, render
from i2s_batch.storage import open_store

SEED = 20_191_027  # of numpy's stream; the fit draws from PyTorch's
NEUTRAL, SMILING = "face-1.png", "face-1-smiling.png"
DAMAGED = "face-7-damaged.jpg"
NO_FACE = "no-face.png"

_ORIENTATION = 0x0112


def write_demo_pictures(folder: Path) -> None:
    """Write the eight files into `folder`, the same each time; other files there are left alone."""
    open_store(str(folder)).put_all(demo_pictures())


def demo_pictures() -> dict[str, bytes]:
    """Return the eight files by name."""
    coordinates = demo_faces()

    def face(number: int, size: int) -> Image.Image:
        return Image.fromarray(render(coordinates[number - 1 : number], size)[0])

    exif = Image.Exif()
    exif[_ORIENTATION] = 6  # to be shown a quarter turn clockwise
    lying = face(4, 160).transpose(Image.Transpose.ROTATE_90)
    whole = _file(face(7, 256), "JPEG", quality=92)
    return {
        NEUTRAL: _file(face(1, 256), "PNG"),
        "face-2.jpg": _file(face(2, 192), "JPEG", quality=92),
        "face-3-wide.png": _file(_between_curtains(face(3, 128), 192), "PNG"),
        "face-4-exif-rotated.jpg": _file(lying, "JPEG", quality=92, exif=exif),
        "face-5-grey.png": _file(face(5, 96).convert("L"), "PNG"),
        SMILING: _file(face(6, 64), "PNG"),
        DAMAGED: whole[: len(whole) // 2],
        NO_FACE: _file(_landscape(256), "PNG"),
    }


def _file(image: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def demo_faces() -> np.ndarray:
    """Return the coordinates of the seven faces, [7, 24], for `faces.render`; the sixth is the first, smiling."""
    coordinates = np.random.RandomState(SEED).standard_normal((7, len(NAMES)))
    mouth = [NAMES.index("smile"), NAMES.index("mouth_opening")]
    coordinates[0, mouth] = (-0.3, -1.5)
    coordinates[5] = coordinates[0]
    coordinates[5, mouth] = (1.8, 1.2)
    return coordinates


def _between_curtains(face: Image.Image, width: int) -> Image.Image:
    """Return `face` in the middle of a wider image, which the default fit crops away."""
    wide = Image.new("RGB", (width, face.height), (120, 40, 50))
    wide.paste(face, ((width - face.width) // 2, 0))
    return wide


def _landscape(side: int) -> Image.Image:
    """Return a landscape: sky, sun, hills and a lake."""
    down = np.linspace(0, 1, side)[:, None, None]
    sky = np.array([90, 150, 220]) * (1 - down) + np.array([250, 220, 190]) * down
    image = Image.fromarray(np.broadcast_to(sky, (side, side, 3)).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    pen.ellipse((side * 0.62, side * 0.14, side * 0.80, side * 0.32), fill=(255, 236, 150))
    for height, colour in ((0.55, (110, 130, 150)), (0.66, (80, 120, 90)), (0.78, (60, 95, 60))):
        x = np.arange(0, side + 8, 8)
        y = side * (height + 0.05 * np.sin(x / side * 9 + height * 30))
        pen.polygon([(0, side), *zip(x.tolist(), y.tolist(), strict=True), (side, side)], fill=colour)
    pen.ellipse((side * 0.15, side * 0.84, side * 0.6, side * 0.94), fill=(130, 180, 210))
    return image
