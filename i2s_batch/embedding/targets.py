"""Makes the target of each image: a face in the FFHQ frame, a box of the image, or the image made square."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from i2s_batch.config import EmbedRunConfig
from i2s_batch.errors import (
    ConfigError,
    DetectorError,
    NoFaceError,
    ObjectNotFoundError,
    ObjectUnreadableError,
    PictureError,
    TooSmallError,
)
from i2s_batch.images.align.detector import FaceDetector
from i2s_batch.images.align.frame import ffhq_transform
from i2s_batch.images.align.landmarks import ALL_POINTS, POINT_NAMES, Landmarks, box_of, landmarks_in_json, landmarks_of
from i2s_batch.images.align.warp import aligned
from i2s_batch.images.resize import fit_image, used_box
from i2s_batch.schema.row import Cell
from i2s_batch.sources.list_rows import OF_LIST
from i2s_batch.sources.names import path_of_uri
from i2s_batch.storage import is_remote, open_store, split_url
from i2s_batch.storage.local import read_regular

_JSON_BYTES = 1 << 20  # of a JSON file with landmarks
# The column of a list of aligned images with the image that each was made of (`i2s-batch align`).
ALIGNED_FROM = "aligned_from"
LOOKED_AT = 10  # images beside which a JSON file with landmarks is looked for before a run
LANDMARK_COLUMNS = (*POINT_NAMES, ALL_POINTS)
NOTHING_GIVEN: Mapping[str, Cell] = {}


@dataclass(frozen=True)
class Target:
    """Holds what of an image is embedded, uint8 [R, R, 3], and the columns of the row that say which part that is."""

    pixels: np.ndarray
    crop_box: tuple[float, float, float, float] | None = None
    landmarks: np.ndarray | None = None
    transform: np.ndarray | None = None


@dataclass
class Targets:
    """Makes targets with a side of `resolution` pixels; several threads may do so at once."""

    config: EmbedRunConfig
    resolution: int
    detector: FaceDetector = field(init=False)

    def __post_init__(self) -> None:
        self.detector = FaceDetector(self.config.face_model)

    def of(self, pixels: np.ndarray, uri: str, given: Mapping[str, Cell] = NOTHING_GIVEN) -> Target:
        """Return the target of an image, uint8 [H, W, 3] as shown.

        Args:
            pixels: The image.
            uri: Where it was read: a JSON file beside it may hold its landmarks.
            given: What a list says of it, by the names of `given_columns`.

        Raises:
            NoFaceError: No face was found in it.
            DetectorError: The detector crashed or hung on it.
            PictureError: What is given of it cannot be used.
        """
        fit, size = self.config.embed.fit, (pixels.shape[1], pixels.shape[0])
        if self.config.align is not None:
            points = rounded(faces_of(pixels, uri, given, self.detector)[0])
            transform = ffhq_transform(points, size, self.resolution)
            square = aligned(pixels, transform, self.resolution)
            return Target(square, landmarks=points.flat, transform=transform)
        used = used_box(*size, fit)
        columns = self.config.box_columns
        if not columns or all(given.get(name) is None for name in columns):
            return Target(fit_image(pixels, self.resolution, fit), used)
        box = box_of([given.get(name) for name in columns], size)
        if box == used:
            return Target(fit_image(pixels, self.resolution, fit), used)
        part = np.ascontiguousarray(pixels[box[1] : box[3], box[0] : box[2]])
        return Target(fit_image(part, self.resolution, fit), box)

    def close(self) -> None:
        """End the detector's process."""
        self.detector.close()


def faces_of(pixels: np.ndarray, uri: str, given: Mapping[str, Cell], detector: FaceDetector) -> list[Landmarks]:
    """Return the landmarks that a list gives, or a JSON file beside the image, or of all faces found, largest first.

    Raises:
        NoFaceError: No face was found.
        DetectorError: The detector crashed or hung.
        PictureError: What is given cannot be used, or there is no detector.
    """
    points = landmarks_of(given.get) or landmarks_beside(uri)
    if points is not None:
        return [points]
    try:
        faces = detector.faces(pixels)
    except ConfigError as error:  # on a worker's machine alone: the driver has looked before the run
        raise PictureError(f"it has no landmarks, and {error}") from error
    if not faces:
        raise NoFaceError("no face was found in it")
    return faces


def check_size(width: int, height: int, least: int | None) -> None:
    """Raise TooSmallError for an image whose smaller side has fewer than `least` pixels; None takes all."""
    if least is not None and min(width, height) < least:
        raise TooSmallError(f"it has {width} x {height} pixels; its smaller side must have {least} (--min-size)")


def rounded(points: Landmarks) -> Landmarks:
    """Return landmarks as the table can hold them, so that it gives the same transform again."""
    return Landmarks(points.points.astype(np.float32).astype(np.float64))


def columns_in(names: Sequence[str], wanted: Iterable[str]) -> dict[str, str]:
    """Return those of the columns `wanted` of a list that a plan has, with their names there, which are of `names`.

    A column that the table has itself got a prefix when the list was read.
    """
    found = {name: [each for each in (f"{OF_LIST}{name}", name) if each in names] for name in wanted}
    return {name: columns[0] for name, columns in found.items() if columns}


def given_columns(config: EmbedRunConfig) -> tuple[str, ...]:
    """Return the columns of a list that say what of an image is to be embedded."""
    return LANDMARK_COLUMNS if config.align is not None else config.box_columns


def landmarks_beside(uri: str) -> Landmarks | None:
    """Return the landmarks in the JSON file beside an image, which has its name; None if there is none.

    Raises:
        PictureError: It holds landmarks that cannot be used.
        StorageError: The store does not answer: the detector must not stand in for a file that may be there.
    """
    folder, slash, name = uri.rpartition("/")
    stem = name.rpartition(".")[0] or name
    beside = f"{folder}{slash}{stem}.json"
    try:
        if is_remote(beside):
            root, key = split_url(beside)
            return landmarks_in_json(open_store(root).get(key, _JSON_BYTES))
        return landmarks_in_json(read_regular(path_of_uri(beside), _JSON_BYTES))
    except (ObjectNotFoundError, ObjectUnreadableError):
        return None


def check_landmarks(config: EmbedRunConfig, has_columns: bool, uris: list[str]) -> None:
    """Raise ConfigError if faces are to be aligned, and nothing says where they are: the detector is tried once.

    Args:
        config: The settings of the run.
        has_columns: Whether SOURCE has columns of landmarks.
        uris: Some of its images.
    """
    if config.align is None or has_columns or any(map(_has_landmarks_beside, uris)):
        return
    detector = FaceDetector(config.face_model)
    try:
        detector.faces(np.zeros((64, 64, 3), np.uint8))
    except (ConfigError, DetectorError) as error:
        ways = f"a list has no columns {', '.join(POINT_NAMES)} or {ALL_POINTS}, and no JSON file with them is beside"
        raise ConfigError(f"--align {config.align} finds no landmarks: {ways} the images; {error}") from error
    finally:
        detector.close()


def _has_landmarks_beside(uri: str) -> bool:
    try:
        return landmarks_beside(uri) is not None
    except PictureError:
        return True
