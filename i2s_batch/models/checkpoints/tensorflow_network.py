"""This module reads the `Network` objects in the pickles of NVIDIA's TensorFlow programs.

They hold variables, and the arguments that they were built with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile
from i2s_batch.models.checkpoints.restricted import Record
from i2s_batch.models.checkpoints.stored_arrays import StoredArray, narrowed, numpy_array

HWIO = (2, 3, 1, 0)


@dataclass(frozen=True)
class NetworkState:
    """Holds the state of a pickled `Network`, unchecked; None where a part of it is missing.

    Attributes:
        function: The name of the original function that built it.
        arguments: Those that it was built with, where they differ from the defaults.
        components: Its networks by name.
    """

    version: object = None
    function: object = None
    variables: object = None
    arguments: object = None
    components: object = None

    @classmethod
    def of(cls, network: object) -> NetworkState | None:
        """Return the state of a pickled network; None of anything else."""
        if not isinstance(network, Record) or not isinstance(network.state, dict):
            return None
        keys = ("version", "build_func_name", "variables", "static_kwargs", "components")
        return cls(*(network.state.get(key) for key in keys))


def state_of_gs(file: CheckpointFile) -> NetworkState | None:
    """Return the state of the third network, which makes the best images, in a pickle (G, D, Gs); None of others."""
    match file.pickled():
        case (
            Record(name="dnnlib.tflib.network.Network"),
            Record(),
            Record(name="dnnlib.tflib.network.Network", state={"components": dict()}) as network,
        ):
            return NetworkState.of(network)
    return None


def is_built_by(file: CheckpointFile, function: str, synthesis: str) -> bool:
    """Return whether these functions of the original program built the generator and the synthesis in it."""
    state = state_of_gs(file) or NetworkState()
    match state.components:
        case {"synthesis": Record(state={"build_func_name": found})}:
            return bool(found == synthesis and state.function == function)
    return False


def others_in(file: CheckpointFile, weights: object) -> Iterator[tuple[str, object]]:
    """Return the other networks in a pickle (G, D, Gs)."""
    return zip(("G", "D"), file.content(), strict=False)


def contents_of(state: NetworkState, versions: tuple[int, ...]) -> tuple[dict[str, StoredArray], dict[str, Json]]:
    """Return every variable of a `Gs` and of its two components, and the arguments that differ from the defaults.

    `versions`: of the network objects that the caller understands.
    """
    found: dict[str, StoredArray] = {}
    arguments: dict[str, Json] = {}
    for part in (state, *(_component(state, name) for name in ("synthesis", "mapping"))):
        if part.version not in versions:
            known = " and ".join(map(str, versions))
            raise CheckpointError(f"this TensorFlow network has a version that is not supported ({known} can be read)")
        found |= _variables(part)
        arguments |= _arguments(part)
    return found, arguments


def check_arguments(arguments: Mapping[str, Json], fixed: Mapping[str, Json], program: str) -> None:
    """Refuse arguments that would make another network than the one that is built."""
    for name, expected in fixed.items():
        if arguments.get(name, expected) != expected:
            raise CheckpointError(f"this {program} was built with another {name} than {expected}; not supported")


def classes_of(found: Mapping[str, StoredArray]) -> int:
    """Return the number of classes, 0 if unconditional."""
    labels = found.get("LabelConcat/weight")
    return labels.shape[0] if labels is not None and labels.shape else 0


def _component(network: NetworkState, name: str) -> NetworkState:
    if not isinstance(network.components, dict):
        raise CheckpointError("this file is damaged: its components are no table")
    state = NetworkState.of(network.components.get(name))
    if state is None:
        raise CheckpointError(f"its generator has no network {name}, or a malformed one")
    return state


def _arguments(network: NetworkState) -> dict[str, Json]:
    given = network.arguments or {}
    if not isinstance(given, dict):
        raise CheckpointError("this file is damaged: its arguments are no table")
    return {name: narrowed(value) for name, value in given.items()}


def _variables(network: NetworkState) -> dict[str, StoredArray]:
    found: dict[str, StoredArray] = {}
    entries = network.variables or ()
    if not isinstance(entries, list | tuple):
        raise CheckpointError("this file is damaged: its list of variables is no list")
    for entry in entries:
        match entry:
            case (str() as name, value):
                try:
                    found[name] = numpy_array(value)
                except CheckpointError as error:
                    raise CheckpointError(f"the variable {name[:80]}: {error}") from error
            case _:
                raise CheckpointError("its list of variables is malformed")
    return found
