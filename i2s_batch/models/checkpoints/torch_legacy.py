"""This module reads torch.save's old layout.

Pickles of magic, protocol, system, object and keys are followed by each storage's count and data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.opening import TORCH_MAGIC_NUMBER
from i2s_batch.models.checkpoints.pickled_modules import Persistent, module_rules
from i2s_batch.models.checkpoints.restricted import Budget, Global, Rules, Unpickler
from i2s_batch.models.checkpoints.torch_tensors import STORAGES, Storage, storage_of

_PROTOCOL = 1001
_WHAT = "torch file of weights"


def read_legacy(data: memoryview) -> Any:
    """Return the object in a torch file of the old layout; its storages are views of `data`."""
    return _read(data, lambda persistent: module_rules(_WHAT, persistent), Budget())


def read_nested_storage(args: tuple[Any, ...], budget: Budget) -> Storage:
    """Return the storage in a byte string that is a whole file of the old layout (torch.storage._load_from_bytes).

    It may be named as often as there are instructions, so each reading is charged to the `budget` of the outer file.
    """
    if len(args) != 1 or not isinstance(args[0], memoryview):
        raise CheckpointError("a storage's bytes are malformed")
    storage = _read(args[0], lambda persistent: Rules(_WHAT, frozenset(STORAGES), {}, persistent), budget)
    if not isinstance(storage, Storage):
        raise CheckpointError("a storage's bytes hold something else")
    return storage


def _read(data: memoryview, rules: Callable[[Persistent], Rules], budget: Budget) -> Any:
    storages: dict[str, Storage] = {}

    def persistent(persistent_id: Any) -> Storage | Global:
        match persistent_id:
            case ("module", Global() as module, *_):  # with the source of its class, which is ignored
                return module
        described = storage_of(persistent_id)
        known = storages.setdefault(described.key, described)
        if (known.elements, known.count) != (described.elements, described.count):
            raise CheckpointError("a storage is described twice, differently")
        return known

    unpickler = Unpickler(data, rules(persistent), budget)
    magic, position = unpickler.load()
    protocol, position = unpickler.load(position)
    system, position = unpickler.load(position)
    if magic != TORCH_MAGIC_NUMBER or protocol != _PROTOCOL:
        raise CheckpointError("a torch file of the old layout does not begin as one")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("a torch file was written on a machine of another byte order")
    value, position = unpickler.load(position)
    keys, position = unpickler.load(position)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CheckpointError("a torch file's list of storages is malformed")
    for key in keys:
        count = int.from_bytes(data[position : position + 8], "little")
        storage = storages.get(key)
        if storage is None or storage.data is not None or count != storage.count:
            raise CheckpointError(f"the storage {key[:40]!r} of a torch file does not agree with its description")
        end = position + 8 + count * storage.itemsize
        if end > len(data):
            raise CheckpointError(f"it is truncated: {end} bytes are claimed, {len(data)} are there")
        storage.data = data[position + 8 : end]
        position = end
    return value
