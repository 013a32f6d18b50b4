"""This module reads the `Network` objects in the pickles of NVIDIA's TensorFlow programs.

They hold variables, and the arguments that they were built with.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile, CheckpointFormat
from i2s_batch.models.checkpoints.official_pickle import TENSORFLOW_NETWORK
from i2s_batch.models.checkpoints.restricted import Record
from i2s_batch.models.checkpoints.stored_arrays import StoredArray, narrowed, numpy_array
from i2s_batch.models.network_settings import MAX_RESOLUTION, num_layers, resolutions
from i2s_batch.models.weights import GeneratorWeights

HWIO = (2, 3, 1, 0)
_MOST_DOUBLINGS = MAX_RESOLUTION.bit_length()


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


def generator_in(content: object) -> tuple[str, Record] | None:
    """Return the generator that makes the best images in a pickle, and where it is: of (G, D, Gs) the last.

    Returns None of pickles without networks of TensorFlow.
    """
    match content:
        case Record():
            found = "single network", content
        case [*_, Record() as last]:
            found = ("Gs in (G, D, Gs)" if len(content) == 3 else f"last of {len(content)} networks"), last
        case {"Gs": Record() as averaged}:
            found = "Gs", averaged
        case _:
            return None
    return found if found[1].name == TENSORFLOW_NETWORK else None


def state_of_generator(file: CheckpointFile) -> NetworkState:
    """Return the state of the generator in a pickle; an empty one of others."""
    found = generator_in(file.pickled())
    return (NetworkState.of(found[1]) if found else None) or NetworkState()


def is_built_by(file: CheckpointFile, function: str, synthesis: str) -> bool:
    """Return whether these functions of the original program built the generator and the synthesis in it."""
    state = state_of_generator(file)
    match state.components:
        case {"synthesis": Record(state={"build_func_name": found})}:
            return bool(found == synthesis and state.function == function)
    return False


def tensorflow_format(
    function: str, synthesis: str, read: Callable[[NetworkState], GeneratorWeights]
) -> CheckpointFormat:
    """Return the format of the generators that these functions built; `read` gives the weights of their state."""
    return CheckpointFormat(
        recognises=lambda file: is_built_by(file, function, synthesis),
        read=lambda file: read(state_of_generator(file)),
        others=_others_in,
        wrapper=lambda file: (generator_in(file.pickled()) or ("", None))[0],
    )


def _others_in(file: CheckpointFile, weights: object) -> Iterable[tuple[object, object]]:
    """Return the other networks in a pickle."""
    content = file.content()
    if isinstance(content, dict):
        return ((name, value) for name, value in content.items() if name != "Gs")
    if isinstance(content, tuple | list):
        names = ("G", "D") if len(content) == 3 else map(str, range(len(content)))
        return zip(names, content[:-1], strict=False)
    return ()


def refusal_of(content: object) -> CheckpointError | None:
    """Return what a pickle with networks of TensorFlow is that no format recognises; None of other pickles."""
    found = generator_in(content)
    if found is None:
        return None
    where, network = found
    state = NetworkState.of(network)
    if state is None or not isinstance(state.components, dict):
        return CheckpointError(f"its TensorFlow network ({where}) is no generator, or is malformed")
    inner = NetworkState.of(state.components.get("synthesis")) or NetworkState()
    built = ", ".join(str(name)[:40] for name in (state.function, inner.function) if name is not None)
    return CheckpointError(
        f"its TensorFlow network ({where}) is neither a StyleGAN1 nor a StyleGAN2 generator: it was built by {built}"
    )


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
        # The whole network's own variables go first: it hands its lod on to the synthesis, which has one too.
        found = _variables(part) | found
        arguments |= _arguments(part)
    return found, arguments


def check_arguments(arguments: Mapping[str, Json], fixed: Mapping[str, Json], program: str) -> None:
    """Refuse arguments that would make another network than the one that is built."""
    for name, expected in fixed.items():
        if arguments.get(name, expected) != expected:
            raise CheckpointError(f"this {program} was built with another {name} than {expected}; not supported")


@dataclass(frozen=True)
class Growth:
    """Describes how far a network with progressive growing had grown when it was saved.

    Attributes:
        full: The resolution that it was to reach.
        lod: How often the resolution was still to be doubled.
        fading: The share of the lower resolution in the image while the present one was fading in; 0 after that.
    """

    full: int
    lod: int
    fading: float

    @property
    def resolution(self) -> int:
        """Return the resolution that it had reached."""
        return self.full >> self.lod

    @property
    def note(self) -> str:
        """Return a note for people; empty for a network that was grown up."""
        share = f", {self.resolution} fading in" if self.fading else ""
        return f", still growing: {self.resolution} of {self.full} pixels{share}" if self.lod or self.fading else ""

    def higher(self, noises: int) -> str:
        """Return a pattern of the variables of higher resolutions, which have no part in the image yet.

        `noises`: how many noise images the layers have up to the present resolution.
        """
        sizes = "|".join(str(r) for r in resolutions(self.full) if r > self.resolution)
        numbers = "|".join(str(i) for i in range(noises, num_layers(self.full)))
        return rf"({sizes})x\d+/.*|noise({numbers})" if sizes else r"(?!)"

    def blended(self, weights: GeneratorWeights, present: str, lower: str) -> GeneratorWeights:
        """Return weights whose colours hold their share of the image; `present` and `lower` begin their names."""
        shares = {present: 1 - self.fading, lower: self.fading}
        tensors = dict(weights.tensors)
        for prefix, share in shares.items() if self.fading else ():
            for part in ("weight", "bias"):
                name = f"{prefix}.{part}"
                tensors[name] = (tensors[name].astype(np.float64) * share).astype(np.float32)
        return replace(weights, tensors=tensors)


def growth_of(found: Mapping[str, StoredArray]) -> Growth:
    """Return how far a network had grown; raises CheckpointError for a level of detail that is none.

    At k <= lod < k + 1 the image is rgb_k + (up(rgb_(k+1)) - rgb_k) * (lod - k), up being to the nearest pixel.
    """
    full, lod = full_resolution(found), found.get("lod")
    if lod is None:
        return Growth(full, 0, 0.0)
    value = float(lod.read().reshape(-1)[0]) if lod.count == 1 else math.nan
    if not 0 <= value <= _MOST_DOUBLINGS:
        raise CheckpointError("its level of detail (lod) is no single number in range")
    return Growth(full, int(value), value - int(value))


def full_resolution(found: Mapping[str, StoredArray]) -> int:
    """Return the resolution of the last block, 0 without any."""
    sizes = (re.fullmatch(r"(\d{1,5})x\1/Conv1/weight", name) for name in found)
    return max((int(match[1]) for match in sizes if match), default=0)


def classes_of(found: Mapping[str, StoredArray]) -> int:
    """Return the number of classes, 0 if unconditional."""
    labels = found.get("LabelConcat/weight", found.get("LabelEmbed/weight"))
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
