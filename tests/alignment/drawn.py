"""Drawn faces whose landmarks are known, in photographs where they are turned, scaled and moved at random."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from i2s_batch.demo.faces import NAMES, physical, render
from i2s_batch.images.align.landmarks import Landmarks

SIDE = 512
MARKS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))  # on the left eye, the right eye and the mouth


def face(number: int) -> tuple[np.ndarray, Landmarks]:
    """Return a drawn face, uint8 [SIDE, SIDE, 3], and its eyes and mouth."""
    coordinates = np.random.default_rng(number).standard_normal((1, len(NAMES)))
    return render(coordinates, SIDE)[0], known_landmarks(coordinates, SIDE)


def known_landmarks(coordinates: np.ndarray, side: int) -> Landmarks:
    """Return where `render` draws eyes and mouth of the face of `coordinates`, [1, 24]."""
    found = {name: float(value[0, 0, 0]) for name, value in physical(coordinates).items()}
    turn, tilt = found["turn"], found["tilt"]
    features = np.array([[-0.235, 0.015], [0.235, 0.015], [0, 0.395 + found["smile"] * 0.45]])
    u, v = features[:, 0] + turn, features[:, 1] - 0.25
    x = np.cos(tilt) * u - np.sin(tilt) * v + tilt * 0.35
    y = np.sin(tilt) * u + np.cos(tilt) * v + 0.3
    return Landmarks((np.stack([x, y], axis=1) + 1) * side / 2 - 0.5)


def marked(image: np.ndarray, points: np.ndarray, radius: float = 9.0) -> np.ndarray:
    """Return the image, black, with a disc of its own colour at each point, drawn at eight times the size."""
    large = Image.new("RGB", (image.shape[1] * 8, image.shape[0] * 8))
    pen = ImageDraw.Draw(large)
    for (x, y), colour in zip((points + 0.5) * 8, MARKS, strict=True):
        pen.ellipse((x - 8 * radius, y - 8 * radius, x + 8 * radius, y + 8 * radius), fill=colour)
    return np.asarray(large.resize((image.shape[1], image.shape[0]), Image.Resampling.BOX))


def photograph(
    image: np.ndarray, points: Landmarks, number: int, size: tuple[int, int] = (900, 700)
) -> tuple[np.ndarray, Landmarks]:
    """Return a photograph of `size` with the image in it, turned, scaled and moved at random, and its landmarks."""
    stream = np.random.default_rng(number)
    angle, scale = stream.uniform(-np.pi, np.pi), stream.uniform(0.4, 1.2)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[cos, -sin], [sin, cos]])
    middle = np.array(size) / 2 + stream.uniform(-80, 80, 2)
    offset = middle - matrix @ (points.points.mean(axis=0) + 0.5)  # the first pixel is [0, 1) here
    inverse = np.linalg.inv(matrix)
    back = -inverse @ offset
    data = (*inverse[0], back[0], *inverse[1], back[1])
    large = Image.fromarray(image)
    placed = large.transform(size, Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
    return np.asarray(placed), Landmarks((points.points + 0.5) @ matrix.T + offset - 0.5)


def centres(image: np.ndarray) -> np.ndarray:
    """Return where the three marks of an image are: the centroid of each colour, [3, 2]."""
    weights = np.clip(image.astype(np.float64) - 40, 0, None)
    down, across = np.mgrid[: image.shape[0], : image.shape[1]]
    total = weights.sum(axis=(0, 1))
    return (
        np.stack([(weights * across[..., None]).sum((0, 1)), (weights * down[..., None]).sum((0, 1))], 1)
        / total[:, None]
    )
