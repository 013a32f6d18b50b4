"""Defines the settings: frozen, checked when made, printed by `--dry-run`, and saved beside the results."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TypeAlias

from i2s_batch.argument_types import check_fields
from i2s_batch.engine_registries import INITIALISATIONS, OPTIMIZERS
from i2s_batch.errors import ConfigError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

SPACES = ("w+", "w", "z")
FITS = ("crop", "pad", "stretch")
ALIGNMENTS = ("ffhq",)
FACES = ("largest", "all")
PICTURE_FORMATS = ("png", "jpeg", "webp")
# How rendered images leave: a file each, or an archive for each shard of the table.
PICTURE_OUTPUTS = ("files", "webdataset", "parquet")
ANIMATIONS = ("webp", "gif", "mp4")
PRECISIONS = ("fp32", "tf32", "bf16", "fp64")
AUTO_PRECISION = "auto"  # the fastest that is as good as fp32 on the device (`inversion.precision`)
NOISE_OBJECTIVES = ("pixel", "loss")
NOISE = ("drop", "keep")  # the noise maps of an image that is edited
DEVICES = ("auto", "cpu", "cuda")
MOST_STRENGTHS = 10_000  # in one edit: run.json and the metadata of every shard hold them all


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    _check(value in choices, f"{name} is {value!r}; it must be one of {', '.join(choices)}")


@dataclass(frozen=True)
class LossWeights:
    """Holds the loss weights of eq. (1) of Image2StyleGAN (its lambda terms), all 1 there."""

    pixel: float = 1.0
    conv1_1: float = 1.0
    conv1_2: float = 1.0
    conv3_2: float = 1.0
    conv4_2: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        for name, value in asdict(self).items():
            _check(0 <= value < float("inf"), f"loss weight {name} is {value}; it must be finite and >= 0")
        _check(any(asdict(self).values()), "all loss weights are 0; at least one must be above 0")


# The loss terms in the order in which the engine keeps them; the table has one column `loss_<term>` each.
TERMS = tuple(field.name for field in fields(LossWeights))


@dataclass(frozen=True)
class EmbedConfig:
    """Holds how one image is embedded, by default as in Image2StyleGAN: 5000 steps of Adam at 0.01 in W+ from the mean.

    Everything here may change an image's result except `batch_size` and `compile`, which change its rounding at most.

    Attributes:
        steps: Optimiser steps of each image.
        space: The latent space, one of `SPACES`.
        init: The initialisation, by its name in `engine_registries.INITIALISATIONS`.
        seed: Seed of everything that is drawn at random.
        fit: How an image that is not square is made square, one of `FITS`.
        batch_size: Images that are optimised in a batch.
        optimizer: The optimiser, by its name in `engine_registries.OPTIMIZERS`.
        learning_rate: The learning rate of Adam.
        beta1: The decay of Adam's mean of the gradients.
        beta2: The decay of Adam's mean of their squares.
        epsilon: The term added to the denominator of an Adam step.
        loss_weights: The weights of the loss terms.
        stop_plateau: Early stopping: an image ends when its best loss has improved by less than this many percent
            within `plateau_steps` steps; None switches it off.
        plateau_steps: The patience of early stopping, in steps.
        prior: The weight of the penalty on latents that are unlikely for the generator (`inversion.learned`), which is
            added to the loss; 0 leaves it out, as the paper does.
        target_loss: An image ends when its loss is at most this; None leaves it out.
        target_psnr: An image ends when its PSNR, in dB, of the image before it is rounded, is at least this; None
            leaves it out.
        learned: The fingerprint of the learned file (`inversion.learned`) that the initialisation, the optimiser or the
            prior uses, hex; empty without one.
        noise_steps: Steps of the noise stage: with the latent fixed, the noise maps of the image are optimised
            (Image2StyleGAN++); 0 leaves all images the stored noise.
        noise_objective: What the noise stage minimises, one of `NOISE_OBJECTIVES`: the pixel term alone, as published,
            or the whole loss.
        noise_learning_rate: The learning rate of Adam in the noise stage.
        noise_penalty: The weight of the mean squared distance of the noise maps' effects from those of the stored ones.
        compile: Whether the step of a full batch is compiled; None compiles where it is worth it, on a GPU.
    """

    steps: int = 5000
    space: str = "w+"
    init: str = "mean"
    seed: int = 0
    fit: str = "crop"
    batch_size: int = 4
    optimizer: str = "adam"
    learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    loss_weights: LossWeights = LossWeights()
    stop_plateau: float | None = None
    plateau_steps: int = 250
    prior: float = 0.0
    target_loss: float | None = None
    target_psnr: float | None = None
    learned: str = ""
    noise_steps: int = 0
    noise_objective: str = "pixel"
    noise_learning_rate: float = 0.1
    noise_penalty: float = 1e-5
    compile: bool | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        _check(1 <= self.steps <= 1_000_000, f"steps is {self.steps}; it must be between 1 and 1000000")
        _check_choice("space", self.space, SPACES)
        INITIALISATIONS.get(self.init)
        _check_choice("fit", self.fit, FITS)
        least = OPTIMIZERS.get(self.optimizer).least_window
        _check(0 <= self.seed < 2**63, f"seed is {self.seed}; it must be between 0 and 2^63 - 1")
        _check(1 <= self.batch_size <= 1024, f"batch size is {self.batch_size}; it must be between 1 and 1024")
        _check(
            0 <= self.noise_steps <= 1_000_000,
            f"noise steps are {self.noise_steps}; they must be between 0 and 1000000",
        )
        _check_choice("noise objective", self.noise_objective, NOISE_OBJECTIVES)
        limits = f"noise penalty is {self.noise_penalty}; it must be finite and >= 0"
        _check(0 <= self.noise_penalty < float("inf"), limits)
        for name in ("learning_rate", "noise_learning_rate", "epsilon"):
            value = getattr(self, name)
            words = name.replace("_", " ")
            _check(0 < value < float("inf"), f"{words} is {value}; it must be finite and above 0")
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            _check(0 <= value < 1, f"{name} is {value}; it must be at least 0 and below 1")
        if self.stop_plateau is not None:
            limits = f"early stopping is {self.stop_plateau} %; it must be above 0 and below 100"
            _check(0 < self.stop_plateau < 100, limits)
            patience = (
                f"patience is {self.plateau_steps} steps; with the optimizer {self.optimizer} it must be at least"
            )
            _check(least == 1 or self.plateau_steps >= least, f"{patience} {least}")
        _check(self.plateau_steps >= 1, f"patience is {self.plateau_steps} steps; it must be at least 1")
        self._check_learned()

    def _check_learned(self) -> None:
        """Raise ConfigError unless the settings that came with learned files are possible."""
        _check(0 <= self.prior < float("inf"), f"prior is {self.prior}; it must be finite and >= 0")
        for name, what in (("target_loss", "target loss"), ("target_psnr", "target PSNR")):
            value = getattr(self, name)
            _check(value is None or 0 < value < float("inf"), f"{what} is {value}; it must be finite and above 0")
        which = self.uses_learned
        _check(
            not which or self.space == "w+",
            f"space is {self.space!r}; with {which} it must be w+",
        )

    @property
    def uses_learned(self) -> str:
        """Return the first setting that needs a learned file, as 'init learned'; empty if none does."""
        if INITIALISATIONS.get(self.init).needs_learned:
            return f"init {self.init}"
        if OPTIMIZERS.get(self.optimizer).needs_learned:
            return f"optimizer {self.optimizer}"
        return f"prior {self.prior:g}" if self.prior else ""

    def identity(self) -> dict[str, Json]:
        """Return the settings that may change a result, as JSON values: a resumed run must have the same."""
        settings = asdict(self)
        del settings["batch_size"], settings["compile"]
        if self.stop_plateau is None:
            del settings["stop_plateau"], settings["plateau_steps"]
        if self.optimizer == "adam":
            del settings["optimizer"]
        for name in ("prior", "target_loss", "target_psnr", "learned"):
            if not settings[name]:  # runs of earlier versions do not record it
                del settings[name]
        if not self.noise_steps:
            del settings["noise_steps"], settings["noise_objective"]
            del settings["noise_learning_rate"], settings["noise_penalty"]
        return settings


@dataclass(frozen=True)
class ImageSettings:
    """Holds the settings that an image is embedded with. Images of equal settings can share a batch.

    Attributes:
        embed: The settings of the embedding.
        untrained: Whether the generator has random weights in place of its own.
    """

    embed: EmbedConfig
    untrained: bool = False


@dataclass(frozen=True)
class RunConfig:
    """Holds how a run over many images is carried out, whatever it does with them. None means auto.

    Attributes:
        precision: Arithmetic of the networks, one of `PRECISIONS`; of a run that embeds also `AUTO_PRECISION`, in place
            of which the run records what it chose.
        device: Where the workers compute, one of `DEVICES`.
        batch_size: Images in a batch of one worker; None chooses by measurement.
        actors: Number of workers; None starts one for each GPU, or one for each CPU core.
        shard_size: Rows in one file of the table.
        retry_failed: Whether images with a row that is not ok are tried again.
        max_failed_fraction: The run succeeds if no larger fraction of the images has failed, in [0, 1].
        in_process: Whether one worker runs in the process of the command itself, without Ray; None: where Ray gains
            nothing.
        overwrite: Whether a run that the output holds is deleted, and this one takes its place.
    """

    precision: str = "fp32"
    device: str = "auto"
    batch_size: int | None = None
    actors: int | None = None
    shard_size: int = 1000
    retry_failed: bool = False
    max_failed_fraction: float = 0.1
    in_process: bool | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        _check_choice("precision", self.precision, (*PRECISIONS, AUTO_PRECISION))
        _check_choice("device", self.device, DEVICES)
        if self.actors is not None:
            _check(1 <= self.actors <= 100_000, f"actors is {self.actors}; it must be at least 1, or auto")
            alone = f"actors is {self.actors}; with --in-process there is one worker: leave --actors out"
            _check(self.actors == 1 or not self.in_process, alone)
        if self.batch_size is not None:
            limits = "it must be between 1 and 1024, or auto"
            _check(1 <= self.batch_size <= 1024, f"batch size is {self.batch_size}; {limits}")
        _check(
            1 <= self.shard_size <= 100_000,
            f"shard size is {self.shard_size}; it must be between 1 and 100000",
        )
        fraction = self.max_failed_fraction
        _check(0 <= fraction <= 1, f"max failed fraction is {fraction}; it must be between 0 and 1")


@dataclass(frozen=True)
class EmbedRunConfig(RunConfig):
    """Holds how an embedding run is carried out.

    Attributes:
        embed: The settings of each image.
        checkpoint_every_s: Seconds between two checkpoints of the images in flight.
        tune_s: Seconds that a worker on a GPU may spend on measuring how its steps run fastest; 0 measures nothing.
        grow: Whether the run is updated incrementally: images that SOURCE has gained are added.
        source_moved: Whether SOURCE may lie elsewhere than the run recorded, if its images prove to be the same.
        preset: The name of the preset that `embed` was made from, for people; empty without one.
        align: How faces are aligned, one of `ALIGNMENTS`; None embeds images as they are.
        face_model: The model file of the face detector; None takes that of the installed package.
        box: The columns of a list that hold the part of each image to embed: one with four numbers, or four, separated
            by commas; None embeds whole images.
        min_size: The fewest pixels of an image's smaller side; a smaller image is not embedded. None takes all.
        dedupe: Whether of images with the same bytes only the first is embedded, whose result the others' rows get.
    """

    embed: EmbedConfig = EmbedConfig()
    checkpoint_every_s: float = 60.0
    tune_s: float = 240.0
    grow: bool = False
    source_moved: bool = False
    preset: str = ""
    align: str | None = None
    face_model: str | None = None
    box: str | None = None
    min_size: int | None = None
    dedupe: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_size is not None:
            _check(self.min_size >= 1, f"min size is {self.min_size} pixels; it must be at least 1")
        if self.align is not None:
            _check_choice("align", self.align, ALIGNMENTS)
            _check(self.box is None, f"box is {self.box!r}, and align {self.align!r}; give one of them")
        elif self.face_model is not None:
            raise ConfigError(f"face model is {self.face_model!r}, and nothing is aligned; leave it out")
        if self.box is not None:
            names = len(self.box_columns)
            _check(names in (1, 4), f"box names {names} columns; give one with four numbers, or x0,y0,x1,y1")
        _check(
            self.checkpoint_every_s > 0,
            f"checkpoint interval is {self.checkpoint_every_s}; it must be above 0 s",
        )
        _check(0 <= self.tune_s <= 400, f"tuning time is {self.tune_s}; it must be between 0 and 400 s")

    @property
    def box_columns(self) -> tuple[str, ...]:
        """Return the columns of `box`."""
        return tuple(name.strip() for name in (self.box or "").split(",") if name.strip())

    def identity(self) -> dict[str, Json]:
        """Return the settings that a resumed run must agree with, as JSON values."""
        since_first = {"align": self.align, "box": self.box, "min_size": self.min_size, "dedupe": self.dedupe or None}
        given: dict[str, Json] = {name: value for name, value in since_first.items() if value is not None}
        return {**self.embed.identity(), **given, "precision": self.precision, "shard_size": self.shard_size}


@dataclass(frozen=True)
class EditConfig(RunConfig):
    """Holds how a run that renders images is carried out.

    Attributes:
        picture_format: File format of the images, one of `PICTURE_FORMATS`.
        output: How the images leave, one of `PICTURE_OUTPUTS`.
        animation: File format of the animation that is made of each sequence, one of `ANIMATIONS`; None makes none.
        frames_per_second: Frame rate of animations.
        side_by_side: Whether each image is also written beside its photograph.
        unalign: Whether each face is also pasted into the photograph that it was aligned from.
        noise: Whether images are drawn with the stored noise or the maps of the image that is edited, one of `NOISE`.
    """

    picture_format: str = "png"
    output: str = "files"
    animation: str | None = None
    frames_per_second: float = 12.0
    side_by_side: bool = False
    unalign: bool = False
    noise: str = "drop"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("precision", self.precision, PRECISIONS)
        _check_choice("picture format", self.picture_format, PICTURE_FORMATS)
        _check_choice("output", self.output, PICTURE_OUTPUTS)
        alone = f"output is {self.output}, but comparisons side by side are files, one an image; leave one of them out"
        _check(self.output == "files" or not self.side_by_side, alone)
        pasted = f"unalign is not made with the output {self.output}; leave one of them out"
        _check(self.output == "files" or not self.unalign, pasted)
        _check_choice("noise", self.noise, NOISE)
        if self.animation is not None:
            _check_choice("animation", self.animation, ANIMATIONS)
        rate = self.frames_per_second
        _check(0 < rate <= 100, f"frames per second are {rate}; they must be above 0 and at most 100")

    def identity(self) -> dict[str, Json]:
        """Return the settings that a resumed run must agree with, as JSON values."""
        settings: dict[str, Json] = {"precision": self.precision, "shard_size": self.shard_size}
        settings["picture_format"] = self.picture_format
        if self.output != "files":
            settings["output"] = self.output
        if self.noise != "drop":
            settings["noise"] = self.noise
        return settings
