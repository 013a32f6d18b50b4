"""Measures what a run would take: the step, plain and as the run takes it, and so the time and price of SOURCE."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from datetime import datetime, timedelta

from i2s_batch.diagnosis.apart import ApartError, call_all_apart
from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.findings import Finding, fail, ok, warn
from i2s_batch.diagnosis.local_workers import expected_workers
from i2s_batch.diagnosis.speed_probe import PATIENCE_S, Speed, SpeedAsked, measure
from i2s_batch.diagnosis.workers import Workers
from i2s_batch.models import GeneratorWeights
from i2s_batch.plurals import counted
from i2s_batch.run.estimates import Estimate, Work, estimates
from i2s_batch.run.speed_cache import Measured, named_program, save_measured
from i2s_batch.run.terminal import duration

# Workers on a CPU share caches and memory: as many are measured at once as a run has, up to this number.
MOST_AT_ONCE = 8
LIMIT_S = 20 * PATIENCE_S  # compiling takes minutes


def check(asked: Asked, known: Known) -> Iterator[Finding]:
    """Yield the speed of a step, and what follows from it for SOURCE."""
    generator, vgg = known.generator, known.vgg
    if generator is None or vgg is None:
        return
    images = None if known.images is None else known.images.num_rows
    workers = known.workers or expected_workers(asked, known, generator, vgg)
    spread = workers.most_slots(images)
    what = SpeedAsked(generator, vgg, asked.config, asked.learned, workers.device, workers.threads, spread)
    try:
        speeds = _measured(what, workers, known)
    except ApartError as error:
        yield fail("steps", str(error), "mend what is above, or give a smaller --batch-size")
        return
    one = speeds[0]
    seconds = statistics.fmean(speed.seconds for speed in speeds)
    image_s = statistics.fmean(speed.image_s for speed in speeds)
    plain_s = statistics.fmean(speed.plain_s for speed in speeds)
    yield ok("plain step", f"{plain_s:.3g} s, one image at a time, on {one.device}")
    yield _as_run(one, seconds, workers)
    start_s = known.load_s + max(speed.build_s for speed in speeds)
    found = (seconds, image_s, start_s)
    measured = _figure(one, generator, asked, found)
    if asked.config.embed.optimizer == "adam":  # a step of another takes another time
        save_measured(measured, known.show)
    yield ok("start-up", f"{duration(start_s)} until the first step, Ray's own start apart")
    yield from _expected(measured, asked, workers, images)


def _measured(what: SpeedAsked, workers: Workers, known: Known) -> list[Speed]:
    """Return the speeds of one worker, or on a CPU of as many at once as a run would have."""
    if known.on_worker is not None:
        return [known.on_worker(measure, what)]
    at_once = 1 if workers.device == "cuda" else min(workers.count, MOST_AT_ONCE)
    return call_all_apart(measure, [(what,)] * at_once, LIMIT_S)


def _figure(one: Speed, generator: GeneratorWeights, asked: Asked, found: tuple[float, float, float]) -> Measured:
    seconds, image_s, start_s = found
    precision = asked.config.precision
    key = (one.device, generator.fingerprint, precision, one.batch_size)
    program = named_program(one.program, asked.config.embed.optimizer)
    return Measured(*key, seconds, program, one.software, image_s, start_s)


def _as_run(one: Speed, seconds: float, workers: Workers) -> Finding:
    """Return the finding about the step as a run would take it."""
    batch = f"batches of {counted(one.batch_size, 'image')}"
    found = f"{seconds:.3g} s an image, {one.program}, {batch}, {workers.described}; {counted(one.steps, 'step')} timed"
    if one.warning:
        return warn("step of a run", f"{found}; {one.warning}", "mend the compiler, or give --no-compile")
    return ok("step of a run", found)


def _expected(measured: Measured, asked: Asked, workers: Workers, images: int | None) -> Iterator[Finding]:
    """Yield the seconds of an image, the images of an hour, and for SOURCE the time, its end and the price."""
    work = Work.of(measured.generator, asked.config, 1)
    each_s = work.steps * measured.seconds + measured.image_s
    rate = workers.count * 3600 / each_s
    embed = asked.config.embed
    may_end_early = (embed.stop_plateau, embed.target_loss, embed.target_psnr) != (None, None, None)
    least = " at most" if may_end_early else ""
    yield ok("an image", f"{duration(each_s)}{least} for {counted(work.steps, 'step')}; {rate:.3g} images an hour")
    if images is None:
        return
    work = Work.of(measured.generator, asked.config, images)
    (estimate,) = estimates([measured], work, workers.count, asked.price_per_hour)
    yield ok("SOURCE", shown(estimate, images, datetime.now().astimezone()))


def shown(estimate: Estimate, images: int, now: datetime) -> str:
    """Return an estimate in words: how long, when it ends if the run begins `now`, and the price."""
    end = now + timedelta(hours=estimate.hours)
    when = f"{end:%H:%M}" if end.date() == now.date() else f"{end:%d %B %Y, %H:%M}"
    took = f"{counted(images, 'image')} in about {duration(3600 * estimate.hours)}, at {when} if it starts now"
    return took if estimate.cost is None else f"{took}, for {estimate.cost:.2f}"
