"""Makes the demo's generator: a small StyleGAN1 that learns to draw what `faces.render` draws.

    python -m i2s_batch.demo.fit first.safetensors --pictures 56000 --seed 0
    python -m i2s_batch.demo.fit second.safetensors --start first.safetensors --pictures 72000 --seed 1
    python -m i2s_batch.demo.fit third.safetensors --start second.safetensors --pictures 13600 --seed 2 --rate 6e-3
    python -m i2s_batch.demo.fit generator.safetensors --start third.safetensors --pictures 44000 --seed 4 --rate 6e-3

The coordinates of the normalised z are the face's parameters, so (z, picture) pairs are known and plain
regression is enough: no adversary. The network grows from 16 to 64 pixels, because a picture of 16 x 16 takes a
third of the time and already teaches the mapping, the colours and the shapes. The synthesis is the one that
everybody uses, `models.stylegan1`; only its buffers are computed again from the trained variables in every step.

The bundled file is these four commands, on one core of a shared 2-core EPYC (AVX2) each: 29 minutes, 64 (the other
core was busy), 13 and 42. They were made as the fit grew: the first ran with all pixels equally important, the second
with the face 4 times as important as the rim, the third with `importance`, all three without pairs; the fourth is as
it is now. Losses of different ones do not compare (0.671, 0.777, 1.494, 1.486). On 64 faces of unseen z the median
PSNR of G(z) is 29.0 dB (25.2 to 31.8; 24.3, 28.5 and 28.7 after the first, second and third command).

PSNR hides what matters for edits. After three commands every face had the same mean mouth and brows: of the change
that smile, mouth opening and brow height make in a face, G(z) made 0, 1 and 2 % (projected on it). With absolute errors
that is the optimum, since at no single place a mouth of another shape is likely. After the fourth, whose
`pair_loss` is squared, it makes 29, 68 and 68 %: closed and open mouths, teeth, frowns; 4,000 pictures already
gave 5, 28 and 34 %. The same pairs with an absolute loss (72,000 pictures, 64 minutes) gave 0. The loss was still
falling. 16 other drawn faces, embedded in W+ with the default loss and the random VGG, had a median PSNR of 33.0 dB
(28.1 to 36.2) after 500 steps; morphs and crossovers of them look right, and so does a smile given to another face.

Tried: rate 3e-3 reaches loss 2.27 after 4,000 pictures of 16 x 16, 1e-2 reaches 1.93 (1.26 and 1.01 after
16,000); 64 x 64 from the start, batches of 32, rate 3e-3: 14.7 dB after 8,000 pictures and 10 minutes, no features.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from i2s_batch.demo.faces import NAMES, render
from i2s_batch.models import Generator, GeneratorWeights, build_generator, read_generator, write_safetensors
from i2s_batch.models.mapping import mean_latent
from i2s_batch.models.network_layout import Widths, shapes_of
from i2s_batch.models.network_settings import StyleGAN1Settings, num_layers
from i2s_batch.models.operators import LRELU_SLOPE, SQRT2, nearest_then_conv_kernel, normalize_mean_square

SHARES = {16: 0.4, 32: 0.3, 64: 0.3}  # of the pictures, by resolution
RESOLUTION = max(SHARES)
MAPPING_LAYERS = 4
W_DIM = 128
CHANNELS = (128, 128, 128, 128, 128, 128, 80, 80, 40, 40)
BATCH = 8
LEARNING_RATE = 1e-2
WARM_UP = 50  # steps, after every growth
EMA = 0.998
SAVE_EVERY = 500  # steps
EXAGGERATED = 1.3
CHANGE_WEIGHT = 8.0
EXPRESSION = [NAMES.index(name) for name in ("smile", "mouth_opening", "brow_height", "brow_tilt")]

Tensors = dict[str, torch.Tensor]


def settings_of(resolution: int) -> StyleGAN1Settings:
    """Return the settings of the generator: no 0.01 in the mapping, with which faces stayed blurred."""
    return StyleGAN1Settings(resolution, c_dim=0, mapping_layers=MAPPING_LAYERS, mapping_lr_multiplier=1.0)


def grown(variables: Tensors, resolution: int, stream: np.random.RandomState) -> Tensors:
    """Return those of `variables` that a generator of `resolution` has, and new ones where it has none of that shape.

    New ones have standard normal weights, no bias, no noise. Names are those of `models.network_layout`.
    """
    channels = CHANNELS[: num_layers(resolution)]
    widths = Widths(z=len(NAMES), w=W_DIM, label=0, mapping=(W_DIM,) * MAPPING_LAYERS, channels=channels)
    all_variables = {}
    for name, shape in shapes_of(settings_of(resolution), widths).items():
        drawn = name.endswith(("weight", ".noise")) or name == "const"
        new = torch.from_numpy(stream.standard_normal(shape) if drawn else np.zeros(shape)).float()
        old = variables.get(name)
        all_variables[name] = new if old is None or old.shape != new.shape else old.detach().clone()
    return all_variables


def folded(variables: Tensors) -> Tensors:
    """Return the buffers of `models.stylegan1.StyleGAN1` as differentiable functions of the trained variables.

    A test compares this with the module that is built from the same variables.
    """
    rgb = variables["to_rgb.weight"]
    buffers = {
        "const": variables["const"][None],
        "rgb_weight": rgb[:, :, None, None] / math.sqrt(rgb.shape[1]),
        "rgb_bias": variables["to_rgb.bias"],
    }
    for i in range(sum(name.endswith(".noise") for name in variables)):
        style, style_bias = variables[f"layer.{i}.style.weight"], variables[f"layer.{i}.style.bias"]
        own = {
            "bias": variables[f"layer.{i}.bias"],
            "noise": variables[f"layer.{i}.noise"],
            "noise_strength": variables[f"layer.{i}.noise_strength"][:, None, None],
            "style_weight": style / math.sqrt(style.shape[1]),
            "style_bias": style_bias + (torch.arange(len(style_bias)) < len(style_bias) // 2),
        }
        if i:
            weight = variables[f"layer.{i}.weight"]
            weight = weight * (SQRT2 / math.sqrt(weight[0].numel()))
            own["weight"] = weight if i % 2 else nearest_then_conv_kernel(weight)
        buffers |= {f"layers.{i}.{key}": value for key, value in own.items()}
    return buffers


def mapped(variables: Tensors, z: torch.Tensor) -> torch.Tensor:
    """Return w [B, 128] of z [B, 24], with the run-time gains of `models.mapping`."""
    x = normalize_mean_square(z)
    for j in range(MAPPING_LAYERS):
        weight = variables[f"mapping.{j}.weight"]
        x = F.linear(x, weight * (SQRT2 / math.sqrt(weight.shape[1])), variables[f"mapping.{j}.bias"])
        x = F.leaky_relu(x, LRELU_SLOPE)
    return x


class Drawing(torch.nn.Module):
    """Offers a frozen generator's synthesis as a `forward`, whose buffers `functional_call` can exchange."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, ws: torch.Tensor) -> torch.Tensor:
        """Return the images of `ws`, [B, L, w_dim]."""
        return self.generator.synthesize(ws)


def draw(module: Drawing, variables: Tensors, z: torch.Tensor) -> torch.Tensor:
    """Return G(z), [B, 3, R, R], differentiable in the variables."""
    ws = mapped(variables, z)[:, None].expand(-1, module.generator.num_layers, -1)
    buffers = {f"generator.{name}": value for name, value in folded(variables).items()}
    made = torch.func.functional_call(module, buffers, (ws,))
    assert isinstance(made, torch.Tensor)
    return made


def faces_of(z: torch.Tensor, resolution: int) -> torch.Tensor:
    """Return what G(z) ought to be: float32 [B, 3, R, R] in [-1, 1]."""
    faces = render(normalize_mean_square(z.double()).numpy(), resolution)
    return torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1


def drawn_latents(stream: torch.Generator) -> torch.Tensor:
    """Return z [BATCH, 24], standard normal, as pairs of opposite expressions.

    Each of the second half is one of the first with the opposite expression, made strong.
    """
    z = torch.randn(BATCH // 2, len(NAMES), generator=stream)
    other = z.clone()
    z[:, EXPRESSION] *= EXAGGERATED
    other[:, EXPRESSION] *= -EXAGGERATED
    return torch.cat((z, other))


def importance(resolution: int) -> torch.Tensor:
    """Return the weight of each pixel, [R, R]: 1 at the rim, up to 12 where features are.

    Features are small beside hair and background, and learnt last.
    """
    centres = (torch.arange(resolution) + 0.5) * 2 / resolution - 1
    x, y = centres[None, :], centres[:, None]
    face = 3 * torch.exp(-(x**2 + (y - 0.28) ** 2) / 0.16)
    mouth = 8 * torch.exp(-(x**2) / 0.1 - (y - 0.45) ** 2 / 0.03)
    brows = 5 * torch.exp(-(x**2) / 0.15 - (y + 0.18) ** 2 / 0.02)
    return 1 + face + mouth + brows


def loss_of(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute error, by importance, of the images and of their gradients, at three scales."""
    weighted = (made - wanted) * importance(made.shape[-1])
    total = made.new_zeros(())
    for scale in (1, 2, 4):
        error = F.avg_pool2d(weighted, scale) if scale > 1 else weighted
        total = total + error.abs().mean() + sum(2 * error.diff(dim=axis).abs().mean() for axis in (2, 3))
    return total


def pair_loss(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the loss of the images, and of the difference that the change of expression makes in them.

    The second term is squared. The median of the mouths that are possible at a position is no mouth, so absolute errors
    alone teach a small network to draw none.
    """
    (first, other), (wanted_first, wanted_other) = made.chunk(2), wanted.chunk(2)
    error = ((other - first) - (wanted_other - wanted_first)) ** 2 * importance(made.shape[-1])
    return loss_of(made, wanted) + CHANGE_WEIGHT * error.mean()


def finished(variables: Tensors, resolution: int, origin: str) -> GeneratorWeights:
    """Return the trained variables as a generator with its mean latent."""
    settings = settings_of(resolution)
    tensors = {name: value.detach().numpy().copy() for name, value in variables.items()}
    weights = GeneratorWeights(settings, tensors, origin)
    return GeneratorWeights(settings, tensors | {"w_avg": mean_latent(weights, len(NAMES))}, origin)


def learning_rate(step: int, steps: int, is_last: bool, highest: float) -> float:
    """Return the learning rate: a warm-up after every growth, and at the last resolution a cosine to 0."""
    decay = 0.5 + 0.5 * math.cos(math.pi * step / steps) if is_last else 1.0
    return highest * min(1, step / WARM_UP) * decay


def fit_at(variables: Tensors, resolution: int, steps: int, seed: int, out: Path, rate: float) -> Tensors:
    """Train in place at one resolution; save, and return, the running average of the variables."""
    module = Drawing(build_generator(finished(variables, resolution, "")))
    constant = {"w_avg", *(name for name in variables if name.endswith(".noise"))}
    trained = [value.requires_grad_() for name, value in variables.items() if name not in constant]
    average = {name: value.detach().clone() for name, value in variables.items()}
    optimiser = torch.optim.Adam(trained, lr=rate, betas=(0.9, 0.99), fused=True)
    stream = torch.Generator().manual_seed(seed * 1000 + resolution)
    begun, recent = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        z = drawn_latents(stream)
        optimiser.param_groups[0]["lr"] = learning_rate(step, steps, resolution == RESOLUTION, rate)
        loss = pair_loss(draw(module, variables, z), faces_of(z, resolution))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for name in variables.keys() - constant:
                average[name].lerp_(variables[name], 1 - min(EMA, step / (step + 10)))
        recent += max(0.01, 1 / step) * (loss.item() - recent)
        if step % SAVE_EVERY == 0 or step == steps:
            origin = f"i2s_batch.demo.fit, seed {seed}, {step * BATCH} pictures at {resolution} px, loss {recent:.4f}"
            write_safetensors(finished(average, resolution, origin), out, dtype="float16")
            print(f"{origin}, {(time.monotonic() - begun) / 60:.1f} min", flush=True)
    return average


def fit(out: Path, pictures: int, seed: int, start: Path | None = None, rate: float = LEARNING_RATE) -> None:
    """Fit the demo's generator and write it to `out` as float16 safetensors.

    With `start`, a file that an earlier fit wrote, it continues from there at the last resolution alone.
    """
    stream = np.random.RandomState(seed)
    variables: Tensors = {}
    shares = SHARES
    if start is not None:
        variables = {name: torch.from_numpy(value).float() for name, value in read_generator(start).tensors.items()}
        shares = {RESOLUTION: 1.0}
    for resolution, share in shares.items():
        variables = grown(variables, resolution, stream)
        variables = fit_at(variables, resolution, round(pictures * share / BATCH), seed, out, rate)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m i2s_batch.demo.fit", description=fit.__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="File that gets the generator, .safetensors.")
    parser.add_argument(
        "--pictures",
        type=int,
        default=56_000,
        help="Number of drawn images, over all resolutions. [default: %(default)s]",
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of weights and faces. [default: %(default)s]")
    parser.add_argument("--rate", type=float, default=LEARNING_RATE, help="Learning rate. [default: %(default)s]")
    parser.add_argument(
        "--start", type=Path, metavar="FILE", help="Generator of an earlier fit, from which this one continues."
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    fit(options.out, options.pictures, options.seed, options.start, options.rate)


if __name__ == "__main__":
    main()
