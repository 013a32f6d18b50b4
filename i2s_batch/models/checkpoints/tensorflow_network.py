"""The `Network` objects in the pickles of NVIDIA's TensorFlow programs: variables, and the arguments they were built
with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.arrays import StoredArray, numpy_array
from i2s_batch.models.checkpoints.restricted import Record

HWIO = (2, 3, 1, 0)


def contents_of(state: Mapping[str, Any], versions: tuple[int, ...]) -> tuple[dict[str, StoredArray], dict[str, Any]]:
    """Every variable of a `Gs` and of its two components, and the arguments that differ from the defaults.

    `versions`: of the network objects that the caller understands.
    """
    components = state["components"]
    found: dict[str, StoredArray] = {}
    arguments: dict[str, Any] = {}
    for part in (state, *(_state(components.get(name), name) for name in ("synthesis", "mapping"))):
        if part.get("version") not in versions:
            known = " and ".join(map(str, versions))
            raise CheckpointError(f"this TensorFlow network has a version that is not supported ({known} can be read)")
        found |= _variables(part)
        arguments |= part.get("static_kwargs") or {}
    return found, arguments


def check_arguments(arguments: Mapping[str, Any], fixed: Mapping[str, Any], program: str) -> None:
    """Refuse arguments that would make another network than the one that is built."""
    for name, expected in fixed.items():
        if arguments.get(name, expected) != expected:
            raise CheckpointError(f"this {program} was built with another {name} than {expected}; not supported")


def classes_of(found: Mapping[str, StoredArray]) -> int:
    """The number of classes, 0 if unconditional."""
    labels = found.get("LabelConcat/weight")
    return labels.shape[0] if labels is not None and labels.shape else 0


def _state(network: Any, name: str) -> dict[str, Any]:
    if not isinstance(network, Record) or not isinstance(network.state, dict):
        raise CheckpointError(f"its generator has no network {name}, or a malformed one")
    return network.state


def _variables(state: Mapping[str, Any]) -> dict[str, StoredArray]:
    found: dict[str, StoredArray] = {}
    for entry in state.get("variables") or ():
        match entry:
            case (str() as name, value):
                try:
                    found[name] = numpy_array(value)
                except CheckpointError as error:
                    raise CheckpointError(f"the variable {name[:80]}: {error}") from error
            case _:
                raise CheckpointError("its list of variables is malformed")
    return found
