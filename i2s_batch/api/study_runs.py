"""`study()` carries out one of the paper's experiments on a sample of the user's own images."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Unpack

from i2s_batch.api.learned_files import learned_location, with_learned
from i2s_batch.api.options import StudyOptions, source_options, study_config
from i2s_batch.api.results import StudyResult
from i2s_batch.api.sessions import PYTHON, Caller, Progress, check_device, execute, session, try_report
from i2s_batch.argument_types import path_or_url, typed
from i2s_batch.config import EmbedConfig
from i2s_batch.errors import ConfigError
from i2s_batch.presets import PRESETS
from i2s_batch.run.preview import RunPreview
from i2s_batch.storage.job_folder import check_kept
from i2s_batch.studies.catalogue import study_of
from i2s_batch.studies.study import Variant
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_run import StudyRun, StudyRunRequest

_RECIPES = "recipes"  # the study that compares presets


def study(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    name: str,
    *,
    generator: str | os.PathLike[str],
    vgg: str | os.PathLike[str] = "imagenet",
    progress: Progress = None,
    caller: Caller = PYTHON,
    **options: Unpack[StudyOptions],
) -> StudyResult:
    """Carry out a study of a sample of the images of `source`, as `i2s-batch study` does, and return what it found.

    A call with the same arguments resumes a study that was stopped.

    Args:
        source: A folder, a glob, an s3:// prefix or a list, as of embed().
        out: A folder or an s3:// prefix, which also gets study.md with its figures.
        name: The study, such as "init"; a wrong name is answered with the list of all.
        generator: A StyleGAN checkpoint: a path, s3:// or https://.
        vgg: The weights of the VGG-16: imagenet, random, a path or a URL.
        progress: How the run reports, as of embed().
        caller: For programs that carry out a study as a command of their own.
        **options: Those of the command line, with underscores: `StudyOptions`.

    Raises:
        ConfigError: An option is unknown, of another type or outside its limits, or the study varies it.
        RunStoppedError: It was stopped by Ctrl-C or SIGTERM; nothing is lost.
        I2SError: What else a user can mend.
    """
    request = _request((source, out, generator, vgg), name, options, caller)
    with session(progress) as report:
        check_device(request.config)
        run = StudyRun(request, report)
        outcome = execute(run, request.config.in_process, caller, report)
        page = try_report(path_or_url("out", out), run.generator, report)
        return StudyResult.of(path_or_url("out", out), outcome, page, study=name)


def preview_study(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    name: str,
    *,
    generator: str | os.PathLike[str],
    vgg: str | os.PathLike[str] = "imagenet",
    progress: Progress = None,
    caller: Caller = PYTHON,
    **options: Unpack[StudyOptions],
) -> RunPreview:
    """Return what study() would do. Writes nothing."""
    request = _request((source, out, generator, vgg), name, options, caller)
    with session(progress) as report:
        return StudyRun(request, report).describe()


def _request(
    locations: tuple[str | os.PathLike[str], ...], name: str, options: StudyOptions, caller: Caller
) -> StudyRunRequest:
    """Return the request of a study over `locations`: source, out, generator, VGG-16. Raises ConfigError."""
    name = typed("name", name, str)
    source, out, generator, vgg = map(path_or_url, ("source", "out", "generator", "vgg"), locations)
    check_kept(out)
    location = learned_location(options)
    settings = _for_a_learned_file(study_config(name, options), location)
    config, learned = with_learned(settings, location, generator, vgg)
    return StudyRunRequest(
        *(source, out, generator, vgg, config, caller.command),
        source_options=source_options(options),
        learned=learned,
        learned_from=location,
    )


def _for_a_learned_file(config: StudyConfig, location: str) -> StudyConfig:
    """Return the settings of a study as a learned file at `location` ("" for none) has them.

    The study of recipes compares the presets that need the file as soon as it is given: as with `--preset fast`.

    Raises:
        ConfigError: The study varies what a learned file belongs to.
    """
    embed, usual = config.embed, EmbedConfig()
    if not location and not embed.uses_learned:
        return config
    # Of the usual settings otherwise: some of a learned file have no such variants at all.
    plain = replace(usual, space=embed.space, loss_weights=embed.loss_weights)
    if not all(_is_as_learned(variant, plain) for variant in study_of(config.study, plain).variants):
        needing = f", and what needs one ({embed.uses_learned})" if embed.uses_learned else ""
        raise ConfigError(
            f"study {config.study} takes no learned file: its variants have other loss weights, spaces or networks, "
            f"and a learned file belongs to one of each; leave out --learned{needing}"
        )
    if config.study != _RECIPES or embed.uses_learned:
        return config
    fast = PRESETS["fast"]
    names = [name for name in fast.overrides if getattr(embed, name) == getattr(usual, name)]
    changed = {name: getattr(fast.config, name) for name in names}
    return replace(config, preset=fast.name, embed=replace(embed, **changed))


def _is_as_learned(variant: Variant, embed: EmbedConfig) -> bool:
    """Return whether a learned file for `embed` fits a variant."""
    own = variant.embed
    return (own.loss_weights, own.space, variant.untrained) == (embed.loss_weights, embed.space, False)
