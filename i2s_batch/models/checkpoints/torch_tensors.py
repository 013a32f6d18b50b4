"""This module reads tensors as torch.save describes them: storage, offset, shape and strides. No torch code runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.restricted import Constructor, Global, Record, new_dict
from i2s_batch.models.checkpoints.stored_arrays import StoredArray

# Storage classes with their element type and its size in bytes. Whole numbers occur (counters), but are no weights.
STORAGES = {
    "torch.FloatStorage": ("float32", 4),
    "torch.DoubleStorage": ("float64", 8),
    "torch.HalfStorage": ("float16", 2),
    "torch.BFloat16Storage": ("bfloat16", 2),
    "torch.LongStorage": ("int64", 8),
    "torch.IntStorage": ("int32", 4),
    "torch.ShortStorage": ("int16", 2),
    "torch.CharStorage": ("int8", 1),
    "torch.ByteStorage": ("uint8", 1),
    "torch.BoolStorage": ("bool", 1),
}
_TENSOR = frozenset({"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"})
_PARAMETER = frozenset(
    {
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch.nn.parameter.Parameter",
    }
)

# What a state dict, and a training script's file around it, refers to.
STATE_DICT_NAMES = frozenset({*STORAGES, *_TENSOR, *_PARAMETER, "collections.OrderedDict", "argparse.Namespace"})
STATE_DICT_CONSTRUCTORS: dict[str, Constructor] = {"collections.OrderedDict": new_dict}

# Characters of a storage's key, which is a number. It is joined to a path each time that it occurs.
_MAX_KEY = 40


@dataclass(eq=False)
class Storage:
    """A run of elements; `data` is known once the file's table has been read."""

    key: str
    elements: str
    itemsize: int
    count: int
    data: memoryview | None = None


def storage_of(persistent_id: Any) -> Storage:
    """Return the storage that a persistent id ('storage', class, key, location, count[, view]) describes."""
    match persistent_id:
        case ("storage", Global(name=name), str() as key, str(), int() as count) if name in STORAGES:
            pass
        case ("storage", Global(name=name), str() as key, str(), int() as count, None) if name in STORAGES:
            pass
        case _:
            raise CheckpointError("a storage is described in a way that torch.save does not use")
    elements, itemsize = STORAGES[name]
    if count < 0 or len(key) > _MAX_KEY:
        raise CheckpointError("a storage has a negative length or an endless name")
    return Storage(key, elements, itemsize, count)


def is_tensor(value: Any) -> bool:
    """Return whether a value from a file stands for a tensor or a parameter."""
    return isinstance(value, StoredArray) or (isinstance(value, Record) and value.name in _TENSOR | _PARAMETER)


def torch_array(value: Any) -> StoredArray:
    """Return the array that a tensor or parameter of a file stands for."""
    if isinstance(value, StoredArray):
        return value
    if isinstance(value, Record) and value.name in _PARAMETER and value.args:
        value = value.args[0]
    if not isinstance(value, Record) or value.name not in _TENSOR or len(value.args) < 4:
        raise CheckpointError(f"a {type(value).__name__} stands where a tensor is needed")
    storage, offset, shape, strides = value.args[:4]
    if not isinstance(storage, Storage) or storage.data is None:
        raise CheckpointError("a tensor has no storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise CheckpointError("a tensor has a malformed shape")
    return StoredArray(storage.data, storage.elements, shape, offset, strides)


def tensors_of(entries: Iterable[tuple[object, object]]) -> dict[str, StoredArray]:
    """Return the float tensors of a state dict by name; raises CheckpointError, naming a malformed entry."""
    found: dict[str, StoredArray] = {}
    for name, value in entries:
        if not isinstance(name, str) or not is_tensor(value):
            raise CheckpointError(f"the entry {str(name)[:80]} of its state dict is no tensor")
        try:
            found[name] = torch_array(value)
        except CheckpointError as error:
            raise CheckpointError(f"the variable {name[:80]}: {error}") from error
    return found
