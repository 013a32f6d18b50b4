"""Scores latents of the held-out faces by edits whose truth can be drawn.

    truth = EditTruth(generator)
    truth.score(latents)                 # of the sixteen faces, in the order of `demo.held_out.drawn_images`

PSNR alone does not judge an edit: a face left as it is differs little from the truth. So each edit has two errors: that
inside the region which should change (where the drawings before and after differ, and two pixels around it), and that
outside it. `unedited` and `own` are rows to compare with: no edit at all, and the generator's own latents of the faces.

- Expressions: each face smiles as each other one does, 56 images, by the request of `i2s-batch edit expression` with
  its defaults.
- Turns: each face turns its head to the other side as a face of the generator does that is not it, 56 images, by the
  same request. The direction lies between two of the generator's own latents, so that all the error is of the face. Of
  the 24 coordinates it is the one whose change is large (no edit has five times the error of the generator's own), that
  the generator draws well, and whose region is neither a spot nor the whole image, as that of a tilt is.
- Morphs: the middle between each two neutral faces, 28 images, against the drawing of the mean coordinates.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from i2s_batch.demo.faces import NAMES, render
from i2s_batch.demo.held_out import FACES, SIDE, neutral_coordinates, smiling_coordinates
from i2s_batch.editing.edits.expression import Expression
from i2s_batch.editing.edits.morph import Morph
from i2s_batch.editing.registered import apply_recipe
from i2s_batch.editing.requests import ListedEdit
from i2s_batch.inversion.synthesis import images_of
from i2s_batch.models import Generator

AROUND = 2  # pixels
TURN = NAMES.index("turn")
TURNED = 1.3  # of a face turned to the other side, standard normal
_CHUNK = 8  # images drawn at once: their arrays stay in the processor's cache
Pixels = np.ndarray  # [..., 64, 64, 3] in [-1, 1]


@dataclass(frozen=True)
class RegionErrors:
    """Holds means over the images of an edit, against their truth.

    Attributes:
        psnr: In dB.
        inside: Mean squared error where the edit should change the image, on a scale of [-1, 1].
        outside: The same where it should not.
    """

    psnr: float
    inside: float
    outside: float


@dataclass(frozen=True)
class EditScores:
    """Holds what edits make of latents; `morph` is a PSNR in dB, None where there is none."""

    expression: RegionErrors
    turn: RegionErrors
    morph: float | None


class EditTruth:
    """Holds the drawings of all edits, and the generator's own latents that they need."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        neutral, smiling = neutral_coordinates(), smiling_coordinates()
        turned = neutral.copy()
        turned[:, TURN] = -np.sign(neutral[:, TURN]) * TURNED
        self._neutral = drawn(neutral)
        self._smiling, self._turned = drawn(smiling), drawn(turned)
        self.smile_regions = changed_regions(self._neutral, self._smiling)
        self.turn_regions = changed_regions(self._neutral, self._turned)
        self._pairs = list(itertools.permutations(range(FACES), 2))  # (content, whose change)
        self._middles = list(itertools.combinations(range(FACES), 2))
        means = [(neutral[i] + neutral[j]) / 2 for i, j in self._middles]
        self._between = drawn(np.array(means))
        both = np.stack([neutral, smiling], 1).reshape(2 * FACES, -1)
        self.own = self._mapped(both)
        self._turning: dict[str, np.ndarray] = {}
        for i, j in self._pairs:  # what face j does between the turns that face i has before and after
            before, after = neutral[j].copy(), neutral[j].copy()
            before[TURN], after[TURN] = neutral[i, TURN], turned[i, TURN]
            names = (f"{j} as {i}", f"{j} turned as {i}")
            self._turning |= dict(zip(names, self._mapped(np.stack([before, after])), strict=True))

    def _mapped(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the generator's own latents of faces, float32 [N, L, w_dim]."""
        z = torch.from_numpy(coordinates).to(self._generator.w_avg)
        with torch.no_grad():
            latents: np.ndarray = self._generator.map(z).cpu().numpy()
        return latents

    def score(self, latents: np.ndarray) -> EditScores:
        """Return the scores of the latents of the sixteen faces, float32 [16, L, w_dim]."""
        by_name = {f"{face}": latents[2 * face] for face in range(FACES)}
        by_name |= {f"{face} smiling": latents[2 * face + 1] for face in range(FACES)} | self._turning
        smiles = tuple(ListedEdit((f"{i}", f"{j}", f"{j} smiling")) for i, j in self._pairs)
        turns = tuple(ListedEdit((f"{i}", f"{j} as {i}", f"{j} turned as {i}")) for i, j in self._pairs)
        middles = tuple(ListedEdit((f"{i}", f"{j}")) for i, j in self._middles)
        smiling = self._edited(Expression(listed=smiles), by_name)
        turned = self._edited(Expression(listed=turns), by_name)
        between = self._edited(Morph((0.5,), listed=middles), by_name)
        content = [i for i, _ in self._pairs]
        return EditScores(
            region_errors(smiling, self._smiling[content], self.smile_regions[content]),
            region_errors(turned, self._turned[content], self.turn_regions[content]),
            float(psnr(between, self._between).mean()),
        )

    def unedited(self) -> EditScores:
        """Return the scores of faces that are drawn without a fault and left as they are."""
        smile, turn = (
            region_errors(self._neutral, truth, regions)
            for truth, regions in ((self._smiling, self.smile_regions), (self._turned, self.turn_regions))
        )
        return EditScores(smile, turn, None)

    def _edited(self, request: Expression | Morph, by_name: dict[str, np.ndarray]) -> Pixels:
        """Return the images that an edit makes of latents, in the order of its list."""
        sequences = request.sequences(sorted(by_name), self._generator.num_layers)
        recipes = [recipe for sequence in sequences for recipe in sequence.recipes]
        return self._shown(np.stack([apply_recipe(each, [by_name[name] for name in each.parents]) for each in recipes]))

    def _shown(self, latents: np.ndarray) -> Pixels:
        """Return the images of latents; all are NaN if one has values that are not finite."""
        chunks = np.array_split(latents.astype(np.float32), -(-len(latents) // _CHUNK))
        images = [image for chunk in chunks for image in images_of(chunk, self._generator) if image is not None]
        if len(images) < len(latents):
            return np.full((len(latents), SIDE, SIDE, 3), np.nan)
        return on_unit_scale(np.stack(images))


def drawn(coordinates: np.ndarray) -> Pixels:
    """Return the drawings of faces [N, 24], [N, 64, 64, 3] in [-1, 1]."""
    return on_unit_scale(render(coordinates, SIDE))


def on_unit_scale(images: np.ndarray) -> Pixels:
    """Return uint8 images as float64 in [-1, 1]."""
    scaled: Pixels = images.astype(np.float64) / 127.5 - 1
    return scaled


def changed_regions(before: Pixels, after: Pixels) -> np.ndarray:
    """Return where images differ in any channel, and `AROUND` pixels around it: bool [N, 64, 64]."""
    differ = torch.from_numpy((before != after).any(-1)).float()[:, None]
    wider = torch.nn.functional.max_pool2d(differ, 2 * AROUND + 1, stride=1, padding=AROUND)
    regions: np.ndarray = wider[:, 0].bool().numpy()
    return regions


def region_errors(images: Pixels, truth: Pixels, regions: np.ndarray) -> RegionErrors:
    """Return the errors of images [N, 64, 64, 3] against their truth, inside and outside the regions [N, 64, 64]."""
    squares = ((images - truth) ** 2).mean(-1)
    inside, outside = (
        float(np.mean([each[region].mean() for each, region in zip(squares, chosen, strict=True)]))
        for chosen in (regions, ~regions)
    )
    return RegionErrors(float(psnr(images, truth).mean()), inside, outside)


def psnr(images: Pixels, truth: Pixels) -> np.ndarray:
    """Return the peak signal-to-noise ratio of each image in dB, [N]; the peak of [-1, 1] is 2."""
    decibels: np.ndarray = 10 * np.log10(4 / ((images - truth) ** 2).mean((1, 2, 3)))
    return decibels


def mean_distance(latents: np.ndarray, w_avg: Sequence[float] | np.ndarray) -> float:
    """Return the mean over latents [N, L, w_dim] of the Euclidean norm of latent - w_avg over all layers."""
    return float(np.sqrt(((latents - np.asarray(w_avg)) ** 2).sum((1, 2))).mean())
