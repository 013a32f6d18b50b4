"""What is to be edited: from a choice of images, or a list of jobs, to the sequences of pictures to be made."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from i2s_batch.editing.formulas import NORM_THRESHOLD, style_layers
from i2s_batch.editing.recipes import EXPRESSION, MORPH, REENACT, RENDER, STYLE, PictureSequence, Recipe
from i2s_batch.errors import ConfigError

ALL_PAIRS, CHAIN, TOWARDS = "all-pairs", "chain", "to"

MOST_FRAMES = 1_000_000  # of one sequence, whose recipes are in memory together: about 1 GB


@dataclass(frozen=True)
class Job:
    """A row of a list of jobs: the parents, and what it says of its own; None leaves the request's."""

    parents: tuple[str, ...]
    strengths: tuple[float, ...] | None = None
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.strengths is not None:
            _check_numbers("strengths", self.strengths)


class Request(Protocol):
    """An operation with its settings. `jobs`: None if the images are chosen."""

    @property
    def operation(self) -> str:
        """A key of `recipes.ROLES`."""

    @property
    def jobs(self) -> tuple[Job, ...] | None:
        """The list of jobs, if there is one; then no images are chosen."""

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[PictureSequence]:
        """What is to be made of the images `chosen`, in their order; the codes have `layers` layers."""


@dataclass(frozen=True)
class Morph:
    """Morphs at `strengths` between all pairs, through the chosen images one after the other, or towards `to`."""

    strengths: tuple[float, ...]
    pairing: str | None = None
    to: str | None = None
    jobs: tuple[Job, ...] | None = None
    operation: str = MORPH

    def __post_init__(self) -> None:
        _check_numbers("strengths", self.strengths)
        _check_pairing(self.pairing, self.to, self.jobs, (ALL_PAIRS, CHAIN, TOWARDS))

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[PictureSequence]:
        """One sequence a pair; a chain is one sequence, in which every image comes once."""
        if self.jobs is not None:
            for job in self.jobs:
                yield PictureSequence(tuple(self._frames(job.parents, job.strengths or self.strengths)))
        elif self.pairing == CHAIN:
            links = list(itertools.pairwise(chosen))
            _check_frames(len(links) * len(self.strengths))
            frames = [frame for link in links[:1] for frame in self._frames(link, self.strengths)]
            for link in links[1:]:
                frames += self._frames(link, tuple(a for a in self.strengths if a != 0))
            if frames:
                yield PictureSequence(tuple(frames))
        else:
            pairs = itertools.combinations(chosen, 2) if self.pairing == ALL_PAIRS else _towards(chosen, self.to)
            for pair in pairs:
                yield PictureSequence(tuple(self._frames(pair, self.strengths)))

    @staticmethod
    def _frames(pair: tuple[str, ...], strengths: tuple[float, ...]) -> Iterator[Recipe]:
        return (Recipe(MORPH, pair, strength) for strength in strengths)


@dataclass(frozen=True)
class Style:
    """Crossovers of every ordered pair, or of every image with the style `to`. The content keeps its first `keep`
    layers (half of them if None), or all but `layers`."""

    pairing: str | None = None
    to: str | None = None
    keep: int | None = None
    layers: tuple[int, ...] | None = None
    jobs: tuple[Job, ...] | None = None
    operation: str = STYLE

    def __post_init__(self) -> None:
        if self.keep is not None and self.layers is not None:
            raise ConfigError("a style takes either the layers that the content keeps, or those of the style, not both")
        _check_pairing(self.pairing, self.to, self.jobs, (ALL_PAIRS, TOWARDS))

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[PictureSequence]:
        """One picture each."""
        usual = tuple(style_layers(layers, self.keep)) if self.layers is None else self.layers
        _check_layers(usual, layers)
        if self.jobs is not None:
            for job in self.jobs:
                own = usual if job.layers is None else job.layers
                _check_layers(own, layers)
                yield PictureSequence((Recipe(STYLE, job.parents, layers=own),))
            return
        pairs = itertools.permutations(chosen, 2) if self.pairing == ALL_PAIRS else _towards(chosen, self.to)
        for pair in pairs:
            yield PictureSequence((Recipe(STYLE, pair, layers=usual),))


@dataclass(frozen=True)
class Expression:
    """The change from `neutral` to `expressive`, given at `strengths` to every chosen image."""

    strengths: tuple[float, ...] = (1.0,)
    neutral: str | None = None
    expressive: str | None = None
    threshold: float = NORM_THRESHOLD
    normalise: bool = False
    jobs: tuple[Job, ...] | None = None
    operation: str = EXPRESSION

    def __post_init__(self) -> None:
        _check_numbers("strengths", self.strengths)
        _check_threshold(self.threshold)
        given = [each is not None for each in (self.neutral, self.expressive)]
        if any(given) if self.jobs is not None else not all(given):
            raise ConfigError("an expression needs either the neutral and the expressive image, or a list of jobs")

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[PictureSequence]:
        """One sequence over the strengths for each image."""
        jobs = self.jobs
        if jobs is None:
            source = (self.neutral or "", self.expressive or "")
            jobs = tuple(Job((image_id, *source)) for image_id in chosen)
        for job in jobs:
            strengths = job.strengths or self.strengths
            settings = (None, self.threshold, self.normalise)
            yield PictureSequence(tuple(Recipe(EXPRESSION, job.parents, a, *settings) for a in strengths))


@dataclass(frozen=True)
class Reenact:
    """What each chosen frame differs in from `neutral`, their first if None, given to `target`: one film."""

    target: str
    neutral: str | None = None
    strength: float = 1.0
    threshold: float = NORM_THRESHOLD
    normalise: bool = False
    operation: str = REENACT
    jobs: None = None

    def __post_init__(self) -> None:
        _check_numbers("strength", (self.strength,))
        _check_threshold(self.threshold)

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[PictureSequence]:
        """One sequence: a picture a frame."""
        if not chosen:
            return
        _check_frames(len(chosen))
        neutral = chosen[0] if self.neutral is None else self.neutral
        parents = ((self.target, neutral, frame) for frame in chosen)
        settings = (self.strength, None, self.threshold, self.normalise)
        yield PictureSequence(tuple(Recipe(REENACT, three, *settings) for three in parents))


@dataclass(frozen=True)
class Render:
    """The chosen images as the generator draws them."""

    operation: str = RENDER
    jobs: None = None

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[PictureSequence]:
        """One picture each."""
        return (PictureSequence((Recipe(RENDER, (image_id,)),)) for image_id in chosen)


def _towards(chosen: Sequence[str], to: str | None) -> Iterator[tuple[str, str]]:
    return ((image_id, to or "") for image_id in chosen if image_id != to)


def _check_pairing(pairing: str | None, to: str | None, jobs: tuple[Job, ...] | None, known: tuple[str, ...]) -> None:
    if (pairing is None) == (jobs is None):
        raise ConfigError(f"what goes with what is to be said by exactly one of: {', '.join(known)}, a list of jobs")
    if pairing is not None and pairing not in known:
        raise ConfigError(f"the pairing is {pairing!r}; it must be one of {', '.join(known)}")
    if (pairing == TOWARDS) != (to is not None):
        raise ConfigError(f"the pairing {TOWARDS!r} needs the id of an image, and no other takes one")


def _check_numbers(name: str, values: tuple[float, ...]) -> None:
    if not values:
        raise ConfigError(f"there are no {name}; give at least one")
    for value in values:
        if not abs(value) < float("inf"):
            raise ConfigError(f"{name}: {value} is not finite; give finite numbers")
    _check_frames(len(values))


def _check_frames(frames: int) -> None:
    if frames > MOST_FRAMES:
        raise ConfigError(f"one sequence would have {frames} pictures; at most {MOST_FRAMES} are made, choose fewer")


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold < float("inf"):
        raise ConfigError(f"threshold is {threshold}; it must be finite and at least 0")


def _check_layers(chosen: tuple[int, ...], layers: int) -> None:
    for layer in chosen:
        if not 0 <= layer < layers:
            raise ConfigError(f"layer {layer} is to come from the style; the layers are 0 to {layers - 1}")
