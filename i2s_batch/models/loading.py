"""This module loads networks: a path, a URL or the name of published weights is staged, read, and built."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
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
from i2s_batch.weights.published import IMAGENET, PUBLISHED, Network, PublishedWeights

VGG_RANDOM = "random"
VGG_IMAGENET = IMAGENET

Check = Callable[[Path], object]
_READERS: Mapping[Network, Check] = {"generator": read_generator, "vgg": read_vgg}


def generator_weights(source: str | Path) -> GeneratorWeights:
    """Read a StyleGAN checkpoint: a local path, `s3://`, `https://`, or a name such as `ffhq1024`.

    Raises:
        CheckpointError: It cannot be had, or is no generator.
    """
    return read_generator(staged(source, "generator"))


def vgg_weights(source: str | Path) -> VGGWeights:
    """Read VGG-16 weights: `imagenet` (torchvision's, fetched once), `random` (seeded), a path or a URL."""
    if source == VGG_RANDOM:
        return random_vgg()
    return read_vgg(staged(source, "vgg"))


def load_generator(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Generator:
    """Return a frozen generator from a checkpoint of any readable format.

    `path` is a local path, `s3://`, `https://`, or the name of published weights such as `ffhq1024`, whose licence has
    been accepted (`i2s_batch.get_weights`). Nothing in the file is executed.
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


def staged(source: str | Path, network: Network | None = None, check: Check | None = None) -> Path:
    """Return the path of a file on this machine; one at a URL, or with a name, is fetched unless it is cached.

    Args:
        source: A local path, a URL, or the name of published weights.
        network: The network that it holds; None for a file that holds none, and has no name.
        check: Reads a fetched file before it is cached, and raises CheckpointError for a wrong one; None for the reader
            of the network.

    Raises:
        CheckpointError: It cannot be had, or holds no such network.
    """
    name = str(source)
    if network is not None and name in PUBLISHED:
        return _published_file(PUBLISHED.get(name), network)
    if not is_url(name):
        if network is not None and re.fullmatch(r"[\w-]+", name) and not Path(name).exists():
            raise _unknown(name)
        return Path(source)
    from i2s_batch.storage.downloads import stage  # the engine alone needs no boto3

    return stage(name, check=_READERS[network] if check is None and network is not None else check)


def _unknown(name: str) -> CheckpointError:
    near = difflib.get_close_matches(name, [each.name for each in PUBLISHED], 1)
    meant = f"did you mean {near[0]!r}?" if near else "`i2s-batch weights list` shows the names"
    return CheckpointError(f"{name!r} is neither a file nor the name of published weights; {meant}")


def _published_file(entry: PublishedWeights, network: Network) -> Path:
    """Return the file of published weights; an ImageNet VGG-16 is kept where torchvision itself keeps it."""
    from i2s_batch.weights.named import NamedFile

    if network != entry.network:
        raise CheckpointError(f"{entry.name!r} is the name of a {entry.network}, not of a {network}; give another one")
    if entry.name != VGG_IMAGENET and Path(entry.name).is_file():
        raise CheckpointError(
            f"{entry.name!r} is the name of published weights and of a file in this folder; give the file's "
            "whole path, or run the command in another folder"
        )
    file = NamedFile(entry, _READERS[network], Path(str(torch.hub.get_dir())))
    if entry.name != VGG_IMAGENET:
        return file.fetched()
    advice = "give a torchvision VGG-16 state dict with --vgg FILE (random weights for trying: --vgg random)"
    try:
        return file.fetched()
    except CheckpointError as error:
        raise CheckpointError(f"the ImageNet weights of VGG-16 cannot be had: {error}; or {advice}") from error
