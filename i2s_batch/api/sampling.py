"""Samples of a generator: the latents and images that its own programs draw for some seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from i2s_batch.config import EditConfig
from i2s_batch.editing.sampling.request import SampleRequest
from i2s_batch.editing.sampling.sample_files import write_samples
from i2s_batch.editing.sampling.sample_run import SampleRun
from i2s_batch.editing.sampling.seeds import Seeds
from i2s_batch.editing.sampling.settings import SampleSettings
from i2s_batch.models import GeneratorWeights
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.layout import RunLayout
from i2s_batch.run.execution import WORKER_BYTES
from i2s_batch.run.pools import Cluster, InProcessCluster
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
    """

    out: str
    images: int
    failed: int
    folder: str
    contact_sheet: str
    table: str | None = None


def sample(
    generator: str,
    out: str,
    *,
    seeds: str | Iterable[int] = "0-15",
    psi: float = 0.7,
    cutoff: int | None = None,
    label: int | None = None,
    table: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | None = None,
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

    Raises:
        ConfigError: A value is outside its limits, or the generator cannot be sampled so.
        RunConflictError: `out` holds something else.
    """
    chosen = Seeds.parse(seeds) if isinstance(seeds, str) else Seeds.of(range(seed, seed + 1) for seed in seeds)
    settings = SampleSettings(chosen, psi, cutoff, label)
    config = EditConfig(precision=precision, device=device, batch_size=batch_size, in_process=True)
    request = SampleRequest(generator, out, settings, config)
    return carry_out(request, generator_weights(generator), table, InProcessCluster())


def carry_out(
    request: SampleRequest,
    weights: GeneratorWeights,
    table: bool,
    cluster: Cluster,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda done: None,
) -> Samples:
    """Carry out a request, with `table` as a run on `cluster`, without one in this process, on the cluster's device.

    Args:
        request: What is sampled.
        weights: Those of `request.generator`.
        table: Whether a latent table is written.
        cluster: Where it is computed.
        say: Takes the lines of a run.
        progress: Takes the number of images that are done, where there is no run.

    Raises what `sample` raises.
    """
    store, asked = open_store(request.out), len(request.settings.seeds)
    sheet = store.uri(RunLayout.contact_sheet)
    if not table:
        device = cluster.fleet(request.config, 1, WORKER_BYTES).device
        failed = len(write_samples(request, weights, device, progress).failed)
        return Samples(store.url, asked, failed, store.url, sheet)
    failed = SampleRun(request, weights, say).execute(cluster).failed
    return Samples(store.url, asked, failed, store.uri("pictures"), sheet, store.uri("latents"))
