"""The modules in the pickles of NVIDIA's PyTorch programs: attributes by path, variables, and the common mapping."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.arrays import StoredArray
from i2s_batch.models.checkpoints.restricted import Record
from i2s_batch.models.checkpoints.torch_tensors import torch_array
from i2s_batch.models.checkpoints.variables import Stored

# The attribute dict of every module by its path; the whole generator has the path "".
Modules = dict[str, dict[str, Any]]

_DEEPEST = 5
_MOST_MODULES = 2_000
_MOST_VARIABLES = 10_000


def modules_of(g_ema: Record) -> Modules:
    """The attribute dict of every module by its path. A module that contains itself ends at a depth."""
    modules: Modules = {}
    waiting: list[tuple[str, Any]] = [("", g_ema)]
    while waiting:
        path, module = waiting.pop()
        meta = module.args[0] if isinstance(module, Record) and module.args else None
        state = meta.get("state") if isinstance(meta, dict) else None
        tables = ("_modules", "_parameters", "_buffers")
        if not isinstance(state, dict) or not all(isinstance(state.get(table), dict) for table in tables):
            raise CheckpointError(f"its module {path[:80] or 'G_ema'} is malformed")
        modules[path] = state
        children = state["_modules"].items()
        if len(modules) + len(waiting) + len(children) > _MOST_MODULES or path.count(".") >= _DEEPEST:
            raise CheckpointError("its G_ema has more modules than a StyleGAN")
        waiting += [(f"{path}.{name}" if path else str(name), child) for name, child in children]
    return modules


def variables_of(modules: Modules) -> dict[str, StoredArray]:
    # One table may be that of every module, so they are counted before they are read.
    if sum(len(state["_parameters"]) + len(state["_buffers"]) for state in modules.values()) > _MOST_VARIABLES:
        raise CheckpointError("its G_ema has more variables than a StyleGAN")
    found: dict[str, StoredArray] = {}
    for path, state in modules.items():
        for name, value in [*state["_parameters"].items(), *state["_buffers"].items()]:
            if value is None:  # a layer without this parameter
                continue
            full = f"{path}.{name}"
            try:
                found[full] = torch_array(value)
            except CheckpointError as error:
                raise CheckpointError(f"the variable {full[:80]}: {error}") from error
    return found


def classes_of(found: dict[str, StoredArray]) -> int:
    embedding = found.get("mapping.embed.weight")
    return embedding.shape[1] if embedding is not None and len(embedding.shape) == 2 else 0


def check_attributes(modules: Modules, expected: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse modules whose path matches a pattern of `expected` but whose attributes differ from those given there."""
    for path, state in modules.items():
        for pattern, attributes in expected.items():
            for name, value in attributes.items() if re.fullmatch(pattern, path) else ():
                if name not in state or state[name] != value:
                    raise CheckpointError(f"its module {path} has another {name} than {value}; not supported")


def mapping_attributes(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What `check_attributes` expects of the fully connected layers."""
    return {
        r"mapping\.fc\d+": {"activation": "lrelu", "bias_gain": settings["mapping_lr_multiplier"]},
        r"mapping\.embed|.*\.affine": {"activation": "linear", "bias_gain": 1},
    }


def mapping_table(settings: Mapping[str, Any]) -> dict[str, Stored]:
    """Where the variables of the mapping are."""
    table = {
        "w_avg": Stored("mapping.w_avg"),
        "label.weight": Stored("mapping.embed.weight"),
        "label.bias": Stored("mapping.embed.bias"),
    }
    for j in range(settings["mapping_layers"]):
        table[f"mapping.{j}.weight"] = Stored(f"mapping.fc{j}.weight")
        table[f"mapping.{j}.bias"] = Stored(f"mapping.fc{j}.bias")
    return table
