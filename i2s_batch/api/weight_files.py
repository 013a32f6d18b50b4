"""Offers published weights as functions: what there is, where a file is, and getting it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from i2s_batch.argument_types import typed
from i2s_batch.errors import CheckpointError
from i2s_batch.weights.licences import accept, is_accepted
from i2s_batch.weights.named import NamedFile
from i2s_batch.weights.published import PUBLISHED, PublishedWeights


@dataclass(frozen=True)
class KnownWeights:
    """Holds one entry of the list of published weights, and what this machine has of it.

    Attributes:
        entry: The entry.
        file: Its file; None if it is not here.
        place: Where its file would be cached; None if no folder can be.
        accepted: Whether its licence need not be accepted any more.
    """

    entry: PublishedWeights
    file: Path | None
    place: Path | None
    accepted: bool


def known_weights() -> list[KnownWeights]:
    """Return every entry of the list of published weights, with what this machine has of it."""
    return [weights_named(entry.name) for entry in PUBLISHED]


def weights_named(name: str) -> KnownWeights:
    """Return one entry of the list; raises ConfigError for a name that it does not have."""
    entry = PUBLISHED.get(name)
    file = NamedFile(entry, _unread)
    return KnownWeights(entry, file.present(), file.place(), is_accepted(entry.licence))


def accept_licence_of(name: str) -> None:
    """Record that the licence of published weights has been accepted."""
    accept(PUBLISHED.get(name).licence)


def get_weights(name: str, *, accept_licence: bool = False, file: str | os.PathLike[str] | None = None) -> Path:
    """Return the file of published weights on this machine; it is fetched unless it is there.

    Args:
        name: A name of `i2s-batch weights list`, such as "ffhq1024".
        accept_licence: Whether you have read the licence of the weights and accept it; needed once.
        file: A file that was downloaded by other means, a copy of which is kept under the name; None to fetch it.

    Raises:
        ConfigError: There are no weights of that name.
        CheckpointError: The licence has not been accepted, or the file cannot be had, or holds no such network.
    """
    entry = PUBLISHED.get(typed("name", name, str))
    if typed("accept_licence", accept_licence, bool):
        accept(entry.licence)
    from i2s_batch.models import read_generator, read_vgg

    known = NamedFile(entry, read_vgg if entry.network == "vgg" else read_generator)
    if file is not None:
        return known.kept(Path(file))
    return known.fetched()


def _unread(path: Path) -> None:
    raise CheckpointError(f"{path} is only looked for, not read")
