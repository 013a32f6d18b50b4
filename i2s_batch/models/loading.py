"""This module loads networks by name: a path or URL is staged to this machine, read, and built."""

from __future__ import annotations

from pathlib import Path

import torch

from i2s_batch.argument_types import path_or_url
from i2s_batch.errors import CheckpointError, ConfigError
from i2s_batch.models import (
    VGG16,
    Generator,
    GeneratorWeights,
    VGGWeights,
    build_generator,
    build_vgg,
    random_vgg,
    read_generator,
    read_vgg,
)
from i2s_batch.storage.urls import is_url

VGG_RANDOM = "random"
VGG_IMAGENET = "imagenet"


def generator_weights(source: str | Path) -> GeneratorWeights:
    """Read a StyleGAN checkpoint from a local path, `s3://` or `https://`; raises CheckpointError."""
    return read_generator(staged(source))


def vgg_weights(source: str | Path) -> VGGWeights:
    """Read VGG-16 weights: `imagenet` (torchvision's, fetched once), `random` (seeded), a path or a URL."""
    if source == VGG_RANDOM:
        return random_vgg()
    return read_vgg(_imagenet_file() if source == VGG_IMAGENET else staged(source))


def load_generator(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Generator:
    """Return a frozen generator from a checkpoint of any readable format: a local path, `s3://` or `https://`.

    Nothing in the file is executed.
    """
    location, (device, dtype) = path_or_url("path", path), _checked(device, dtype)
    return build_generator(generator_weights(location), device, dtype)


def load_vgg(
    source: str | Path = VGG_IMAGENET, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> VGG16:
    """Return the perceptual network: `imagenet`, `random`, a path or a URL of a torchvision VGG-16 state dict."""
    location, (device, dtype) = path_or_url("source", source), _checked(device, dtype)
    return build_vgg(vgg_weights(location), device, dtype)


def _checked(device: str | torch.device, dtype: torch.dtype) -> tuple[torch.device, torch.dtype]:
    """Return the device and the type of numbers; ConfigError if one of them is none."""
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device is {device!r}; give one that PyTorch knows, such as 'cpu' or 'cuda'") from error
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ConfigError(f"dtype is {dtype!r}; give a floating-point type, such as torch.float32")
    return found, dtype


def staged(source: str | Path, sha256_prefix: str | None = None, cache_dir: Path | None = None) -> Path:
    """Return the path of a file on this machine; one at a URL is fetched unless it is cached."""
    if not is_url(str(source)):
        return Path(source)
    from i2s_batch.storage.downloads import stage  # the engine alone needs no boto3

    return stage(str(source), sha256_prefix, cache_dir)


def _imagenet_file() -> Path:
    """Return the path of torchvision's ImageNet VGG-16, kept where torchvision itself keeps it."""
    advice = "give a torchvision VGG-16 state dict with --vgg FILE (random weights for trying: --vgg random)"
    try:
        from torchvision.models import VGG16_Weights
    except ImportError as error:
        raise CheckpointError(
            f"the address of the ImageNet VGG-16 comes with torchvision ({error}); {advice}"
        ) from error
    url = str(VGG16_Weights.IMAGENET1K_V1.url)
    kept = Path(str(torch.hub.get_dir())) / "checkpoints"
    prefix = url.rpartition("-")[2].removesuffix(".pth")
    file = kept / url.rpartition("/")[2]
    if file.is_file():
        return file
    try:
        return staged(url, prefix, kept)
    except CheckpointError as error:
        raise CheckpointError(
            f"the ImageNet weights of VGG-16 are not here and cannot be fetched ({error}); {advice}"
        ) from error
