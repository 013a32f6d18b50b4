"""Writes and reads a Parquet file of images, with the column `image` of Hugging Face datasets: {bytes, path}.

The file says so itself (metadata `huggingface`), so that `datasets.load_dataset("parquet", data_files=...)` returns
images and not bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.errors import ObjectNotFoundError
from i2s_batch.output.archives.members import Members, StoredImage
from i2s_batch.parquet.hugging_face import IMAGE, IMAGE_TYPE, feature_metadata
from i2s_batch.parquet.row_groups import RowGroups
from i2s_batch.storage import Store

SUFFIX = "parquet"
_GROUP_ROWS = 100  # of a row group, which a reader holds in memory
_GROUP_BYTES = 16 << 20  # of its images, at most, unless one is larger
_ADVICE = "delete it and run the same command again"


class Sink:
    """Takes what a Parquet writer writes, until it is fetched."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._position = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        """Take some bytes."""
        self._waiting.append(bytes(data))
        self._position += len(data)
        return len(data)

    def fetch(self) -> bytes:
        """Return what was written since the last call."""
        data, self._waiting = b"".join(self._waiting), []
        return data

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._position

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: what waits can still be fetched."""


def parquet_chunks(members: Members, images: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a file of `images`, which come in the order of `members`; a row group is in memory."""
    facts = members.facts
    schema = pa.schema([facts.schema.field("image_id"), pa.field(IMAGE, IMAGE_TYPE), *list(facts.schema)[1:]])
    schema = schema.with_metadata(feature_metadata(schema))
    texts = [field.name for field in schema if pa.types.is_string(field.type) and field.name != "image_id"]
    sink, start, source = Sink(), 0, iter(images)
    with pq.ParquetWriter(
        sink,
        schema,
        compression="none",  # the images are compressed
        use_dictionary=texts,
        write_statistics=["image_id", *texts],
        write_page_checksum=True,
    ) as writer:
        for count in _group_sizes(members.sizes):
            data = list(islice(source, count))
            names = members.names[start : start + count]
            cells = [{"bytes": each, "path": name} for each, name in zip(data, names, strict=True)]
            group = facts.slice(start, count).add_column(1, schema.field(IMAGE), pa.array(cells, IMAGE_TYPE))
            writer.write_table(group.cast(schema), row_group_size=count)
            start += count
            yield sink.fetch()
    yield sink.fetch()


def _group_sizes(sizes: list[int]) -> Iterator[int]:
    """Yield how many images each row group has."""
    count = total = 0
    for size in sizes:
        if count and (count == _GROUP_ROWS or total + size > _GROUP_BYTES):
            yield count
            count = total = 0
        count, total = count + 1, total + size
    if count:
        yield count


class ParquetArchive:
    """Reads the file at a key of a store."""

    def __init__(self, store: Store, key: str, members: Callable[[], Members]) -> None:
        """Take what returns the images by the rows of the table, which is not needed here: the file lists them."""
        self._store, self._key = store, key

    def get(self, member: str) -> bytes:
        """Return an image by its name."""
        row = self._rows.get(member)
        if row is None:
            raise ObjectNotFoundError(f"{self._store.uri(self._key)!r} has no image {member!r}")
        data: bytes = self._groups.slice(row, 1)[IMAGE][0].as_py()["bytes"]
        return data

    def images(self) -> Iterator[StoredImage]:
        """Yield all images in their order."""
        for part in self._groups.parts(["image_id", IMAGE]):
            for image_id, cell in zip(part["image_id"], part[IMAGE], strict=True):
                image = cell.as_py() or {}
                yield StoredImage(image.get("path") or "", image.get("bytes") or b"", image_id.as_py())

    @cached_property
    def _groups(self) -> RowGroups:
        return RowGroups(self._store, self._key, [IMAGE], advice=_ADVICE)

    @cached_property
    def _rows(self) -> dict[str, int]:
        names = self._groups.read([f"{IMAGE}.path"])[IMAGE].to_pylist()
        return {cell["path"]: row for row, cell in enumerate(names) if cell is not None}
