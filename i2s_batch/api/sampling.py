"""`sample()` draws the latents and images that a generator's own programs draw for some seeds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from i2s_batch.api.options import output
from i2s_batch.api.sessions import PYTHON, Caller, Progress, check_device, execute, session, try_report
from i2s_batch.argument_types import path_or_url, typed
from i2s_batch.config import EditConfig
from i2s_batch.editing.sampling.request import SampleRequest
from i2s_batch.editing.sampling.sample_files import check_out, write_samples
from i2s_batch.editing.sampling.sample_run import SampleRun
from i2s_batch.editing.sampling.seeds import Seeds
from i2s_batch.editing.sampling.settings import SampleSettings
from i2s_batch.errors import ConfigError
from i2s_batch.models import GeneratorWeights
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.ownership import claim
from i2s_batch.plurals import counted
from i2s_batch.run.execution import WORKER_BYTES
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.run.progress import LINE_EVERY_S
from i2s_batch.run.terminal import LiveReporter
from i2s_batch.storage import open_store


@dataclass(frozen=True)
class Samples:
    """Holds what was sampled.

    Attributes:
        out: The output, a path or s3 url.
        images: How many images were asked for.
        failed: How many of them have values that are not finite, and so no file.
        folder: Where the image files are.
        contact_sheet: Where the sheet is.
        table: Where the latent table is; None where none was asked for.
        report: Where the page about the table is; None where there is none.
    """

    out: str
    images: int
    failed: int
    folder: str
    contact_sheet: str
    table: str | None = None
    report: str | None = None


def sample(
    generator: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    seeds: str | Iterable[int] | Seeds = "0-15",
    psi: float = 0.7,
    cutoff: int | None = None,
    label: int | None = None,
    table: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | None = None,
    progress: Progress = None,
    caller: Caller = PYTHON,
) -> Samples:
    """Draw samples of a generator, with stored noise: one PNG a seed, and a contact sheet.

    Args:
        generator: A checkpoint: a path, s3:// or https://.
        out: A folder or s3:// prefix that is new or empty, or holds these very samples.
        seeds: Whole numbers, or a text such as "0-15" or "1,5,9-12".
        psi: The truncation: 0 is the mean latent, 1 truncates nothing.
        cutoff: The layers below it are truncated; None: 8 of a StyleGAN1, as its program has it, all of the others.
        label: The class, from 0, of a conditional generator.
        table: Whether a latent table is written too, which can be queried and edited.
        device: "auto", "cpu" or "cuda".
        precision: "fp32", "tf32", "bf16" or "fp64".
        batch_size: Images drawn at once; None chooses by the resolution.
        progress: How it reports: None as suits a notebook, a terminal or a log, False not at all, or a function that
            takes each line.
        caller: For programs that sample as a command of their own.

    Raises:
        ConfigError: A value is outside its limits, or the generator cannot be sampled so.
        RunConflictError: `out` holds something else.
        RunStoppedError: It was stopped by Ctrl-C or SIGTERM; the same call again resumes it.
    """
    generator, out = path_or_url("generator", generator), output("out", out)
    settings = SampleSettings(_seeds(seeds), psi, cutoff, label)
    table = typed("table", table, bool)
    config = EditConfig(precision=precision, device=device, batch_size=batch_size, in_process=True)
    request = SampleRequest(generator, out, settings, config, caller.command)
    with session(progress) as report:
        check_device(config)
        store = open_store(out)
        if table:
            claim(store)
        else:
            check_out(store, settings.seeds)
        weights = generator_weights(generator)
        return _with_table(request, weights, caller, report) if table else _images_alone(request, weights, report)


def _seeds(seeds: str | Iterable[int] | Seeds) -> Seeds:
    if isinstance(seeds, Seeds):
        return seeds
    if not isinstance(seeds, Iterable):
        kind = type(seeds).__name__
        raise ConfigError(f"seeds is {seeds!r} ({kind}); give whole numbers, such as [1, 5], or a text, such as '0-15'")
    if not isinstance(seeds, str):
        seeds = [typed("a seed", seed, int) for seed in seeds]
    return Seeds.parse(seeds) if isinstance(seeds, str) else Seeds.of(range(seed, seed + 1) for seed in seeds)


def _images_alone(request: SampleRequest, weights: GeneratorWeights, report: Callable[[str], None]) -> Samples:
    """Draw the images in this process, on the device that a worker would have here."""
    store, asked = open_store(request.out), len(request.settings.seeds)
    device = InProcessCluster().fleet(request.config, 1, WORKER_BYTES).device
    failed = len(write_samples(request, weights, device, _counter(asked, report)).failed)
    return Samples(store.url, asked, failed, store.url, store.uri(RunLayout.contact_sheet))


def _with_table(
    request: SampleRequest, weights: GeneratorWeights, caller: Caller, report: Callable[[str], None]
) -> Samples:
    """Draw the images as a run that writes a table, in this process."""
    store, asked = open_store(request.out), len(request.settings.seeds)
    failed = execute(SampleRun(request, weights, report), True, caller, report).failed
    locations = (store.uri("pictures"), store.uri(RunLayout.contact_sheet), store.uri("latents"))
    return Samples(store.url, asked, failed, *locations, try_report(request.out, weights, report))


def _counter(images: int, report: Callable[[str], None]) -> Callable[[int], None]:
    """Return what reports how many of the images are done, in place or at intervals."""
    reported = time.monotonic()

    def count(done: int) -> None:
        nonlocal reported
        text = f"{done} of {counted(images, 'image')}"
        if isinstance(report, LiveReporter):
            report.show(text, done / images)
        elif time.monotonic() - reported >= LINE_EVERY_S:
            reported = time.monotonic()
            report(text)

    return count
