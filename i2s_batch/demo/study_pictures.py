"""Writes images to try `i2s-batch study` on, and the generator that goes with them.

    python -m i2s_batch.demo.study_pictures FOLDER

FOLDER/pictures/face/ gets drawn faces that the demo generator has not been fitted to, FOLDER/pictures/scene/ drawn
landscapes.
"""

from __future__ import annotations

import argparse
import io
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from i2s_batch.demo.faces import NAMES, render
from i2s_batch.output.ownership import check_same
from i2s_batch.storage import open_store

OF_EACH = 12
SIDE = 128
SEED = 20_190_410  # of numpy's stream; the fit draws from PyTorch's
_GENERATOR = "generator.safetensors"


def write_study_pictures(folder: Path) -> tuple[Path, Path]:
    """Write the images and the generator under `folder`, the same each time, and return their paths.

    Raises:
        RunConflictError: Other files have these names; nothing is written.
    """
    stream = np.random.RandomState(SEED)
    faces = render(stream.standard_normal((OF_EACH, len(NAMES))), SIDE)
    contents = {}
    for number, face in enumerate(faces):
        contents[f"pictures/face/{number:02d}.png"] = _png(Image.fromarray(face))
        contents[f"pictures/scene/{number:02d}.png"] = _png(draw_scene(stream))
    contents[_GENERATOR] = (files("i2s_batch.demo") / _GENERATOR).read_bytes()
    store = open_store(str(folder))
    check_same(store, contents)
    store.put_all(contents)
    return folder / "pictures", folder / _GENERATOR


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def draw_scene(stream: np.random.RandomState) -> Image.Image:
    """Return a sky with a sun, hills, and a few trees."""
    down = np.linspace(0, 1, SIDE)[:, None, None]
    top, bottom = stream.uniform(60, 255, (2, 3))
    sky = np.broadcast_to(top * (1 - down) + bottom * down, (SIDE, SIDE, 3))
    image = Image.fromarray(sky.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    x, y, r = stream.uniform((0.1, 0.05, 0.05), (0.9, 0.35, 0.12)) * SIDE
    pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 236, 170))
    across = np.arange(0, SIDE + 4, 4)
    for height in (0.5, 0.62, 0.76):
        wave, phase = stream.uniform(4, 12), stream.uniform(0, 6)
        hill = SIDE * (height + 0.06 * np.sin(across / SIDE * wave + phase))
        points = [(0, SIDE), *zip(across.tolist(), hill.tolist(), strict=True), (SIDE, SIDE)]
        pen.polygon(points, fill=tuple(stream.randint(30, 170, 3).tolist()))
    for _ in range(stream.randint(1, 5)):
        x, y, r = stream.uniform((0.05, 0.6, 0.05), (0.95, 0.9, 0.1)) * SIDE
        pen.rectangle((x - r / 6, y, x + r / 6, y + r * 1.5), fill=(70, 45, 30))
        pen.ellipse((x - r, y - r, x + r, y + r), fill=tuple(stream.randint(20, 140, 3).tolist()))
    return image


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m i2s_batch.demo.study_pictures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="Folder that gets the images and the generator.")
    pictures, generator = write_study_pictures(parser.parse_args().folder)
    print(f"{2 * OF_EACH} images in {pictures}, the generator is {generator}")


if __name__ == "__main__":
    main()
