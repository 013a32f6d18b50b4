"""Encodes noise maps: one image's in the work log, those of some images as a Parquet file beside the table.

    image_id   string
    noise      fixed_size_list<float16>, the maps of all layers, each row by row (`models.noise_maps`)

Values are written plainly: DuckDB reads no float16 that is split by bytes, and noise has nothing to compress.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.checksums import check, with_checksum
from i2s_batch.errors import DamagedError
from i2s_batch.schema.codec import ZSTD_LEVEL

META_NOISE_SIDES = "i2s_batch.noise_sides"  # JSON [side of each map in pixels], in the order of `noise`
NOISE = "noise"
_GROUP_BYTES = 8 << 20  # of the values of a row group, so that the maps of one image can be read alone


def noise_size(sides: Sequence[int]) -> int:
    """Return the number of values of an image whose maps have these sides in pixels."""
    return sum(side * side for side in sides)


def noise_schema(size: int) -> pa.Schema:
    """Return the schema of noise maps of `size` values an image."""
    maps = pa.list_(pa.field("element", pa.float16()), size)
    return pa.schema([pa.field("image_id", pa.string()), pa.field(NOISE, maps)])


def sides_in(metadata: Mapping[bytes, bytes]) -> tuple[int, ...]:
    """Return the sides of the maps, as the metadata of a file record them; none where they do not."""
    try:
        values = json.loads(metadata.get(META_NOISE_SIDES.encode(), b"[]"))
    except ValueError:
        return ()
    return tuple(side for side in values if isinstance(side, int)) if isinstance(values, list) else ()


def noise_table(image_ids: Sequence[str], maps: np.ndarray) -> pa.Table:
    """Return the maps, float16 [n, size], of some images as a table."""
    schema = noise_schema(maps.shape[1])
    values = pa.FixedSizeListArray.from_arrays(pa.array(maps.reshape(-1), pa.float16()), type=schema.field(NOISE).type)
    return pa.table([pa.array(image_ids, pa.string()), values], schema=schema)


def maps_in(table: pa.Table) -> np.ndarray:
    """Return the maps of a table, float16 [n, size]."""
    size = table.schema.field(NOISE).type.list_size
    flat: np.ndarray = table[NOISE].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, size)


def encode_noise(image_id: str, maps: np.ndarray) -> bytes:
    """Return the maps of an image, float16 [size], as an Arrow IPC stream behind its checksum."""
    table, sink = noise_table([image_id], maps[None]), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return with_checksum(sink.getvalue().to_pybytes())


def decode_noise(content: bytes, image_id: str, size: int) -> pa.Table:
    """Return what `encode_noise` encoded.

    Raises:
        DamagedError: The bytes are anything else, or the maps of another image.
    """
    try:
        data, was_checked = check(content)
        if not was_checked:
            raise DamagedError("it has no checksum")
        with pa.ipc.open_stream(data) as reader:
            table = reader.read_all()
    except (DamagedError, pa.ArrowException, OSError, ValueError) as error:
        raise DamagedError(f"noise maps of the work log are damaged ({' '.join(str(error).split())})") from error
    if table.schema != noise_schema(size) or table["image_id"].to_pylist() != [image_id]:
        raise DamagedError("noise maps of the work log are damaged: they are those of another image or generator")
    return table


def encode_noise_shard(table: pa.Table, sides: Sequence[int], metadata: Mapping[str, str]) -> bytes:
    """Return the maps of some images, sorted by id, as the bytes of a Parquet file."""
    described = table.replace_schema_metadata({**metadata, META_NOISE_SIDES: json.dumps(list(sides))})
    sink = pa.BufferOutputStream()
    pq.write_table(
        described,
        sink,
        row_group_size=max(1, _GROUP_BYTES // max(1, 2 * table.schema.field(NOISE).type.list_size)),
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=False,
        write_page_index=True,
        write_page_checksum=True,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data
