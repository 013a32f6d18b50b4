"""Aligns the faces of a source into a folder: an image each, and a list of them that `embed` takes as SOURCE.

What lies under OUT: `align.json`, the settings, written first; `images/`, the aligned images; `work/`, what has been
done, some images a file; and at the end `images.parquet`, the list, and `not-aligned.csv`, the images that are not in
it. Everything is written whole, and is the same whoever writes it: the same command resumes a run that
was stopped.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.concurrency import map_ahead
from i2s_batch.config import ALIGNMENTS, FACES, EmbedRunConfig
from i2s_batch.embedding.rows import failure_status
from i2s_batch.embedding.targets import (
    ALIGNED_FROM,
    LANDMARK_COLUMNS,
    LOOKED_AT,
    check_landmarks,
    check_size,
    columns_in,
    faces_of,
    rounded,
)
from i2s_batch.errors import ConfigError, ObjectNotFoundError, PictureError, RunConflictError, StorageError
from i2s_batch.images.align.detector import FaceDetector
from i2s_batch.images.align.frame import ffhq_transform
from i2s_batch.images.align.landmarks import Landmarks
from i2s_batch.images.align.warp import aligned
from i2s_batch.images.read.decoding import decode_image, encode_image
from i2s_batch.output.layout import file_name
from i2s_batch.output.ownership import check_file, check_free
from i2s_batch.parquet.sorted_rows import SpilledRows
from i2s_batch.plurals import counted
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.schema.row import Cell
from i2s_batch.schema.settings import json_object
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.list_rows import OF_LIST
from i2s_batch.sources.options import AS_USUAL, SourceOptions
from i2s_batch.sources.source import list_images
from i2s_batch.storage import Store, open_store
from i2s_batch.table.list_condition import list_condition

RECORD, LIST, LEFT_OUT = "align.json", "images.parquet", "not-aligned.csv"
CHUNK = 64  # images whose outcome is one file under work/
_SIZES = (16, 8192)
_LIST_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("face", pa.int32()),
        (ALIGNED_FROM, pa.string()),
        (f"{ALIGNED_FROM}_id", pa.string()),
        (f"{ALIGNED_FROM}_sha256", pa.string()),
        ("aligned_size", pa.int32()),
        ("landmarks", pa.list_(pa.float32())),
        ("transform", pa.list_(pa.float32(), 6)),
    ]
)


@dataclass(frozen=True)
class AlignRequest:
    """Asks for the aligned faces of a source.

    Attributes:
        source: A folder, a pattern, a prefix or a list.
        out: The folder or prefix that gets the images and the list.
        size: The side of an aligned image, in pixels.
        faces: Which faces of an image are aligned, one of `config.FACES`.
        face_model: The model file of the detector; None takes that of the installed package.
        workers: How many images are worked on at once.
        source_options: How the source is read.
        min_size: The fewest pixels of an image's smaller side; a smaller one is left out. None takes all.
    """

    source: str
    out: str
    size: int = 1024
    faces: str = FACES[0]
    face_model: str | None = None
    workers: int = 1
    source_options: SourceOptions = field(default=AS_USUAL, kw_only=True)
    min_size: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not _SIZES[0] <= self.size <= _SIZES[1]:
            raise ConfigError(f"size is {self.size}; it must be between {_SIZES[0]} and {_SIZES[1]} pixels")
        if self.faces not in FACES:
            raise ConfigError(f"faces is {self.faces!r}; it must be one of {', '.join(FACES)}")
        if self.workers < 1:
            raise ConfigError(f"workers is {self.workers}; it must be at least 1")
        if self.min_size is not None and self.min_size < 1:
            raise ConfigError(f"min size is {self.min_size} pixels; it must be at least 1")

    @property
    def settings(self) -> dict[str, str | int | None]:
        """Return what a resumed run must agree with."""
        return {
            "align": ALIGNMENTS[0],
            "size": self.size,
            "faces": self.faces,
            "source": self.source,
            "min_size": self.min_size,
        }


@dataclass(frozen=True)
class _Image:
    """Holds an image of the source, and the landmarks that a list gives of it."""

    image_id: str
    uri: str
    given: Mapping[str, Cell]


@dataclass(frozen=True)
class _Aligned:
    """Holds the outcome of one face, or of an image without one; the fields are those of a file under work/."""

    image_id: str
    uri: str
    status: str
    error: str = ""
    face: int = 0
    path: str = ""
    sha256: str = ""
    landmarks: tuple[float, ...] = ()
    transform: tuple[float, ...] = ()


def align_faces(request: AlignRequest, report: Callable[[str], None]) -> Counter[str]:
    """Align the faces of a source, and return how many there are of each status: faces, and images without one.

    Raises:
        RunConflictError: OUT holds something else, or the images of another source or size.
        SourceError: SOURCE cannot be read, or holds nothing.
    """
    store = open_store(request.out)
    _claim(store, request)
    where = request.source_options.where
    condition = None if where is None else list_condition(where)
    images = list_images(request.source, request.out, request.source_options, report, condition)
    columns = columns_in(images.schema.names, LANDMARK_COLUMNS)
    config = EmbedRunConfig(align=ALIGNMENTS[0], face_model=request.face_model)
    check_landmarks(config, bool(columns), images.slice(0, LOOKED_AT)["uri"].to_pylist())
    statuses: Counter[str] = Counter()
    every: list[_Aligned] = []
    rows_of_images: list[int] = []  # the row of the source that each outcome is of
    with _Aligner(store, request) as aligner:
        for index, chunk in enumerate(_chunks(images.parts(), columns)):
            outcomes = aligner.chunk(index, chunk)
            positions = {image.image_id: index * CHUNK + number for number, image in enumerate(chunk)}
            rows_of_images += [positions[each.image_id] for each in outcomes]
            every += outcomes
            if len(every) // 1000 != (len(every) - len(chunk)) // 1000:
                report(f"{index * CHUNK + len(chunk)} of {counted(images.num_rows, 'image')}")
    statuses.update(each.status for each in every)
    carried = _carried(images, set(columns.values()), _of_aligned(every, rows_of_images))
    store.put(LIST, _list_of(every, request.size, carried))
    store.put(LEFT_OUT, _left_out(every))
    return statuses


def _claim(store: Store, request: AlignRequest) -> None:
    """Make OUT ours, or find that it is. Raises RunConflictError."""
    store.check_can_write()
    try:
        settings = json_object(store.get(RECORD, 1 << 20))
    except ObjectNotFoundError:
        check_file(store.url)
        check_free(store, lambda _: False)
        store.put(RECORD, json.dumps(request.settings, indent=2).encode())
        return
    for name, value in request.settings.items():
        if settings.get(name) != value:
            raise RunConflictError(
                f"{store.uri(RECORD)} has {name} {settings.get(name)!r}, and {value!r} is asked for; give another OUT"
            )


def _chunks(parts: Iterator[pa.Table], columns: Mapping[str, str]) -> Iterator[list[_Image]]:
    chunk: list[_Image] = []
    for rows in parts:
        ids, uris = rows["image_id"].to_pylist(), rows["uri"].to_pylist()
        given = {name: rows[column].to_pylist() for name, column in columns.items()}
        for index, (image_id, uri) in enumerate(zip(ids, uris, strict=True)):
            chunk.append(_Image(image_id, uri, {name: values[index] for name, values in given.items()}))
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


class _Aligner:
    """Aligns images in several threads, each with a detector of its own."""

    def __init__(self, store: Store, request: AlignRequest) -> None:
        self._store, self._request = store, request
        self._detectors: list[FaceDetector] = []
        self._here = threading.local()

    def __enter__(self) -> _Aligner:
        return self

    def __exit__(self, *_: object) -> None:
        for detector in self._detectors:
            detector.close()

    def chunk(self, index: int, images: Sequence[_Image]) -> list[_Aligned]:
        """Return the outcome of some images: as it was written, if they are done."""
        key = f"work/{index:08d}.json"
        done = _read_chunk(self._store, key, images)
        if done is None:
            done = [each for faces in map_ahead(self._image, images, self._request.workers) for each in faces]
            self._store.put(key, json.dumps([asdict(each) for each in done]).encode())
        return done

    def _image(self, image: _Image) -> list[_Aligned]:
        """Write the aligned faces of an image, and return them; one that fails is no reason to stop."""
        try:
            data = read_bytes(image.uri)
            pixels = decode_image(data)
            check_size(pixels.shape[1], pixels.shape[0], self._request.min_size)
            faces = faces_of(pixels, image.uri, image.given, self._detector())
            faces = faces if self._request.faces == "all" else faces[:1]
            sha256 = hashlib.sha256(data).hexdigest()
            return [self._face(image, pixels, rounded(face), number, sha256) for number, face in enumerate(faces)]
        except PictureError as error:
            status, text = failure_status(error, image.uri), " ".join(str(error).split())
            return [_Aligned(image.image_id, image.uri, status, text)]

    def _face(self, image: _Image, pixels: np.ndarray, face: Landmarks, number: int, sha256: str) -> _Aligned:
        size = (pixels.shape[1], pixels.shape[0])
        transform = ffhq_transform(face, size, self._request.size)
        name = image.image_id if number == 0 else f"{image.image_id}#face{number}"
        path = f"images/{file_name(name, 'png')}"
        self._store.put(path, encode_image(aligned(pixels, transform, self._request.size), "png"))
        numbers = (tuple(face.flat.tolist()), tuple(transform.tolist()))
        return _Aligned(image.image_id, image.uri, STATUS_OK, "", number, path, sha256, *numbers)

    def _detector(self) -> FaceDetector:
        if not hasattr(self._here, "detector"):
            self._here.detector = FaceDetector(self._request.face_model)
            self._detectors.append(self._here.detector)
        detector: FaceDetector = self._here.detector
        return detector


def _read_chunk(store: Store, key: str, images: Sequence[_Image]) -> list[_Aligned] | None:
    """Return what was written of these images; None if they are not done, or the file is of others."""
    try:
        values = json.loads(store.get(key))
        done = [_Aligned(**value) for value in values]
    except (StorageError, ValueError, TypeError):
        return None
    return done if {each.image_id for each in done} == {each.image_id for each in images} else None


def _of_aligned(every: Sequence[_Aligned], rows: Sequence[int]) -> np.ndarray:
    """Return the rows of those that were aligned, in their order, int64 [faces]."""
    return np.array([row for each, row in zip(every, rows, strict=True) if each.status == STATUS_OK], np.int64)


def _carried(images: SpilledRows, left_out: Collection[str], rows: np.ndarray) -> pa.Table:
    """Return the source's own columns of some rows, under names that the list of aligned images has not.

    Args:
        images: The source.
        left_out: Columns of landmarks: those that were used are in a column of their own.
        rows: The rows, in order; one may come several times.
    """
    own = [name for name in images.schema.names if name not in ("image_id", "uri", *left_out)]
    names = _free_names(own)
    schema = pa.schema([images.schema.field(name).with_name(new) for name, new in zip(own, names, strict=True)])
    if not own:
        return schema.empty_table()
    parts, start = [], 0
    for part in images.parts(own):
        wanted = rows[(rows >= start) & (rows < start + len(part))] - start
        parts.append(part.take(pa.array(wanted)).rename_columns(names))
        start += len(part)
    return pa.concat_tables(parts)


def _free_names(own: Sequence[str]) -> list[str]:
    """Return names of columns that the list has not, which SQL compares without regard to case, nor each other."""
    taken, names = {name.lower() for name in _LIST_SCHEMA.names}, []
    for name in own:
        others = {each.lower() for each in own if each != name}
        free = name
        while free.lower() in taken or (free != name and free.lower() in others):
            free = f"{OF_LIST}{free}"
        taken.add(free.lower())
        names.append(free)
    return names


def _list_of(every: Sequence[_Aligned], size: int, carried: pa.Table) -> bytes:
    """Return the list of the aligned images as the bytes of a Parquet file; `carried`: further columns."""
    rows = [
        (each.path, each.face, each.uri, each.image_id, each.sha256, size, each.landmarks, each.transform)
        for each in every
        if each.status == STATUS_OK
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(_LIST_SCHEMA)
    arrays = [pa.array(list(values), kind.type) for values, kind in zip(columns, _LIST_SCHEMA, strict=True)]
    sink = pa.BufferOutputStream()
    schema = pa.schema([*_LIST_SCHEMA, *carried.schema])
    pq.write_table(pa.table([*arrays, *carried.columns], schema=schema), sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _left_out(every: Sequence[_Aligned]) -> bytes:
    """Return the images that could not be aligned, and why, as the bytes of a CSV file."""
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(["image_id", "uri", "status", "error"])
    lines.writerows([each.image_id, each.uri, each.status, each.error] for each in every if each.status != STATUS_OK)
    return text.getvalue().encode()
