"""Reconstruction metrics of the final 8-bit picture at full resolution, peak 255."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F

PEAK = 255.0

# LPIPS: images [1, 3, R, R] in [-1, 1], twice -> a distance.
PerceptualDistance = Callable[[torch.Tensor, torch.Tensor], float]


def to_uint8(image: torch.Tensor) -> np.ndarray:
    """[3, R, R] with a nominal range of [-1, 1], clipped and rounded to uint8 [R, R, 3]."""
    levels = ((image.detach() + 1) * (PEAK / 2)).round().clamp(0, PEAK)
    return levels.to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def from_uint8(picture: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """uint8 [R, R, 3] as [3, R, R] in [-1, 1], with the dtype and device of `like`."""
    levels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).to(like.device, like.dtype)
    return levels / (PEAK / 2) - 1


def mse(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared error of two uint8 pictures, in squared levels."""
    return float(np.square(a.astype(np.float64) - b.astype(np.float64)).mean())


def psnr(mse_value: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error in squared levels, peak 255."""
    return math.inf if mse_value == 0 else 10 * math.log10(PEAK**2 / mse_value)


def ssim(a: np.ndarray, b: np.ndarray, device: torch.device | str = "cpu") -> float:
    """Mean structural similarity (Wang et al., 2004) of two uint8 [R, R, 3] pictures.

    Gaussian window of 11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03, mean over channels and over the places
    where the whole window fits (a picture smaller than the window gets a smaller one).
    """
    x, y = (torch.from_numpy(p.astype(np.float64)).to(device).permute(2, 0, 1)[:, None] for p in (a, b))
    size = min(11, x.shape[-1] - (x.shape[-1] + 1) % 2)
    offsets = torch.arange(size, dtype=torch.float64, device=device) - size // 2
    window = torch.exp(-offsets.square() / (2 * 1.5**2))
    window = window / window.sum()

    def blur(t: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.conv2d(t, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))

    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    mu_x, mu_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mu_x**2, blur(y * y) - mu_y**2
    cov = blur(x * y) - mu_x * mu_y
    similarity = (2 * mu_x * mu_y + c1) * (2 * cov + c2) / ((mu_x**2 + mu_y**2 + c1) * (var_x + var_y + c2))
    return float(similarity.mean())


def build_lpips(vgg_tensors: Mapping[str, np.ndarray], device: torch.device) -> PerceptualDistance:
    """LPIPS (Zhang et al., 2018), version 0.1, VGG: heads of the `lpips` package, trunk from `vgg_tensors`.

    `vgg_tensors` holds all 13 convolutions of a VGG-16 under torchvision's names.
    """
    with warnings.catch_warnings():
        # lpips builds its trunk through torchvision arguments that torchvision calls deprecated.
        warnings.simplefilter("ignore", UserWarning)
        import lpips

        network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    trunk = {}
    for name, value in vgg_tensors.items():
        layer = name.removeprefix("features.")
        trunk[f"{_lpips_slice(int(layer.split('.')[0]))}.{layer}"] = torch.from_numpy(np.array(value))
    network.net.load_state_dict(trunk)
    network = network.eval().requires_grad_(False).to(device, torch.float32)

    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        with torch.no_grad():
            return float(network(a.float(), b.float()))

    return distance


def _lpips_slice(index: int) -> str:
    """The part of lpips' trunk that holds torchvision's layer `features.<index>`."""
    starts = (0, 4, 9, 16, 23)
    return f"slice{sum(index >= start for start in starts)}"


def picture_metrics(
    picture: np.ndarray, target: np.ndarray, perceptual: PerceptualDistance | None, like: torch.Tensor
) -> dict[str, float | None]:
    """mse, psnr, ssim and lpips (None without a perceptual network) of two uint8 [R, R, 3] pictures."""
    error = mse(picture, target)
    pair = (from_uint8(p, like)[None] for p in (picture, target))
    return {
        "mse": error,
        "psnr": psnr(error),
        "ssim": ssim(picture, target, like.device),
        "lpips": perceptual(*pair) if perceptual is not None else None,
    }
