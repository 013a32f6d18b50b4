"""Measures what the noise stage gains and what kept noise does to edits, for several weights of its penalty.

    python -m i2s_batch.bench.noise --faces 4 --steps 500 --noise-steps 200 --penalty 0 --penalty 1e-5 --penalty 1e-3

Faces are drawn, neutral and smiling, so that the truth of an edit can be drawn: the smile of every other face, as
`edit expression` transfers it, and the midpoint of every two neutral faces. The first row has no noise stage: it is
also what edits give that drop the noise. The last line is JSON.

`psnr`, `ssim` and `loss` are means over the neutral faces with their maps; `distance`: the root mean square of the
maps' effects from those of the stored noise. Of edits with the maps kept: `edit` and `morph` are the PSNR against the
truth, `inside` and `outside` the root mean square error, in levels of 255, where the truth changes and elsewhere.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.resources import as_file, files

import numpy as np
import torch

from i2s_batch.bench.command_line import parser_of
from i2s_batch.config import EmbedConfig
from i2s_batch.demo.faces import NAMES, render
from i2s_batch.editing.formulas import add_direction, expression_direction
from i2s_batch.inversion import Embedder, EmbedResult
from i2s_batch.inversion.loss import Features
from i2s_batch.inversion.memory import keep_freed_memory
from i2s_batch.inversion.metrics import mse, psnr
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.inversion.synthesis import image_of
from i2s_batch.models import Generator, build_generator, build_vgg, random_vgg
from i2s_batch.models.loading import VGG_RANDOM, generator_weights, vgg_weights

_MOUTH = ("smile", "mouth_opening")
_NEUTRAL, _SMILING = (-0.3, -1.5), (1.8, 1.2)
_CHANGE = 8  # levels of 255: a pixel that changes by more belongs to what an edit should change
_MARGIN = 2  # pixels around it


@dataclass(frozen=True)
class Faces:
    """Holds drawn faces, uint8 [n, R, R, 3]: neutral, smiling, and the midpoints of every two neutral ones."""

    neutral: np.ndarray
    smiling: np.ndarray
    midpoints: np.ndarray

    @classmethod
    def drawn(cls, count: int, seed: int, side: int) -> Faces:
        """Return `count` faces of `side` pixels."""
        neutral = np.random.RandomState(seed).standard_normal((count, len(NAMES)))
        smiling = neutral.copy()
        columns = [NAMES.index(name) for name in _MOUTH]
        neutral[:, columns], smiling[:, columns] = _NEUTRAL, _SMILING
        middle = [(neutral[a] + neutral[b]) / 2 for a, b in itertools.combinations(range(count), 2)]
        return cls(*(render(np.array(each), side) for each in (neutral, smiling, middle)))

    @property
    def images(self) -> list[tuple[str, np.ndarray]]:
        """Return all faces to embed, with their ids."""
        neutral = [(f"neutral {number}", image) for number, image in enumerate(self.neutral)]
        return neutral + [(f"smiling {number}", image) for number, image in enumerate(self.smiling)]


@dataclass(frozen=True)
class Figures:
    """Holds the figures of one weight of the penalty, which the module describes."""

    psnr: float
    ssim: float
    loss: float
    distance: float
    edit: float
    inside: float
    outside: float
    morph: float
    seconds: float


def figures_of(
    faces: Faces, results: dict[str, EmbedResult], generator: Generator, kept: bool, seconds: float
) -> Figures:
    """Return the figures of results; `kept`: with their noise maps."""
    count = len(faces.neutral)
    neutral = [results[f"neutral {number}"] for number in range(count)]
    latents = {name: _latent(result) for name, result in results.items()}
    maps = [_maps(result) if kept else None for result in neutral]
    errors = []
    for to, source in itertools.permutations(range(count), 2):
        direction = expression_direction(latents[f"neutral {source}"], latents[f"smiling {source}"])
        image = image_of(add_direction(latents[f"neutral {to}"], direction, 1.0), generator, maps[to])
        errors.append(_errors(image, faces.neutral[to], faces.smiling[to]))
    morphs = []
    for (a, b), truth in zip(itertools.combinations(range(count), 2), faces.midpoints, strict=True):
        first, second = maps[a], maps[b]
        blend = None if first is None or second is None else (first + second) / 2
        middle = (latents[f"neutral {a}"] + latents[f"neutral {b}"]) / 2
        morphs.append(psnr(mse(image_of(middle, generator, blend), truth)))
    judged = [(r.noise.psnr, r.noise.ssim, r.noise.loss) for r in neutral if kept and r.noise is not None]
    judged = judged or [(r.metrics["psnr"] or 0.0, r.metrics["ssim"] or 0.0, r.loss) for r in neutral]
    distances = [_distance(each, generator) for each in maps if each is not None]
    means = (*np.mean(judged, 0), np.mean(distances or [0.0]), *np.mean(errors, 0), np.mean(morphs), seconds)
    return Figures(*(round(float(value), 5) for value in means))


def _latent(result: EmbedResult) -> np.ndarray:
    assert result.latent is not None
    return result.latent.astype(np.float64)


def _maps(result: EmbedResult) -> np.ndarray:
    assert result.noise is not None
    return result.noise.maps.astype(np.float32)


def _errors(image: np.ndarray, before: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Return the PSNR of an edit, and its root mean square error where the truth changes and elsewhere."""
    error = np.square(image.astype(np.float64) - truth).mean(2)
    region = _grown(np.abs(truth.astype(int) - before).max(2) > _CHANGE)
    return psnr(error.mean()), float(np.sqrt(error[region].mean())), float(np.sqrt(error[~region].mean()))


def _grown(region: np.ndarray) -> np.ndarray:
    """Return a region, bool [R, R], with a margin."""
    steps = range(-_MARGIN, _MARGIN + 1)
    padded = np.pad(region, _MARGIN)
    shifted = [np.roll(padded, (down, right), (0, 1)) for down in steps for right in steps]
    grown: np.ndarray = np.any(shifted, axis=0)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return grown


def _distance(maps: np.ndarray, generator: Generator) -> float:
    strengths = generator.noise_layout.expanded(generator.noise_strengths).cpu().numpy()
    return float(np.sqrt(np.square((maps - generator.stored_noise.cpu().numpy()) * strengths).mean()))


def measured(
    faces: Faces, generator: Generator, features: Features, config: EmbedConfig, penalties: Sequence[float]
) -> dict[str, Figures]:
    """Return the figures without the stage, and of each penalty; the latents are computed once."""
    results = {r.image_id: r for r in Embedder(generator, features, replace(config, noise_steps=0)).embed(faces.images)}
    table = {"no stage": figures_of(faces, results, generator, False, 0.0)}
    for penalty in penalties:
        began = time.monotonic()
        embedder = Embedder(generator, features, replace(config, noise_penalty=penalty))
        given = iter([image for image in faces.images if image[0].startswith("neutral")])
        found = dict(results)
        while True:
            while embedder.free and (each := next(given, None)) is not None:
                embedder.put(*each, results[each[0]].state)
            if not embedder.in_flight:
                break
            found |= {result.image_id: result for result in embedder.advance()}
        table[f"penalty {penalty:g}"] = figures_of(faces, found, generator, True, time.monotonic() - began)
    return table


def main() -> None:
    """Run the command line and print the figures."""
    parser = parser_of("noise", __doc__)
    usual = EmbedConfig()
    parser.add_argument("--faces", type=int, default=4, help="Number of drawn faces, at least 2.")
    parser.add_argument("--seed", type=int, default=20_261_127, help="Seed of the drawn faces.")
    parser.add_argument("--steps", type=int, default=500, help="Steps of the latent.")
    parser.add_argument("--optimizer", default=usual.optimizer, help="Optimizer of the latent.")
    parser.add_argument("--noise-steps", type=int, default=200, help="Steps of the noise stage.")
    parser.add_argument("--objective", default=usual.noise_objective, help="Objective of the noise stage.")
    parser.add_argument("--penalty", type=float, action="append", help="Weight of the penalty, again and again.")
    parser.add_argument("--generator", help="StyleGAN checkpoint; none is the demo's.")
    parser.add_argument("--vgg", default=VGG_RANDOM, help="VGG-16 weights: imagenet, random, a path or a URL.")
    parser.add_argument("--narrow", type=int, default=1, help="Divisor of the widths of a random VGG, for speed.")
    options = parser.parse_args()
    keep_freed_memory()
    dtype = set_numerics("fp32")
    with as_file(files("i2s_batch.demo") / "generator.safetensors") as bundled:
        generator = build_generator(generator_weights(options.generator or bundled), "cpu", dtype)
    weights = random_vgg(narrow=options.narrow) if options.vgg == VGG_RANDOM else vgg_weights(options.vgg)
    config = EmbedConfig(
        steps=options.steps,
        optimizer=options.optimizer,
        noise_steps=options.noise_steps,
        noise_objective=options.objective,
    )
    faces = Faces.drawn(options.faces, options.seed, generator.resolution)
    table = measured(faces, generator, build_vgg(weights, "cpu", dtype), config, options.penalty or [0.0, 1e-5, 1e-3])
    names = [each.name for each in fields(Figures)]
    print(f"{options.faces} faces, {generator.family} at {generator.resolution}, {weights.origin}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'':16}" + "".join(f"{name:>10}" for name in names))
    for name, row in table.items():
        print(f"{name:16}" + "".join(f"{value:10.4g}" for value in asdict(row).values()))
    print(json.dumps({name: asdict(row) for name, row in table.items()}))


if __name__ == "__main__":
    main()
