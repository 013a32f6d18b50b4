"""The `Network` objects in the pickles of NVIDIA's TensorFlow programs: variables, and the arguments they were built
with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile
from i2s_batch.models.checkpoints.restricted import Record
from i2s_batch.models.checkpoints.stored_arrays import StoredArray, numpy_array

HWIO = (2, 3, 1, 0)


def state_of_gs(file: CheckpointFile) -> Mapping[str, object] | None:
    """Return the state of the third network, which makes the best images, in a pickle (G, D, Gs); None of others."""
    match file.pickled():
        case (
            Record(name="dnnlib.tflib.network.Network"),
            Record(),
            Record(name="dnnlib.tflib.network.Network", state={"components": dict()} as state),
        ):
            found: Mapping[str, object] = state
            return found
    return None


def is_built_by(file: CheckpointFile, function: str, synthesis: str) -> bool:
    """Return whether these functions of the original program built the generator and the synthesis in it."""
    state = state_of_gs(file) or {}
    match state.get("components"):
        case {"synthesis": Record(state={"build_func_name": found})}:
            return found == synthesis and state.get("build_func_name") == function
    return False


def others_in(file: CheckpointFile, weights: object) -> Iterator[tuple[str, object]]:
    """Give the other networks in a pickle (G, D, Gs)."""
    return zip(("G", "D"), file.content(), strict=False)


def contents_of(
    state: Mapping[str, object], versions: tuple[int, ...]
) -> tuple[dict[str, StoredArray], dict[str, object]]:
    """Return every variable of a `Gs` and of its two components, and the arguments that differ from the defaults.

    `versions`: of the network objects that the caller understands.
    """
    components = _table(state.get("components"), "components")
    found: dict[str, StoredArray] = {}
    arguments: dict[str, object] = {}
    for part in (state, *(_state(components.get(name), name) for name in ("synthesis", "mapping"))):
        if part.get("version") not in versions:
            known = " and ".join(map(str, versions))
            raise CheckpointError(f"this TensorFlow network has a version that is not supported ({known} can be read)")
        found |= _variables(part)
        arguments |= _table(part.get("static_kwargs") or {}, "arguments")
    return found, arguments


def check_arguments(arguments: Mapping[str, object], fixed: Mapping[str, object], program: str) -> None:
    """Refuse arguments that would make another network than the one that is built."""
    for name, expected in fixed.items():
        if arguments.get(name, expected) != expected:
            raise CheckpointError(f"this {program} was built with another {name} than {expected}; not supported")


def classes_of(found: Mapping[str, StoredArray]) -> int:
    """Return the number of classes, 0 if unconditional."""
    labels = found.get("LabelConcat/weight")
    return labels.shape[0] if labels is not None and labels.shape else 0


def _state(network: object, name: str) -> Mapping[str, object]:
    if not isinstance(network, Record) or not isinstance(network.state, dict):
        raise CheckpointError(f"its generator has no network {name}, or a malformed one")
    return network.state


def _table(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise CheckpointError(f"this file is damaged: its {name} are no table")
    return value


def _variables(state: Mapping[str, object]) -> dict[str, StoredArray]:
    found: dict[str, StoredArray] = {}
    entries = state.get("variables") or ()
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
