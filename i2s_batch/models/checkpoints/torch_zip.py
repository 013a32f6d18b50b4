"""This module reads torch.save's layout since 2020: a plain zip with `data.pkl` and one `data/KEY` for each storage."""

from __future__ import annotations

import struct
from typing import Any

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.pickled_modules import module_rules
from i2s_batch.models.checkpoints.restricted import Unpickler
from i2s_batch.models.checkpoints.torch_tensors import Storage, storage_of

_END = struct.Struct("<4s4H2IH")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_MAX_ENTRIES = 20_000
# A comment may follow the end record.
_END_SEARCH = _END.size + 65_535


def read_zip(data: memoryview) -> Any:
    """Return the object in a torch zip file; its storages are views of `data`."""
    members = _members(data)
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise CheckpointError("this is a zip archive, but not one of torch.save (it holds no data.pkl)")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in members:
        raise CheckpointError("this is a TorchScript archive; a state dict is needed")
    if f"{root}byteorder" in members and bytes(members[f"{root}byteorder"]) != b"little":
        raise CheckpointError("this torch file was written on a machine of another byte order")
    storages: dict[str, Storage] = {}

    def persistent(persistent_id: Any) -> Storage:
        described = storage_of(persistent_id)
        stored = members.get(f"{root}data/{described.key}")
        if stored is None or len(stored) != described.count * described.itemsize:
            raise CheckpointError(f"the storage {described.key[:40]!r} is missing or has not its claimed length")
        described.data = stored
        return storages.setdefault(described.key, described)

    return Unpickler(members[pickles[0]], module_rules("torch file of weights", persistent)).load()[0]


def _members(data: memoryview) -> dict[str, memoryview]:
    """Return every file in the archive by name, as a view. Nothing is compressed in files of torch."""
    tail = bytes(data[-_END_SEARCH:])
    position = tail.rfind(b"PK\x05\x06")
    if position < 0 or len(tail) - position < _END.size:
        raise CheckpointError("this zip archive is truncated: its table of contents is missing")
    _, _, _, _, entries, size, offset, _ = _END.unpack_from(tail, position)
    if entries > _MAX_ENTRIES:
        raise CheckpointError(f"this zip archive claims {entries} files; a torch file has fewer than {_MAX_ENTRIES}")
    if offset + size > len(data):
        raise CheckpointError("this zip archive is truncated, or above 4 GB")
    members: dict[str, memoryview] = {}
    for _ in range(entries):
        mark, _, _, flags, method, _, _, _, packed, plain, name_len, extra_len, comment_len, *_, start = (
            _ENTRY.unpack_from(data, offset)
        )
        name = bytes(data[offset + _ENTRY.size : offset + _ENTRY.size + name_len]).decode()
        offset += _ENTRY.size + name_len + extra_len + comment_len
        if mark != b"PK\x01\x02" or name in members:
            raise CheckpointError("this zip archive has a malformed table of contents")
        if method or packed != plain or flags & 1:
            raise CheckpointError(
                f"the file {name[:60]!r} in this zip archive is compressed; torch.save stores plainly"
            )
        members[name] = _content(data, start, plain)
    return members


def _content(data: memoryview, start: int, length: int) -> memoryview:
    mark, *_, name_len, extra_len = _LOCAL.unpack_from(data, start)
    begin = start + _LOCAL.size + name_len + extra_len
    if mark != b"PK\x03\x04" or begin + length > len(data):
        raise CheckpointError("this zip archive is malformed: a file in it lies outside")
    return data[begin : begin + length]
