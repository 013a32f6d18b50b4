"""Judges recipes of embedding by both ends: the loss of an image, and what edits make of its latent.

    i2s-batch bench edits --photographs FOLDER --recipe optimizer=lbfgs,steps=250 --plot edits.png
    i2s-batch bench edits --learned learned.safetensors --recipe preset=fast --recipe preset=edit

A recipe is a name and the settings of an embedding. The images are held out: nothing may be learned from them
(`demo.held_out`). A row of the table holds, for each class of images, the loss as a multiple of that of the paper's
recipe (5000 steps of Adam) on the same image, as geometric mean and worst, and the scores of edits
(`bench.edit_scores`). The latents of the built-in recipes lie beside the bench (`bench.solved_images`), whose seconds
are their evaluations at the rate of a step of Adam that is measured at the start.

The loss is that of the demo's generator and a VGG-16 of random weights and full widths, in float32 with all weights 1,
whatever a recipe itself minimises.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.resources import as_file, files

import numpy as np
import torch

from i2s_batch.bench.edit_scores import EditScores, EditTruth, mean_distance
from i2s_batch.bench.quality import evaluated
from i2s_batch.bench.solved_images import SolvedImages
from i2s_batch.config import EmbedConfig
from i2s_batch.demo.held_out import CLASSES, HeldOutImage
from i2s_batch.errors import ConfigError
from i2s_batch.inversion import Embedder, EmbedResult
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.inversion.slot_state import SlotState
from i2s_batch.models import VGG16, Generator, build_generator, build_vgg, random_vgg, read_generator
from i2s_batch.presets import preset

FACE = CLASSES[0]
_TIMED_STEPS = 30
_FIXED = {"loss_weights", "fit", "batch_size", "compile", "learned"}  # settings that no recipe changes by itself
Networks = tuple[Generator, VGG16]


@dataclass(frozen=True)
class BenchRecipe:
    """Holds a way to embed an image; `name` is for people, and the name in a file of latents.

    `learned` is what its settings need of a learned file; None where they need none.
    """

    name: str
    embed: EmbedConfig
    learned: Learned | None = None


REFERENCE = BenchRecipe("adam-5000", EmbedConfig(steps=5000))
# The shorter ones come first: a longer one continues a shorter one.
BUILT_IN = (
    BenchRecipe("adam-1000", EmbedConfig(steps=1000)),
    BenchRecipe("adam-2000", EmbedConfig(steps=2000)),
    REFERENCE,
    BenchRecipe("lbfgs-1000", EmbedConfig(optimizer="lbfgs", steps=1000)),
)
UNEDITED, OWN = "no edit", "own latents"  # rows to compare with


@dataclass(frozen=True)
class ClassFigures:
    """Holds the figures of the images of one class, relative to `REFERENCE` where it says so.

    Attributes:
        images: How many there are.
        evaluations: Median and largest number of forward and backward passes of an image; None in rows to compare with.
        loss: The median loss.
        loss_ratio: The geometric mean of the losses over those of the reference; None where it is not known.
        worst_ratio: The largest of these ratios.
        perceptual: The mean of the perceptual terms of the loss.
        psnr: The mean in dB, as `ssim`, of the 8-bit image.
        distance: The mean distance of the latents from w_avg, over all layers.
    """

    images: int
    evaluations: tuple[float, int] | None
    loss: float
    loss_ratio: float | None
    worst_ratio: float | None
    perceptual: float
    psnr: float
    ssim: float
    distance: float


@dataclass(frozen=True)
class RecipeFigures:
    """Holds a row of the table.

    Attributes:
        recipe: The recipe's name.
        evaluations: As those of a class, of all images together.
        seconds: Mean seconds of an image; None where it is not known.
        classes: The figures of each class of images that the recipe was tried on.
        edits: The scores of edits; None if a face is missing.
    """

    recipe: str
    evaluations: tuple[float, int] | None
    seconds: float | None
    classes: dict[str, ClassFigures] = field(default_factory=dict)
    edits: EditScores | None = None


def recipe_of(text: str, learned: Learned | None = None) -> BenchRecipe:
    """Return the recipe of settings such as `optimizer=lbfgs,steps=300` or `preset=fast,steps=100`.

    Args:
        text: Names and values of `EmbedConfig`, beside them `preset`; `none` switches a setting off.
        learned: The learned file, for recipes that need one.

    Raises:
        ConfigError: A setting has another name, or a value outside its limits, or needs a learned file.
    """
    known = {each.name for each in fields(EmbedConfig)} - _FIXED | {"preset"}
    values: dict[str, int | float | str | None] = {}
    for pair in text.split(","):
        name, equals, value = pair.strip().partition("=")
        name = name.replace("-", "_")
        if not equals or name not in known:
            choices = ", ".join(sorted(known))
            raise ConfigError(f"recipe {text!r}: {pair!r} is no setting; give NAME=VALUE,... of {choices}")
        values[name] = _value(value)
    embed = preset(str(values.pop("preset", "paper")))
    embed = replace(embed, **values)  # type: ignore[arg-type]  # EmbedConfig checks them
    if not embed.uses_learned:
        return BenchRecipe(text, embed)
    if learned is None:
        raise ConfigError(f"recipe {text!r}: {embed.uses_learned} needs a learned file; add --learned FILE")
    return BenchRecipe(text, replace(embed, learned=learned.fingerprint), learned)


def _value(text: str) -> int | float | str | None:
    if text.lower() == "none":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def bench_networks(device: str = "cpu") -> Networks:
    """Return the demo's generator and a VGG-16 of random weights at full widths, in float32."""
    dtype = set_numerics("fp32")
    with as_file(files("i2s_batch.demo") / "generator.safetensors") as bundled:
        generator = build_generator(read_generator(bundled), device, dtype)
    return generator, build_vgg(random_vgg(), device, dtype)


def solve(
    networks: Networks, recipes: Sequence[BenchRecipe], images: Sequence[HeldOutImage], batch_size: int
) -> Iterator[tuple[BenchRecipe, SolvedImages]]:
    """Embed the images by each recipe, and yield its results as soon as it is done.

    The paper's recipe continues one of fewer steps that comes before it.
    """
    before: EmbedConfig | None = None
    states: dict[str, SlotState] = {}
    spent = 0.0
    for recipe in recipes:
        if not _continues(before, recipe.embed):
            states, spent = {}, 0.0
        began = time.monotonic()
        embed = replace(recipe.embed, batch_size=batch_size, compile=False)
        embedder = Embedder(*networks, embed, learned=recipe.learned)
        results = _results(embedder, images, states)
        spent += time.monotonic() - began
        before, states = recipe.embed, {one.image_id: one.state for one in results if one.state is not None}
        yield recipe, _solved(results, networks[0], spent / len(images))


def _continues(before: EmbedConfig | None, config: EmbedConfig) -> bool:
    """Return True if both are the paper's recipe, `config` with more steps: its path does not depend on its end."""
    if before is None or before.steps >= config.steps:
        return False
    return all(replace(one, steps=1) == EmbedConfig(steps=1) for one in (before, config))


def _results(embedder: Embedder, images: Sequence[HeldOutImage], states: Mapping[str, SlotState]) -> list[EmbedResult]:
    """Return the results in the order of the images; those that have a state resume from it."""
    waiting, found = list(images), dict[str, EmbedResult]()
    while len(found) < len(images):
        while waiting and embedder.free:
            image = waiting.pop(0)
            embedder.put(image.name, image.pixels, states.get(image.name))
        found |= {result.image_id: result for result in embedder.advance()}
    return [found[image.name] for image in images]


def _solved(results: Sequence[EmbedResult], generator: Generator, seconds: float) -> SolvedImages:
    diverged = np.full((generator.num_layers, generator.w_dim), np.nan, np.float32)
    latents = [diverged if one.latent is None else one.latent.astype(np.float32) for one in results]
    return SolvedImages(
        tuple(one.image_id for one in results),
        np.stack(latents),
        np.array([one.loss for one in results]),
        np.array([len(one.curve) for one in results]),
        seconds,
    )


def _median_and_most(evaluations: np.ndarray) -> tuple[float, int]:
    return float(np.median(evaluations)), int(evaluations.max())


def seconds_per_evaluation(networks: Networks, image: HeldOutImage, batch_size: int) -> float:
    """Return the seconds that one evaluation of one image takes here, in a full batch of steps of Adam."""
    images = [replace(image, name=f"{number}") for number in range(batch_size)]
    ((_, solved),) = solve(networks, [BenchRecipe("timed", EmbedConfig(steps=_TIMED_STEPS))], images, batch_size)
    return (solved.seconds or 0.0) / (_TIMED_STEPS + 1)


class EditBench:
    """Compares what recipes made of some images with what `REFERENCE` did.

    Args:
        networks: Those of `bench_networks`.
        images: The held-out images.
        reference: The results of `REFERENCE`; images that it lacks have no ratio, and no image has one if it is None.
    """

    def __init__(self, networks: Networks, images: Sequence[HeldOutImage], reference: SolvedImages | None) -> None:
        self._networks, self._images = networks, {image.name: image for image in images}
        self.truth = EditTruth(networks[0])
        self._faces = [image.name for image in images if image.label == FACE]
        self._reference: dict[str, float] = {}
        if reference is not None:
            known = reference.of(list(self._images))
            for name, latent in zip(known.names, known.latents, strict=True):
                self._reference[name] = self._evaluated(name, latent)[0]

    def _evaluated(self, name: str, latent: np.ndarray) -> list[float]:
        """Return loss, perceptual terms, PSNR and SSIM of a latent [L, w_dim] of an image."""
        if not np.isfinite(latent).all():
            return [np.inf, np.inf, 0.0, 0.0]
        return evaluated(self._networks, torch.from_numpy(latent), self._images[name].pixels)

    def figures(self, recipe: str, solved: SolvedImages, seconds: float | None = None) -> RecipeFigures:
        """Return the row of a recipe; `seconds`: of an image, where it was not measured.

        Raises:
            ConfigError: The recipe has none of the images.
        """
        solved = solved.of(list(self._images))
        if not solved.names:
            raise ConfigError(f"recipe {recipe!r} has latents of no held-out image; embed those of --write-images")
        found = np.array([self._evaluated(*pair) for pair in zip(solved.names, solved.latents, strict=True)])
        labels = np.array([self._images[name].label for name in solved.names])
        reference = np.array([self._reference.get(name, np.nan) for name in solved.names])
        faces = solved.latents_of(self._faces)
        of_images = (found, reference, solved.latents, solved.evaluations)
        return RecipeFigures(
            recipe,
            _median_and_most(solved.evaluations),
            solved.seconds or seconds,
            {
                label: self._of_class(*(each[labels == label] for each in of_images))
                for label in CLASSES
                if (labels == label).any()
            },
            None if faces is None or len(faces) < len(self.truth.own) else self.truth.score(faces),
        )

    def _of_class(
        self, found: np.ndarray, reference: np.ndarray, latents: np.ndarray, evaluations: np.ndarray
    ) -> ClassFigures:
        loss, perceptual, psnr, ssim = found.T
        ratios = (loss / reference)[~np.isnan(reference)]
        known = len(ratios) > 0
        return ClassFigures(
            images=len(found),
            evaluations=_median_and_most(evaluations),
            loss=float(np.median(loss)),
            loss_ratio=float(np.exp(np.log(ratios).mean())) if known else None,
            worst_ratio=float(ratios.max()) if known else None,
            perceptual=float(perceptual.mean()),
            psnr=float(psnr.mean()),
            ssim=float(ssim.mean()),
            distance=mean_distance(latents, self._networks[0].w_avg.cpu().numpy()),
        )

    def rows_to_compare_with(self) -> list[RecipeFigures]:
        """Return the row of drawings without any edit, and that of the generator's own latents of the faces."""
        own = self.truth.own
        evaluations = np.zeros(len(own), int)
        solved = SolvedImages(tuple(self._faces), own, np.full(len(own), np.nan), evaluations)
        figures = self.figures(OWN, solved)
        classes = {label: replace(each, evaluations=None) for label, each in figures.classes.items()}
        return [
            RecipeFigures(UNEDITED, None, None, edits=self.truth.unedited()),
            replace(figures, evaluations=None, classes=classes),
        ]
