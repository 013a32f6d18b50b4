"""`embed()` turns the images of a source into a table of W+ latents."""

from __future__ import annotations

import os
from typing import Unpack

from i2s_batch.api.learned_files import learned_location, with_learned
from i2s_batch.api.options import EmbedOptions, embed_run_config, output, source_options
from i2s_batch.api.results import EmbedResult
from i2s_batch.api.sessions import PYTHON, Caller, Progress, check_device, execute, session, try_report
from i2s_batch.argument_types import path_or_url
from i2s_batch.config import EmbedRunConfig
from i2s_batch.diagnosis.asked import Asked
from i2s_batch.diagnosis.examination import what_is_wrong
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.run.preview import RunPreview


def embed(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    generator: str | os.PathLike[str],
    vgg: str | os.PathLike[str] = "imagenet",
    progress: Progress = None,
    caller: Caller = PYTHON,
    **options: Unpack[EmbedOptions],
) -> EmbedResult:
    """Embed the images of `source` and write one row for each into `out`, as `i2s-batch embed` does.

    A call with the same arguments resumes a run that was stopped; of one that is done it returns the result. The Ray
    cluster that this process has joined, or that RAY_ADDRESS names, carries it out; without one this process where one
    worker is enough, else a Ray of its own on this machine, which ends with the call.

    Args:
        source: A folder, a glob, an image, an s3:// prefix, or a list (.txt, .csv, .json, .jsonl, .parquet).
        out: A folder or an s3:// prefix.
        generator: A StyleGAN checkpoint: a path, s3:// or https://.
        vgg: The weights of the VGG-16: imagenet, random, a path or a URL.
        progress: How the run reports: None as suits a notebook, a terminal or a log, False not at all, or a function
            that takes each line.
        caller: For programs that carry out a run as a command of their own.
        **options: Those of the command line, with underscores: `EmbedOptions`.

    Raises:
        ConfigError: An option is unknown, of another type, or outside its limits.
        RunStoppedError: The run was stopped by Ctrl-C or SIGTERM; nothing is lost. Signals reach a run in the main
            thread only.
        I2SError: What else a user can mend (the tree of errors is in `i2s_batch.errors`).
    """
    request = _request(source, out, generator, vgg, options)
    with session(progress) as report:
        for finding in what_is_wrong(
            Asked(request.config, out=request.out, generator=request.generator, vgg=request.vgg)
        ):
            report(f"{finding.line} (i2s-batch doctor examines more)")
        check_device(request.config)
        run = EmbedRun(request, report)
        outcome = execute(run, request.config.in_process, caller, report)
        page = try_report(path_or_url("out", out), run.generator, report)
        return EmbedResult.of(path_or_url("out", out), outcome, page)


def preview_embed(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    generator: str | os.PathLike[str],
    vgg: str | os.PathLike[str] = "imagenet",
    progress: Progress = None,
    **options: Unpack[EmbedOptions],
) -> tuple[RunPreview, EmbedRunConfig, str]:
    """Return what embed() would do, its settings, and the fingerprint of the generator. Writes nothing."""
    request = _request(source, out, generator, vgg, options)
    with session(progress) as report:
        run = EmbedRun(request, report)
        return run.describe(), run.config, run.generator.fingerprint


def _request(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    generator: str | os.PathLike[str],
    vgg: str | os.PathLike[str],
    options: EmbedOptions,
) -> EmbedRunRequest:
    locations = (
        path_or_url("source", source),
        output("out", out),
        path_or_url("generator", generator),
        path_or_url("vgg", vgg),
    )
    location = learned_location(options)
    config, learned = with_learned(embed_run_config(options), location, *locations[2:])
    chosen = source_options(options, options.get("sample"))
    return EmbedRunRequest(*locations, config, source_options=chosen, learned=learned, learned_from=location)
