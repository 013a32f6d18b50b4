"""This module reads the modules in the pickles of NVIDIA's PyTorch programs: attributes, variables, common mapping."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.pickled_modules import Entries, ModuleState
from i2s_batch.models.checkpoints.stored_arrays import StoredArray, narrowed
from i2s_batch.models.checkpoints.torch_tensors import tensors_of, torch_array
from i2s_batch.models.checkpoints.variables import Stored
from i2s_batch.models.checkpoints.wrappers import Network
from i2s_batch.models.network_settings import GeneratorSettings


@dataclass(frozen=True)
class Module:
    """Holds the attributes of a module and its variables, a table of parameters and one of buffers, unchecked."""

    attributes: Entries
    variables: tuple[Entries, ...]


# Every module by its path; the whole generator has the path "".
Modules = dict[str, Module]

_DEEPEST = 7
_MOST_MODULES = 2_000
_MOST_VARIABLES = 10_000


def modules_of(network: Network) -> Modules:
    """Return every module of a network by its path, those of a state dict without attributes.

    A module that contains itself ends at a depth. Raises CheckpointError for anything malformed or endless.
    """
    if network.module is None:
        return _modules_of_names(network.entries)
    modules: Modules = {}
    waiting: list[tuple[str, ModuleState]] = [("", network.module)]
    while waiting:
        path, state = waiting.pop()
        modules[path] = Module(state.attributes, (state.parameters, state.buffers))
        if len(modules) + len(waiting) + len(state.modules) > _MOST_MODULES or path.count(".") >= _DEEPEST:
            raise CheckpointError("its generator has more modules than a StyleGAN")
        for name, child in state.modules.items():
            inner, full = ModuleState.of(child), f"{path}.{name}" if path else name
            if inner is not None:
                waiting.append((full, inner))
            elif child is not None:
                raise CheckpointError(f"its module {full[:80]} is malformed")
    return modules


def _modules_of_names(entries: Entries) -> Modules:
    """Return the modules that the dotted names of a state dict tell of."""
    tables: dict[str, dict[str, object]] = {"": {}}
    for name, value in entries.items():
        path, _, leaf = name.rpartition(".")
        if path.count(".") >= _DEEPEST or len(tables) > _MOST_MODULES:
            raise CheckpointError("its generator has more modules than a StyleGAN")
        tables.setdefault(path, {})[leaf] = value
        while path:
            path = path.rpartition(".")[0]
            tables.setdefault(path, {})
    return {path: Module(Entries(), (Entries(table),)) for path, table in tables.items()}


def attribute_of(modules: Modules, path: str, name: str) -> Json:
    """Return an attribute of a module as `narrowed` does, None where either is missing."""
    return narrowed(modules[path].attributes.get(name)) if path in modules else None


def variables_of(modules: Modules) -> dict[str, StoredArray]:
    """Return every parameter and buffer by its path; raises CheckpointError, naming a malformed one."""
    # One table may be that of every module, so they are counted before they are read.
    if sum(len(table) for module in modules.values() for table in module.variables) > _MOST_VARIABLES:
        raise CheckpointError("its generator has more variables than a StyleGAN")
    found: dict[str, StoredArray] = {}
    for path, module in modules.items():
        for name, value in chain.from_iterable(table.items() for table in module.variables):
            if value is None:  # a layer without this parameter
                continue
            full = f"{path}.{name}" if path else str(name)
            try:
                found[full] = torch_array(value)
            except CheckpointError as error:
                raise CheckpointError(f"the variable {full[:80]}: {error}") from error
    return found


def tensors_in(network: Network) -> dict[str, StoredArray]:
    """Return every tensor of a network by its dotted name; raises CheckpointError, naming a malformed one."""
    return tensors_of(network.entries.items()) if network.module is None else variables_of(modules_of(network))


def classes_of(found: dict[str, StoredArray]) -> int:
    """Return the number of classes, 0 if unconditional."""
    embedding = found.get("mapping.embed.weight")
    return embedding.shape[1] if embedding is not None and len(embedding.shape) == 2 else 0


# `object`: an attribute that stands for others may be pickled as NumPy's.
def check_attributes(modules: Modules, expected: Mapping[str, Mapping[str, object]]) -> None:
    """Refuse modules whose path matches a pattern of `expected` but whose attributes differ from those given there."""
    for path, module in modules.items():
        state = module.attributes
        for pattern, attributes in expected.items():
            for name, value in attributes.items() if re.fullmatch(pattern, path) else ():
                if name not in state or state[name] != value:
                    raise CheckpointError(f"its module {path} has another {name} than {value}; not supported")


def mapping_attributes(settings: GeneratorSettings) -> dict[str, dict[str, Json]]:
    """Return what `check_attributes` expects of the fully connected layers."""
    return {
        r"mapping\.fc\d+": {"activation": "lrelu", "bias_gain": settings.mapping_lr_multiplier},
        r"mapping\.embed|.*\.affine": {"activation": "linear", "bias_gain": 1},
    }


def mapping_table(settings: GeneratorSettings) -> dict[str, Stored]:
    """Return where the variables of the mapping are."""
    table = {
        "w_avg": Stored("mapping.w_avg"),
        "label.weight": Stored("mapping.embed.weight"),
        "label.bias": Stored("mapping.embed.bias"),
    }
    for j in range(settings.mapping_layers):
        table[f"mapping.{j}.weight"] = Stored(f"mapping.fc{j}.weight")
        table[f"mapping.{j}.bias"] = Stored(f"mapping.fc{j}.bias")
    return table
