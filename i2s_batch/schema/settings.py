"""Reads the settings of a run as run.json and every shard hold them: once, with their types, by one loader."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import msgspec

from i2s_batch.config import EmbedConfig, EmbedRunConfig, Json, LossWeights

Loaded = TypeVar("Loaded")

MOST_ROWS = 2**31 - 1  # in a shard, as a record may claim: arithmetic with it stays within 64 bits
_MOST = 999_999  # of layers, and of numbers in a layer: the metadata of a shard have at most six digits too

EMBED, STUDY, EDIT = "embed", "study", "edit"


def load(value: object, kind: type[Loaded]) -> Loaded:
    """Return JSON values as a value of a dataclass.

    Raises:
        ValueError: A field is missing or has another type; the message names it.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from error


def json_object(content: bytes) -> dict[str, Json]:
    """Return the JSON object in some bytes; an empty one if they hold none."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class RunSettings:
    """Holds the settings that a resumed run must agree with. Settings that a kind of run does not have are None.

    Attributes:
        values: All settings as they were recorded, JSON values by name.
    """

    # What later versions and other kinds of runs record is compared, whatever it is. `Any` because msgspec, which reads
    # it, supports no recursive types such as `Json`.
    values: dict[str, Any]
    shard_size: int | None = None
    precision: str = "fp32"
    steps: int | None = None
    space: str | None = None
    init: str | None = None
    seed: int | None = None
    fit: str = "crop"
    align: str | None = None
    face_model: str | None = None
    box: str | None = None
    min_size: int | None = None
    dedupe: bool = False
    optimizer: str = "adam"
    learning_rate: float | None = None
    beta1: float | None = None
    beta2: float | None = None
    epsilon: float | None = None
    loss_weights: LossWeights | None = None
    stop_plateau: float | None = None
    plateau_steps: int | None = None
    prior: float | None = None
    target_loss: float | None = None
    target_psnr: float | None = None
    learned: str | None = None
    noise_steps: int | None = None
    noise_objective: str | None = None
    noise_learning_rate: float | None = None
    noise_penalty: float | None = None
    study: str | None = None
    sample: int | None = None
    classes: str | None = None
    operation: str | None = None
    picture_format: str | None = None
    output: str = "files"

    def __post_init__(self) -> None:
        if self.shard_size is not None and not 1 <= self.shard_size <= MOST_ROWS:
            raise ValueError(f"shard_size is {self.shard_size}; it is between 1 and {MOST_ROWS}")

    @classmethod
    def of(cls, values: Mapping[str, Json]) -> RunSettings:
        """Return the settings that are recorded as `values`.

        Raises:
            ValueError: A setting is damaged; the message names it.
        """
        return load({**values, "values": dict(values)}, cls)

    @property
    def kind(self) -> str:
        """Return the kind of the run: EMBED, STUDY or EDIT."""
        return STUDY if self.study is not None else EDIT if self.operation is not None else EMBED

    def embed_config(self) -> EmbedConfig:
        """Return how each image was embedded, for what a study did not vary.

        Raises:
            ConfigError: A setting is out of range.
        """
        names = {each.name for each in fields(EmbedConfig)} & {each.name for each in fields(self)}
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return EmbedConfig(**given)

    def embed_run_config(self) -> EmbedRunConfig:
        """Return how images were embedded and which part of each; a detector that was given is not known any more.

        Raises:
            ConfigError: A setting is out of range.
        """
        return EmbedRunConfig(embed=self.embed_config(), align=self.align, box=self.box, precision=self.precision)


@dataclass(frozen=True)
class GeneratorRecord:
    """Records the generator of a run.

    Attributes:
        fingerprint: sha256, hex.
        family: The architecture.
        origin: Where it was read.
        latent_shape: L and w_dim.
    """

    fingerprint: str
    family: str
    origin: str
    latent_shape: tuple[int, int]

    def __post_init__(self) -> None:
        if min(self.latent_shape) < 1 or max(self.latent_shape) > _MOST:
            raise ValueError(f"latent_shape is {list(self.latent_shape)}; both are between 1 and {_MOST}")

    @property
    def latent_size(self) -> int:
        """Return L * w_dim."""
        return self.latent_shape[0] * self.latent_shape[1]


@dataclass(frozen=True)
class VGGRecord:
    """Records the VGG-16 of a run: its fingerprint, sha256 hex, and where it was read."""

    fingerprint: str
    origin: str


@dataclass(frozen=True)
class TableSettings:
    """Holds what each shard records about the run that wrote it.

    Attributes:
        run: The settings of the run; their `values` hold what is named here, too.
        source: Where the images or, for an edit, the tables were; empty where that is not recorded.
    """

    run: RunSettings
    generator: GeneratorRecord | None = None
    vgg: VGGRecord | None = None
    source: str | tuple[str, ...] = field(default="")

    @classmethod
    def of(cls, values: Mapping[str, Json]) -> TableSettings:
        """Return what the metadata of a shard hold.

        Raises:
            ValueError: The metadata are damaged; the message names the field.
        """
        return load({**values, "run": {**values, "values": dict(values)}}, cls)
