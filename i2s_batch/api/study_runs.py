"""study() carries out one of the paper's experiments on a sample of the user's own images."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from i2s_batch.api.options import StudyOptions, place, study_config
from i2s_batch.api.results import StudyResult
from i2s_batch.api.sessions import PYTHON, Caller, Progress, execute, session, try_report
from i2s_batch.run.preview import RunPreview
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_run import StudyRun, StudyRunRequest

if TYPE_CHECKING:
    from typing_extensions import Unpack


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
    config = study_config(name, options)
    with session(progress) as report:
        run = _run((source, out, generator, vgg), config, caller, report)
        outcome = execute(run, config.in_process, caller)
        page = try_report(place("out", out), run.generator, report)
        return StudyResult.of(place("out", out), outcome, page, study=name)


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
    config = study_config(name, options)
    with session(progress) as report:
        return _run((source, out, generator, vgg), config, caller, report).describe()


def _run(
    places: tuple[str | os.PathLike[str], ...], config: StudyConfig, caller: Caller, report: Callable[[str], None]
) -> StudyRun:
    """Return the run over `places`: source, out, generator, VGG-16."""
    source, out, generator, vgg = map(place, ("source", "out", "generator", "vgg"), places)
    return StudyRun(StudyRunRequest(source, out, generator, vgg, config, caller.command), report)
