"""`learn()` learns a generator once, so that its images need fewer steps."""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

import numpy as np

from i2s_batch.api.known import KnownImages, known_images, known_latents
from i2s_batch.api.options import loss_weights_of
from i2s_batch.api.sessions import Progress, check_device, session
from i2s_batch.argument_types import path_or_url, typed
from i2s_batch.config import Json, LossWeights, RunConfig
from i2s_batch.encoders.held_out import tried
from i2s_batch.encoders.kept_batches import KeptBatches
from i2s_batch.encoders.known_latents import latents_of_images
from i2s_batch.encoders.learning import HeldOut, LearnConfig
from i2s_batch.encoders.learning import learn as learn_networks
from i2s_batch.errors import ConfigError, RunConflictError, RunStoppedError
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.learned_file import write_learned
from i2s_batch.inversion.learned_loading import is_learned_file
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.models import VGG16, Generator, GeneratorWeights, VGGWeights, build_generator, build_vgg
from i2s_batch.models.loading import VGG_IMAGENET, generator_weights, vgg_weights
from i2s_batch.output.ownership import check_file
from i2s_batch.output.run_record import code_version
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.run.progress import LINE_EVERY_S
from i2s_batch.run.terminal import LiveReporter, duration, show_stage
from i2s_batch.storage.urls import hide_secrets, is_url

SUFFIX = ".safetensors"
# How images of a source are made square, as an embedding does unless it is told otherwise.
_FIT = "crop"


@dataclass(frozen=True)
class LearnResult:
    """Holds what was learned.

    Attributes:
        file: The learned file.
        fingerprint: Its sha256, hex, which a run that uses it records.
        origin: What it was learned from, in words.
        held_out: The figures on samples that nothing was learned from; None if none were asked for.
        next_command: The command that embeds images with it.
    """

    file: str
    fingerprint: str
    origin: str
    held_out: HeldOut | None
    next_command: str


@dataclass(frozen=True)
class _Request:
    """Holds what is learned, and where it goes."""

    generator: str
    vgg: str
    file: Path
    config: LearnConfig
    device: str
    from_table: str | None
    where: str | None
    ids: Sequence[str] | None
    images: str | None


def learn(
    generator: str | os.PathLike[str],
    file: str | os.PathLike[str],
    *,
    vgg: str | os.PathLike[str] = VGG_IMAGENET,
    samples: int = LearnConfig.samples,
    latents: int | None = None,
    loss_weights: Mapping[str, float] | None = None,
    seed: int = 0,
    held_out: int = LearnConfig.held_out,
    batch_size: int = LearnConfig.batch_size,
    device: str = "auto",
    from_table: str | os.PathLike[str] | None = None,
    where: str | None = None,
    ids: Sequence[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress = None,
) -> LearnResult:
    """Learn a generator once and write a learned file, as `i2s-batch learn` does.

    Results of batches are kept beside the file, in FILE.work, until it is written: the same call resumes.

    Args:
        generator: A StyleGAN checkpoint: a path, s3:// or https://.
        file: The file that is written, on this machine; it ends in .safetensors.
        vgg: The weights of the VGG-16: imagenet, random, a path or a URL.
        samples: Samples of the generator from which the start is learned.
        latents: Latents at which the curvature is measured; None for 1.6 probes a coordinate of a layer.
        loss_weights: The weights of loss terms by their names; the others are 1.
        seed: The seed of everything that is drawn at random.
        held_out: Samples on which the result is tried at the end.
        batch_size: Images that are computed at once.
        device: The device: auto, cpu or cuda.
        from_table: A table of the same generator, at whose latents the curvature is measured, too.
        where: A condition in SQL that chooses rows of the table.
        ids: The ids of its rows that are taken; None for all.
        images: Images that are embedded first, as of embed(); the curvature is measured at their latents, too.
        overwrite: Whether a file at `file` is replaced.
        progress: How it reports, as of embed().

    Raises:
        ConfigError: An argument is of another type or outside its limits.
        RunConflictError: `file` exists, or the table is of another generator.
        RunStoppedError: It was stopped by Ctrl-C or SIGTERM; the same call resumes it.
        I2SError: What else a user can mend.
    """
    config = LearnConfig(samples, latents, seed=seed, held_out=held_out, batch_size=batch_size)
    config = replace(config, loss_weights=loss_weights_of(loss_weights))
    table, source = (None if each is None else os.fspath(each) for each in (from_table, images))
    if table is None and (where is not None or ids is not None):
        raise ConfigError("where and ids have no effect without from_table; leave them out")
    request = _Request(
        *(
            path_or_url("generator", generator),
            path_or_url("vgg", vgg),
            Path(path_or_url("file", file)),
            config,
            device,
        ),
        *(table, typed("where", where, str | None), typed("ids", ids, Sequence[str] | None), source),
    )
    _check_target(request, typed("overwrite", overwrite, bool))
    with session(progress) as report, _stopped_by_sigterm():
        return _learned(request, report)


def _check_target(request: _Request, overwrite: bool) -> None:
    """Raise an error unless the file may be written."""
    file = str(request.file)
    if is_url(file) or request.file.suffix != SUFFIX:
        raise ConfigError(f"FILE is {file!r}; give a path on this machine that ends in {SUFFIX}")
    if not request.file.parent.is_dir():
        raise ConfigError(f"FILE is {file!r}, and there is no folder {str(request.file.parent)!r}; make it first")
    check_file(file)
    if not request.file.exists():
        return
    for name in (request.generator, request.vgg):
        if not is_url(name) and Path(name).exists() and request.file.samefile(name):
            raise ConfigError(f"{name!r} and {file!r} are the same file; give FILE another name")
    if not overwrite:
        ours = "is a learned file already, which the runs that used it need"
        what = ours if is_learned_file(request.file) else "exists, and learn did not write it"
        raise RunConflictError(f"{file!r} {what}; give another FILE, or --overwrite to replace it")


def _learned(request: _Request, report: Callable[[str], None]) -> LearnResult:
    run = RunConfig(device=request.device, in_process=True)
    check_device(run)
    show_stage(report, "reading the networks")
    weights, vgg = generator_weights(request.generator), vgg_weights(request.vgg)
    known = images = None
    if request.from_table is not None:
        known = known_latents(request.from_table, request.where, request.ids, weights, report)
    if request.images is not None:
        images = known_images(request.images, weights.settings.resolution, _FIT, report)
    work = request.file.with_name(f"{request.file.name}.work")
    kept = KeptBatches(work, _depends_on(request.config, weights, vgg, known, images))
    device = InProcessCluster().fleet(run, 1, 0).device
    dtype = set_numerics("fp32")
    networks = build_generator(weights, device, dtype), build_vgg(vgg, device, dtype)
    counter = _Counter(report, kept)
    learned = _learn(networks, request.config, known, images, kept, counter)
    held_out = None
    if request.config.held_out:
        show_stage(report, f"trying it on {request.config.held_out} samples that nothing was learned from")
        held_out = tried(*networks, learned, request.config)
    learned = write_learned(learned, request.file)
    kept.delete()
    return LearnResult(str(request.file), learned.fingerprint, learned.origin, held_out, _next_command(request))


def _learn(
    networks: tuple[Generator, VGG16],
    config: LearnConfig,
    known: np.ndarray | None,
    images: KnownImages | None,
    kept: KeptBatches,
    counter: _Counter,
) -> Learned:
    """Learn from samples and known latents; with images first from samples alone, with which these are embedded."""
    if images is not None:
        first = learn_networks(*networks, config, None, kept, counter)
        embedded = latents_of_images(*networks, first, config, list(images.uris), images.read, kept, counter)
        known = embedded if known is None else np.concatenate([known, embedded])
    return learn_networks(*networks, config, known, kept, counter)


def _depends_on(
    config: LearnConfig,
    generator: GeneratorWeights,
    vgg: VGGWeights,
    known: np.ndarray | None,
    images: KnownImages | None,
) -> dict[str, Json]:
    """Return what the kept results depend on."""
    settings: dict[str, Json] = asdict(config)
    for name in ("batch_size", "held_out", "ridge"):  # of rounding, or of what is computed from them
        del settings[name]
    return settings | {
        "generator": generator.fingerprint,
        "vgg": vgg.fingerprint,
        "known": None if known is None else hashlib.sha256(np.ascontiguousarray(known).tobytes()).hexdigest(),
        "images": None if images is None else images.sha256,
        "code_version": code_version(),
    }


class _Counter:
    """Reports how far learning is, in place or at intervals; results that were kept say nothing of the time left."""

    def __init__(self, report: Callable[[str], None], kept: KeptBatches) -> None:
        self._report, self._kept = report, kept
        self._reported = time.monotonic()
        self._what, self._reused, self._since, self._before = "", 0, self._reported, 0

    def __call__(self, done: int, total: int, what: str) -> None:
        """Show that `done` of `total` of what is learned now are done."""
        now = time.monotonic()
        if what != self._what or self._kept.reused > self._reused:
            self._what, self._reused, self._since, self._before = what, self._kept.reused, now, done
        left = ""
        if done > self._before and done < total:
            left = f", {duration((now - self._since) / (done - self._before) * (total - done))} left"
        text = f"learning the {what}: {done} of {total}{left}"
        if isinstance(self._report, LiveReporter):
            self._report.show(text, done / total)
        elif now - self._reported >= LINE_EVERY_S:
            self._reported = now
            self._report(text)


def _next_command(request: _Request) -> str:
    """Return the command that embeds images with the file."""
    words = ["i2s-batch", "embed", "SOURCE", "OUT", "--generator", hide_secrets(request.generator)]
    words += [] if request.vgg == VGG_IMAGENET else ["--vgg", hide_secrets(request.vgg)]
    weights = asdict(request.config.loss_weights)
    if request.config.loss_weights != LossWeights():
        words += ["--loss-weights", ",".join(f"{name}={weight:g}" for name, weight in weights.items())]
    return shlex.join([*words, "--preset", "fast", "--learned", str(request.file)])


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise RunStoppedError, as Ctrl-C raises KeyboardInterrupt; outside the main thread it cannot."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise RunStoppedError(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
