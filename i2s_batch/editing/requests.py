"""Defines what every request for an edit has: its protocol, rows of an edit list, and checks that edits share.

An edit's own request is in its file under `edits/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any, ClassVar, Protocol

from i2s_batch.argument_types import check_fields
from i2s_batch.editing.recipes import ImageSequence
from i2s_batch.errors import ConfigError

ALL_PAIRS, CHAIN, TOWARDS = "all-pairs", "chain", "to"

MOST_FRAMES = 1_000_000  # of one sequence, whose recipes are in memory together: about 1 GB


@dataclass(frozen=True)
class ListedEdit:
    """Holds a row of an edit list: the parents, and the settings of the row; None leaves the request's.

    run.json holds the sha256 of such rows, by the names and the order of these fields.
    """

    parents: tuple[str, ...]
    strengths: tuple[float, ...] | None = None
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.strengths is not None:
            check_numbers("strengths", self.strengths)


def check_listed(listed: tuple[ListedEdit, ...] | None, operation: str, uses: tuple[str, ...]) -> None:
    """Raise ConfigError if rows of an edit list hold settings that the edit does not use.

    Args:
        listed: The rows; None without a list.
        operation: The edit.
        uses: The settings that it does use, of `strengths` and `layers`.
    """
    for number, edit in enumerate(listed or (), 1):
        for name in ("strengths", "layers"):
            if name not in uses and getattr(edit, name) is not None:
                row = f"row {number} of the edit list"
                raise ConfigError(f"{row} gives {name}, which {operation} does not use; leave them out")


class Request(Protocol):
    """Asks for an edit, with its settings: a frozen dataclass, each field of which is recorded in run.json."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def operation(self) -> str:
        """Return the name of a registered edit."""

    @property
    def listed(self) -> tuple[ListedEdit, ...] | None:
        """Return the rows of an edit list, if there is one; then no images are chosen."""

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[ImageSequence]:
        """Yield the sequences that are made of the images `chosen`, in their order, from latents of `layers` layers."""


def ids_in(request: Request) -> Iterator[str]:
    """Yield the texts of a request that may be ids of images, among them all that are."""
    for parents in () if request.listed is None else (edit.parents for edit in request.listed):
        yield from parents
    for each in fields(request):
        value = getattr(request, each.name)
        yield from (one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, str))


def towards(chosen: Sequence[str], to: str | None) -> Iterator[tuple[str, str]]:
    """Yield the pair of each chosen image and `to`, but for `to` itself."""
    return ((image_id, to or "") for image_id in chosen if image_id != to)


def evenly(frames: int) -> tuple[float, ...]:
    """Return `frames` strengths (at least 2), evenly from 0 to 1."""
    return tuple(round(i / (frames - 1), 12) for i in range(frames))


def as_numbers(values: Iterable[float]) -> tuple[float, ...]:
    """Return strengths as they are recorded: 1 and 1.0 are one strength, and give images one name.

    Raises:
        ConfigError: They are no sequence of numbers.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ConfigError(f"strengths is {values!r}; give numbers, such as (0.0, 0.5, 1.0)")
    try:
        return tuple(map(float, values))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"strengths is {values!r}; give numbers, such as (0.0, 0.5, 1.0)") from error


def default_pairing(pairing: str | None, to: str | None) -> str | None:
    """Return the pairing that is asked for: with the id of an image and without a pairing, it is towards that image."""
    return TOWARDS if pairing is None and to is not None else pairing


def check_pairing(
    pairing: str | None, to: str | None, listed: tuple[ListedEdit, ...] | None, known: tuple[str, ...]
) -> None:
    """Raise ConfigError unless exactly one of the `known` pairings and a list pairs the images."""
    if (pairing is None) == (listed is None):
        raise ConfigError(f"images are paired by exactly one of {', '.join(known)} and an edit list; give one")
    if pairing is not None and pairing not in known:
        raise ConfigError(f"the pairing is {pairing!r}; it must be one of {', '.join(known)}")
    if (pairing == TOWARDS) != (to is not None):
        raise ConfigError(f"the pairing {TOWARDS!r} needs the id of an image, and no other takes one")


def check_numbers(name: str, values: tuple[float, ...]) -> None:
    """Raise ConfigError unless there are values, all finite, and at most as many as a sequence may have frames."""
    if not values:
        raise ConfigError(f"there are no {name}; give at least one")
    for value in values:
        if not abs(value) < float("inf"):
            raise ConfigError(f"{name}: {value} is not finite; give finite numbers")
    check_frames(len(values))


def check_frames(frames: int) -> None:
    """Raise ConfigError if one sequence would have more frames than memory holds."""
    if frames > MOST_FRAMES:
        raise ConfigError(f"one sequence would have {frames} images; at most {MOST_FRAMES} are made, choose fewer")


def check_threshold(threshold: float) -> None:
    """Raise ConfigError for a threshold that no norm can be compared with."""
    if not 0 <= threshold < float("inf"):
        raise ConfigError(f"threshold is {threshold}; it must be finite and at least 0")
