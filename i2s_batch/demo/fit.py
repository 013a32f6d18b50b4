"""Makes the demo's generator: a small StyleGAN1 that learns to draw what `faces.render` draws.

    python -m i2s_batch.demo.fit generator.safetensors --pictures 48000 --seed 0

The leading coordinates of the normalised z are the face's parameters, so (z, picture) pairs are known and plain
regression is enough: no adversary. The synthesis is the one that everybody uses, `models.stylegan1`; only its
weights are computed anew from the trained variables in every step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F

from i2s_batch.demo.faces import NAMES, render
from i2s_batch.inversion.metrics import from_uint8
from i2s_batch.models import Generator, GeneratorWeights, build_generator, write_safetensors
from i2s_batch.models.layout import STYLEGAN1, Widths, shapes_of
from i2s_batch.models.mapping import mean_latent
from i2s_batch.models.operators import LRELU_SLOPE, SQRT2, nearest_then_conv_kernel, normalize_mean_square

RESOLUTION = 64
SETTINGS = {"resolution": RESOLUTION, "c_dim": 0, "mapping_layers": 4, "mapping_lr_multiplier": 1.0}
WIDTHS = Widths(
    z=len(NAMES), w=128, label=0, mapping=(128,) * 4, channels=(128, 128, 128, 128, 128, 128, 96, 96, 48, 48)
)
BATCH = 32
LEARNING_RATE = 3e-3
EMA = 0.998
# Pictures drawn before they are shown again; drawing takes a third of the time of a step.
POOL = 24_000
SAVE_EVERY = 4_000

Tensors = dict[str, torch.Tensor]


def start(seed: int) -> Tensors:
    """Untrained variables under the names of `models.layout`: standard normal weights, no bias, no noise."""
    stream = np.random.RandomState(seed)
    variables = {}
    for name, shape in shapes_of(STYLEGAN1, SETTINGS, WIDTHS).items():
        drawn = name.endswith(("weight", ".noise")) or name == "const"
        variables[name] = torch.from_numpy(stream.standard_normal(shape) if drawn else np.zeros(shape)).float()
    return variables


def folded(variables: Tensors) -> Tensors:
    """The buffers of `models.stylegan1.StyleGAN1` as differentiable functions of the trained variables.

    A test holds this against the module that is built from the same variables.
    """
    buffers = {"const": variables["const"][None], "rgb_bias": variables["to_rgb.bias"]}
    rgb = variables["to_rgb.weight"]
    buffers["rgb_weight"] = rgb[:, :, None, None] / math.sqrt(rgb.shape[1])
    for i in range(len(WIDTHS.channels)):
        own = {key: variables[f"layer.{i}.{key}"] for key in ("bias", "noise", "noise_strength")}
        own["noise_strength"] = own["noise_strength"][:, None, None]
        if i:
            weight = variables[f"layer.{i}.weight"]
            weight = weight * (SQRT2 / math.sqrt(weight[0].numel()))
            own["weight"] = weight if i % 2 else nearest_then_conv_kernel(weight)
        own["style_weight"] = variables[f"layer.{i}.style.weight"] / math.sqrt(WIDTHS.w)
        one = torch.ones(WIDTHS.channels[i])
        own["style_bias"] = variables[f"layer.{i}.style.bias"] + torch.cat([one, 0 * one])
        buffers |= {f"layers.{i}.{key}": value for key, value in own.items()}
    return buffers


def mapped(variables: Tensors, z: torch.Tensor) -> torch.Tensor:
    """z [B, 24] -> w [B, 128], with the run-time gains of `models.mapping`."""
    x = normalize_mean_square(z)
    for j in range(SETTINGS["mapping_layers"]):
        weight = variables[f"mapping.{j}.weight"]
        x = F.linear(x, weight * (SQRT2 / math.sqrt(weight.shape[1])), variables[f"mapping.{j}.bias"])
        x = F.leaky_relu(x, LRELU_SLOPE)
    return x


class Drawing(torch.nn.Module):
    """The frozen generator's synthesis as a `forward`, whose buffers `functional_call` can exchange."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, ws: torch.Tensor) -> torch.Tensor:
        return self.generator.synthesize(ws)


def draw(module: Drawing, variables: Tensors, z: torch.Tensor) -> torch.Tensor:
    """G(z): [B, 3, 64, 64], differentiable in the variables."""
    ws = mapped(variables, z)[:, None].expand(-1, module.generator.num_layers, -1)
    buffers = {f"generator.{name}": value for name, value in folded(variables).items()}
    made = torch.func.functional_call(module, buffers, (ws,))
    assert isinstance(made, torch.Tensor)
    return made


def faces_of(z: torch.Tensor) -> np.ndarray:
    """What G(z) ought to be: uint8 [B, 64, 64, 3]."""
    return render(normalize_mean_square(z.double()).numpy(), RESOLUTION)


def loss_of(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of the pictures and of their differences between neighbours, at three scales."""
    total = made.new_zeros(())
    for scale in (1, 2, 4):
        a, b = (F.avg_pool2d(t, scale) if scale > 1 else t for t in (made, wanted))
        total = total + (a - b).abs().mean()
        for axis in (2, 3):
            total = total + 2 * (a.diff(dim=axis) - b.diff(dim=axis)).abs().mean()
    return total


def pairs(pictures: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of (z, picture in [-1, 1]); new ones up to POOL pictures, then those again in random order."""
    stream = torch.Generator().manual_seed(seed)
    pool: list[tuple[torch.Tensor, np.ndarray]] = []
    for _ in range(0, pictures, BATCH):
        if len(pool) * BATCH < POOL:
            z = torch.randn(BATCH, WIDTHS.z, generator=stream)
            pool.append((z, faces_of(z)))
            z, faces = pool[-1]
        else:
            place = torch.randint(len(pool), (BATCH,), generator=stream).tolist()
            within = torch.randint(BATCH, (BATCH,), generator=stream).tolist()
            z = torch.stack([pool[p][0][i] for p, i in zip(place, within, strict=True)])
            faces = np.stack([pool[p][1][i] for p, i in zip(place, within, strict=True)])
        yield z, torch.stack([from_uint8(face, z) for face in faces])


def finished(variables: Tensors, origin: str) -> GeneratorWeights:
    """The trained variables as a generator with its mean latent."""
    tensors = {name: value.detach().numpy().copy() for name, value in variables.items()}
    weights = GeneratorWeights(STYLEGAN1, SETTINGS, tensors, origin)
    return GeneratorWeights(STYLEGAN1, SETTINGS, tensors | {"w_avg": mean_latent(weights, WIDTHS.z)}, origin)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--pictures", default=48_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def fit(out: Path, pictures: int, seed: int) -> None:
    """Fit the demo's generator and write it to OUT as float16 safetensors."""
    variables = start(seed)
    module = Drawing(build_generator(finished(variables, "")))
    constant = {"w_avg", *(name for name in variables if name.endswith(".noise"))}
    trained = [value.requires_grad_() for name, value in variables.items() if name not in constant]
    average = {name: value.detach().clone() for name, value in variables.items()}
    steps = pictures // BATCH
    optimiser = torch.optim.Adam(trained, lr=LEARNING_RATE, betas=(0.9, 0.99))
    begun, recent = time.monotonic(), 0.0
    for step, (z, wanted) in enumerate(pairs(pictures, seed + 1), start=1):
        for group in optimiser.param_groups:  # warm up, then a cosine to nothing
            group["lr"] = LEARNING_RATE * min(1, step / 100) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        loss = loss_of(draw(module, variables, z), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for name, value in average.items():
                value.lerp_(variables[name], 1 - min(EMA, (step + 1) / (step + 10)))
        recent += 0.02 * (loss.item() - recent) if recent else loss.item()
        if step * BATCH % SAVE_EVERY < BATCH or step == steps:
            seen, minutes = step * BATCH, (time.monotonic() - begun) / 60
            origin = f"i2s_batch.demo.fit, seed {seed}, {seen} pictures, loss {recent:.4f}"
            write_safetensors(finished(average, origin), out, dtype="float16")
            click.echo(f"{origin}, {minutes:.1f} min")


if __name__ == "__main__":
    fit()
