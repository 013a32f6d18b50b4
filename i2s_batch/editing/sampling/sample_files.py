"""Samples as plain files in a folder: an image a seed and a contact sheet, and nothing else.

Everything is drawn again by the same command; a file that is there already must be the very same one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from i2s_batch.editing.edit_worker import batch_size
from i2s_batch.editing.sampling.request import SampleRequest
from i2s_batch.editing.sampling.seed_latents import SeedLatents
from i2s_batch.editing.sampling.seeds import Seeds, image_id_of, seed_of
from i2s_batch.editing.sampling.sheet import SHEET_IMAGES, sample_sheet
from i2s_batch.errors import ObjectNotFoundError, RunConflictError
from i2s_batch.images.read.decoding import encode_image
from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics
from i2s_batch.inversion.synthesis import images_of
from i2s_batch.models import Generator, GeneratorWeights, build_generator
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.ownership import check_file, check_free, find_record
from i2s_batch.run.device import device_errors
from i2s_batch.storage import Store, open_store
from i2s_batch.storage.files import is_temporary

_SUFFIX = ".png"


@dataclass(frozen=True)
class WrittenSamples:
    """Holds how many images were written, and the seeds without a file, whose images have values not finite."""

    written: int
    failed: tuple[int, ...]


def write_samples(
    request: SampleRequest, weights: GeneratorWeights, device: str, progress: Callable[[int], None]
) -> WrittenSamples:
    """Draw samples into OUT/seedNNNN.png and OUT/contact-sheet.png. One batch of images is in memory.

    Args:
        request: What is drawn.
        weights: Those of `request.generator`.
        device: "cpu" or "cuda".
        progress: Takes the number of images done, after each batch.

    Raises:
        ConfigError: The generator cannot be sampled so.
        RunConflictError: OUT holds something else, or other samples.
    """
    settings = request.settings.resolved(weights)
    store = open_store(request.out)
    check_out(store, settings.seeds)
    store.check_writable()
    dtype = set_numerics(request.config.precision)
    with device_errors(None):
        generator = build_generator(weights, torch.device(device), dtype, feature_map_dtype(request.config.precision))
    latents = SeedLatents(weights, settings)
    shown, failed, done = set(settings.seeds.spread(SHEET_IMAGES)), [], 0
    files: list[tuple[int, bytes]] = []
    for part in _batches(settings.seeds, request.config.batch_size or batch_size(generator)):
        for seed, data in _drawn(part, latents, generator):
            if data is None:
                failed.append(seed)
                continue
            _put_same(store, image_id_of(seed) + _SUFFIX, data)
            if seed in shown:
                files.append((seed, data))
        done += len(part)
        progress(done)
    _put_same(store, RunLayout.contact_sheet, sample_sheet(files, request.title))
    return WrittenSamples(done - len(failed), tuple(failed))


def _batches(seeds: Seeds, size: int) -> Iterator[list[int]]:
    every = iter(seeds)
    while part := list(itertools.islice(every, size)):
        yield part


def _drawn(seeds: list[int], latents: SeedLatents, generator: Generator) -> Iterator[tuple[int, bytes | None]]:
    """Yield the image file of each seed; None where the image is not finite."""
    with device_errors(len(seeds)):
        images = images_of(latents.of(seeds), generator)
    for seed, image in zip(seeds, images, strict=True):
        yield seed, None if image is None else encode_image(image, "png")


def check_out(store: Store, seeds: Seeds) -> None:
    """Raise RunConflictError unless OUT is free, or holds what this very command writes, as far as names tell."""
    store.check_can_write()
    if find_record(store) is not None:
        raise RunConflictError(
            f"{store.url!r} holds a run; give another OUT, or --table to resume samples that have a latent table"
        )
    check_file(store.url)
    check_free(store, lambda key: _is_of_samples(key, seeds))
    if not _is_there(store, RunLayout.contact_sheet):
        return
    images = sum(info.key != RunLayout.contact_sheet for info in store.list())
    if images < len(seeds):  # the sheet is written last
        raise RunConflictError(
            f"{store.uri(RunLayout.contact_sheet)!r} is the sheet of {images} samples, and {len(seeds)} are asked for; "
            "give another OUT"
        )


def _is_of_samples(key: str, seeds: Seeds) -> bool:
    if key == RunLayout.contact_sheet or is_temporary(key):
        return True
    seed = seed_of(key.removesuffix(_SUFFIX)) if key.endswith(_SUFFIX) else None
    return seed is not None and seed in seeds


def _is_there(store: Store, key: str) -> bool:
    return any(info.key == key for info in store.list(key))


def _put_same(store: Store, key: str, data: bytes) -> None:
    """Write a file where none is; leave one that has these bytes.

    Raises:
        RunConflictError: It has others.
    """
    while not store.put_new(key, data):
        try:
            present = store.get(key)
        except ObjectNotFoundError:
            continue  # deleted in between
        if present == data:
            return
        raise RunConflictError(
            f"{store.uri(key)!r} exists and is not what is drawn now: another checkpoint, psi, label or device made "
            "it, or it is no sample; give another OUT"
        )
