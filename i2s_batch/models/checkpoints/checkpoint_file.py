"""This module defines an opened checkpoint as the formats see it, and what a format is.

    FORMAT = CheckpointFormat(recognises, read, others, wrapper)

`recognises` looks and never raises; `read` returns the weights, or raises CheckpointError, one line that states what
is wrong; `others` lists what else the file holds and `wrapper` what the network is wrapped in, both for `inspect`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.official_pickle import load_official
from i2s_batch.models.checkpoints.opening import PARSE_ERRORS, PICKLE, SAFETENSORS, TORCH_LEGACY, ZIP, known_container
from i2s_batch.models.checkpoints.safetensors_file import StoredArrays, read_arrays
from i2s_batch.models.checkpoints.torch_legacy import read_legacy
from i2s_batch.models.checkpoints.torch_zip import read_zip
from i2s_batch.models.checkpoints.wrappers import Network, networks_in, others_around
from i2s_batch.models.weights import GeneratorWeights, VGGWeights


class CheckpointFile:
    """Holds the bytes of a checkpoint, and what its container holds, parsed once, when first asked for."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.container = known_container(data)

    @property
    def is_torch(self) -> bool:
        """Return whether it is a file of torch.save, of either layout."""
        return self.container in (TORCH_LEGACY, ZIP)

    def content(self) -> Any:
        """Return the object in a pickle or torch file, as records, or the arrays of a safetensors file.

        Nothing is called. Raises CheckpointError or a parsing error where it is damaged.
        """
        content, error = self._parsed
        if error is not None:
            raise error
        return content

    def pickled(self) -> Any:
        """Return the object in an official pickle; None where it is damaged, or the file is another."""
        return self._parsed[0] if self.container == PICKLE else None

    def saved(self) -> Any:
        """Return the object in a torch file; None where it is damaged, or the file is another."""
        return self._parsed[0] if self.is_torch else None

    def arrays(self) -> StoredArrays | None:
        """Return the arrays of a safetensors file; None where its header is damaged, or the file is another."""
        found = self._parsed[0] if self.container == SAFETENSORS else None
        return found if isinstance(found, StoredArrays) else None

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """Return all that may be a network of PyTorch in the file, unwrapped; nothing if it is damaged or our own."""
        stored = self.arrays()
        if stored is not None:
            return () if "family" in stored.metadata else networks_in(dict(stored.arrays))
        return networks_in(self._parsed[0])

    @cached_property
    def _parsed(self) -> tuple[Any, Exception | None]:
        parsers: dict[str, Callable[[memoryview], Any]] = {
            PICKLE: load_official,
            TORCH_LEGACY: read_legacy,
            ZIP: read_zip,
            SAFETENSORS: read_arrays,
        }
        try:
            return (parsers[self.container](self.data) if self.container in parsers else None), None
        except PARSE_ERRORS as error:
            return None, error


@dataclass(frozen=True)
class CheckpointFormat:
    """Describes a format of checkpoints: how a file is recognised and read, and what else it holds (name, value)."""

    recognises: Callable[[CheckpointFile], bool]
    read: Callable[[CheckpointFile], GeneratorWeights | VGGWeights]
    others: Callable[[CheckpointFile, GeneratorWeights | VGGWeights], Iterable[tuple[object, object]]]
    wrapper: Callable[[CheckpointFile], str] = lambda file: "none"


def network_format(
    find: Callable[[CheckpointFile], Network | None], read: Callable[[Network], GeneratorWeights], *known: str
) -> CheckpointFormat:
    """Return a format of PyTorch networks, which may be wrapped in anything.

    Args:
        find: Gives the network of this format in a file, or None.
        read: Gives the weights in it, or raises CheckpointError.
        known: Names of entries around a network that belong to it.
    """

    def found(file: CheckpointFile) -> Network:
        network = find(file)
        if network is None:
            raise CheckpointError("it holds no network of this format")
        return network

    return CheckpointFormat(
        recognises=lambda file: find(file) is not None,
        read=lambda file: read(found(file)),
        others=lambda file, weights: others_around(found(file), *known),
        wrapper=lambda file: found(file).wrapper,
    )


def nothing_else(file: CheckpointFile, weights: GeneratorWeights | VGGWeights) -> tuple[()]:
    """Return no entries: the format holds one network and no more."""
    return ()
