"""Embeds images on one device: loads them, optimises them in a batch, and logs their rows and checkpoints.

`EmbedWorker` is a plain class that knows no cluster; `run.pools` and `run.ray.pool` call the same three methods.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from i2s_batch.concurrency import threads_for
from i2s_batch.config import EmbedRunConfig, ImageSettings
from i2s_batch.embedding.duplicate_rows import Results, TakenOver
from i2s_batch.embedding.engine import Engine
from i2s_batch.embedding.rows import LoadedImage, failed_row, failure_status, result_row
from i2s_batch.embedding.targets import Targets, check_size
from i2s_batch.embedding.units import EmbedUnit
from i2s_batch.errors import DamagedError, PictureError
from i2s_batch.images.read.decoding import decode_file, encode_image
from i2s_batch.inversion import Embedder, EmbedResult, SlotState
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.memory import keep_freed_memory
from i2s_batch.inversion.step_program import StepProgram
from i2s_batch.models import GeneratorWeights, VGGWeights
from i2s_batch.models.noise_maps import NoiseLayout
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.noise_log import NoiseLog
from i2s_batch.output.units import Finished, Task
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.device import device_errors, device_name
from i2s_batch.run.messages import Report
from i2s_batch.run.pools import DeviceLostError
from i2s_batch.schema.columns import STATUS_DIVERGED
from i2s_batch.schema.row import UNKNOWN_ORIGIN, Row, RowOrigin
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.storage import open_store

_LOADER_THREADS = 2
WRITER_THREADS = 4


@dataclass(frozen=True)
class EmbedSpec:
    """Holds everything an embedding worker needs, as values that travel to other processes.

    Attributes:
        out: The output, absolute: a worker's current folder is not the driver's.
        max_slots: Bounds the batch, so that a small run is spread evenly over the workers.
        threads: CPU threads of a worker without a GPU; None leaves PyTorch's own choice.
        origin: What all rows of the run have in common.
        learned: The learned file of the run; None for a run without one.
        cores: CPU cores for the worker, whatever its device.
    """

    out: str
    config: EmbedRunConfig
    generator: GeneratorWeights
    vgg: VGGWeights
    device: str
    max_slots: int
    threads: int | None = None
    origin: RowOrigin = UNKNOWN_ORIGIN
    learned: Learned | None = None
    cores: int = 1

    def build(self, name: str) -> EmbedWorker:
        """Load the networks and return the worker."""
        with device_errors(None):
            return EmbedWorker(name, self)


@dataclass(frozen=True)
class _Loaded:
    """Holds an image that is ready for a slot, or why it is not, or the result of another that it takes over.

    `damage`: why its checkpoint cannot be read.
    """

    source: LoadedImage
    pixels: np.ndarray | None = None
    state: SlotState | None = None
    error: PictureError | None = None
    damage: str = ""
    taken: TakenOver | None = None


class _Released:
    """Releases a lock that the caller holds while the body runs, and takes it back."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.release()

    def __exit__(self, *_: object) -> None:
        self._lock.acquire()


class EmbedWorker:
    """Embeds images in B slots of one device, which has the generator and the VGG-16 loaded."""

    def __init__(self, name: str, spec: EmbedSpec) -> None:
        self.name = name
        self._spec = spec
        keep_freed_memory()
        self._config = spec.config
        if spec.threads is not None:
            torch.set_num_threads(spec.threads)
        self._engine = Engine(spec.generator, spec.vgg, spec.device, spec.config.precision, spec.learned)
        self._settings = ImageSettings(spec.config.embed)
        self._tuned: StepProgram | None = None
        self._warnings: list[str] = []
        self.slots = max(1, min(spec.config.batch_size or self._tune(spec.max_slots), spec.max_slots))
        self._targets = Targets(spec.config, self._engine.resolution)
        self._settled = threading.Lock()  # held while anything but a step is done
        self._embedder = self._new_embedder(self._settings, self.slots)
        self._capacity = self.slots
        self._device_name = device_name(self._engine.device)
        self._store = open_store(spec.out)
        self._log = WorkLog(spec.out, spec.generator.latent_size, spec.origin)
        noise_size = NoiseLayout.of(spec.generator).size
        self._noise_log = NoiseLog(spec.out, noise_size)
        version = spec.origin.schema_version
        self._results = Results(self._store, self._log, self._noise_log, noise_size, version)
        self._loader = ThreadPoolExecutor(threads_for(_LOADER_THREADS, spec.cores), thread_name_prefix="load")
        self._writer = ThreadPoolExecutor(threads_for(WRITER_THREADS, spec.cores), thread_name_prefix="write")
        self._waiting: list[tuple[Task[EmbedUnit], Future[_Loaded]]] = []
        self._in_slots: dict[str, tuple[Task[EmbedUnit], LoadedImage]] = {}
        self._writing: list[Future[Finished]] = []
        self._checkpointing: list[Future[None]] = []
        self._checkpoint_at = time.monotonic() + self._config.checkpoint_every_s
        self._interrupted = threading.Event()

    def _tune(self, limit: int) -> int:
        """Choose how steps run, and return how many images go in a batch; report what was measured now."""
        tuning = self._engine.tune(self._config.embed, limit, self._config.tune_s)
        self._tuned = tuning.chosen.program
        failures = [each for each in tuning.trials if each.failure is not None]
        self._warnings += [f"step program not used: {each.candidate} ({each.failure})" for each in failures]
        if tuning.seconds is not None:
            figure = f"{1000 * tuning.seconds:.3g} ms per step and image"
            self._warnings.append(f"step program: {tuning.chosen}, {figure} (of {len(tuning.trials)} measured)")
        return tuning.chosen.batch_size

    def advance(self, tasks: Sequence[Task[EmbedUnit]], budget_s: float) -> Report:
        """Take `tasks`, then work for about `budget_s` seconds, or until a row is durable.

        At least one step is taken if there is anything to embed.
        """
        try:
            # device_errors(1): with more images in the batch, the embedder itself puts some back when memory is short.
            with self._settled, device_errors(1):
                return self._advance(tasks, budget_s)
        except DeviceLostError:
            wait_for(self._writing)  # the rows that were finished before are kept
            raise

    def _advance(self, tasks: Sequence[Task[EmbedUnit]], budget_s: float) -> Report:
        self._waiting += [(task, self._loader.submit(self._load, task)) for task in tasks]
        deadline = time.monotonic() + budget_s
        self._fill_slots()
        self._await_first_batch(deadline)
        updates_before = self._embedder.updates

        def stop() -> bool:
            late = time.monotonic() >= min(deadline, self._checkpoint_at)
            return late or self._interrupted.is_set() or self._next_is_loaded()

        for result in self._embedder.advance(stop):
            task, image = self._in_slots.pop(result.image_id)
            self._write(task, image, result)
        updates = self._embedder.updates - updates_before
        self._fill_slots()
        if time.monotonic() >= self._checkpoint_at:
            self._write_checkpoints()
        if not self._embedder.in_flight and (self._waiting or self._writing):
            # There is nothing to compute: wait for the files.
            pending: list[Future[Any]] = [future for _, future in self._waiting]
            pending += self._writing
            wait_for(pending, timeout=max(0.0, deadline - time.monotonic()), return_when="FIRST_COMPLETED")
        return Report(self._durable(), self._embedder.in_flight, len(self._waiting), updates, self._take_warnings())

    def _await_first_batch(self, deadline: float) -> None:
        """Wait on a GPU until the first batch is full: cuDNN chooses its algorithms again for each batch size."""
        while self._engine.device.type == "cuda" and not self._embedder.updates and self._embedder.free:
            loading = [future for _, future in self._waiting if not future.done()]
            timeout = deadline - time.monotonic()
            if not loading or timeout <= 0 or self._interrupted.is_set():
                return
            wait_for(loading, timeout=timeout, return_when="FIRST_COMPLETED")
            self._fill_slots()

    def _take_warnings(self) -> tuple[str, ...]:
        """Return what the user should know since the last report, once each.

        That is: damaged or unusable checkpoints, a batch that has become smaller, a missing compiler.
        """
        before, self._capacity = self._capacity, self._embedder.capacity
        if self._capacity != before:
            smaller = f"too little memory for a batch of {before} images; continuing with {self._capacity}"
            self._warnings.append(f"{smaller}, nothing is lost")
        elif warning := self._embedder.take_warning():
            self._warnings.append(warning)
        taken, self._warnings = tuple(self._warnings), []
        return taken

    def interrupt(self) -> None:
        """Make a running `advance` return after its current step; may be called from another thread."""
        self._interrupted.set()

    def checkpoint(self) -> int:
        """Save every image in flight, wait until that and all finished rows are durable, and return their number.

        It may be called from another thread in the middle of a step, which is not saved.
        """
        with self._settled, device_errors(1):
            self._write_checkpoints()
        wait_for(self._writing)
        for future in self._checkpointing:
            future.result()
        self._interrupted.clear()
        return len(self._checkpointing)

    def close(self) -> None:
        """End the threads; files that are being written are completed."""
        self._loader.shutdown(cancel_futures=True)
        self._targets.close()
        self._writer.shutdown()

    def _new_embedder(self, settings: ImageSettings, slots: int) -> Embedder:
        """Return an embedder whose images in flight can be saved while it computes a step."""
        # What was measured holds for the settings of the run; images of a study may have others.
        tuned = self._tuned if settings == ImageSettings(self._config.embed) else None
        embedder = self._engine.embedder(settings, slots, tuned)
        embedder.computing = _Released(self._settled)
        return embedder

    def _load(self, task: Task[EmbedUnit]) -> _Loaded:
        image = LoadedImage()
        try:
            data = read_bytes(task.unit.uri)
            sha256 = hashlib.sha256(data).hexdigest()
            image = LoadedImage(sha256=sha256, bytes=len(data))
            if (crashed := self._results.crashed(task, sha256)) is not None:
                return _Loaded(image, taken=crashed)
            decoded = decode_file(data)
        except PictureError as error:
            return _Loaded(image, error=error)
        height, width = decoded.pixels.shape[:2]
        image = replace(image, format=decoded.format, mode=decoded.mode, width=width, height=height)
        try:
            check_size(width, height, self._config.min_size)
            target = self._targets.of(decoded.pixels, task.unit.uri, task.unit.given)
        except PictureError as error:
            return _Loaded(image, error=error)
        image, pixels = replace(image, crop_box=target.crop_box), target.pixels
        image = replace(image, landmarks=target.landmarks, transform=target.transform)
        if (taken := self._results.of(task, image)) is not None:
            return _Loaded(image, taken=taken)
        try:
            state = self._saved_state(task.index) if task.resume else None
        except DamagedError as error:
            return _Loaded(image, pixels, damage=str(error))
        return _Loaded(image, pixels, state)

    def _saved_state(self, index: int) -> SlotState | None:
        """Return the last saved state of an image, None if there is none.

        Raises:
            DamagedError: The state cannot be read; the message names its file.
        """
        content = self._log.read_checkpoint(index)
        try:
            return None if content is None else SlotState.from_bytes(content)
        except DamagedError as error:
            raise DamagedError(f"{self._log.checkpoint_uri(index)}: {error}") from error

    def _save(self, index: int, state: SlotState) -> None:
        self._log.write_checkpoint(index, state.to_bytes())

    def _next_is_loaded(self) -> bool:
        return any(future.done() and self._can_take(task) for task, future in self._waiting)

    def _can_take(self, task: Task[EmbedUnit]) -> bool:
        """Return True if a slot is free for the image of a task; all slots have the same settings at any time."""
        same = task.unit.settings == self._settings
        return self._embedder.free > 0 if same else not self._embedder.in_flight

    def _fill_slots(self) -> None:
        """Move loaded images into free slots; an image that cannot be read becomes a row at once."""
        still_waiting = []
        for task, future in self._waiting:
            if not future.done() or not self._can_take(task):
                still_waiting.append((task, future))
                continue
            loaded = future.result()
            if loaded.error is not None:
                self._write_failure(task, loaded.source, failure_status(loaded.error, task.unit.uri), loaded.error)
                continue
            if loaded.taken is not None:
                self._writing.append(self._writer.submit(self._take_over, task, loaded.taken))
                continue
            assert loaded.pixels is not None
            if (settings := task.unit.settings) != self._settings:
                self._settings, self._embedder = settings, self._new_embedder(settings, self._capacity)
            sha256 = loaded.source.sha256 or ""
            self._embedder.put(task.image_id, loaded.pixels, self._resumable(task, loaded), sha256)
            self._in_slots[task.image_id] = (task, loaded.source)
        self._waiting = still_waiting

    def _resumable(self, task: Task[EmbedUnit], loaded: _Loaded) -> SlotState | None:
        """Return the state that an image resumes from; None if its checkpoint is damaged or of another image file.

        No row must come from two images. The embedder must be that of the image's settings.
        """
        state, objection = loaded.state, loaded.damage
        if state is not None:
            objection = self._embedder.objection_to(state, task.image_id, loaded.source.sha256 or "")
        if not objection:
            return state
        self._warnings.append(f"{objection}; {task.image_id!r} restarts at step 0")
        return None

    def _write(self, task: Task[EmbedUnit], image: LoadedImage, result: EmbedResult) -> None:
        if result.status == STATUS_DIVERGED:
            message = f"the loss was not finite after {result.steps} steps"
            self._write_failure(task, image, STATUS_DIVERGED, FloatingPointError(message), result)
            return
        if result.latent is None or not np.isfinite(result.latent.astype(np.float32)).all():
            message = "the latent is not finite in float32, in which the table holds it"
            self._write_failure(task, image, STATUS_DIVERGED, FloatingPointError(message), result)
            return
        if self._config.embed.noise_steps and result.noise is None:
            self._warnings.append(f"the noise maps of {task.image_id!r} were not finite; it keeps the stored noise")
        self._writing.append(self._writer.submit(self._finish_result, task, image, result))

    def _finish_result(self, task: Task[EmbedUnit], image: LoadedImage, result: EmbedResult) -> Finished:
        """Make the row of a result, whose metrics are computed here and not between two steps, and make it durable."""
        row = result_row(task, image, result, self._device_name, self.name)
        return self._finish(task, self._named(task, row), result)

    def _named(self, task: Task[EmbedUnit], row: Row) -> Row:
        """Return a row with the fingerprint of the generator that its settings embed with."""
        return replace(row, generator_fingerprint=self._engine.fingerprint(task.unit.settings))

    def _write_failure(
        self,
        task: Task[EmbedUnit],
        image: LoadedImage,
        status: str,
        error: Exception,
        result: EmbedResult | None = None,
    ) -> None:
        row = failed_row(task, image, status, error, result, self._device_name, self.name)
        self._writing.append(self._writer.submit(self._finish, task, self._named(task, row), None))

    def _finish(self, task: Task[EmbedUnit], row: Row, result: EmbedResult | None) -> Finished:
        """Make a row durable, and before it the files that others need of the image: a row promises that they exist."""
        if result is not None and task.unit.keeps_image:
            assert result.picture is not None
            self._store.put(RunLayout.picture(task.image_id, "png"), encode_image(result.picture, "png"))
        successor = task.unit.successor
        if result is not None and successor is not None:
            assert result.state is not None
            self._save(successor.index, replace(result.state, image_id=successor.image_id))
        if result is not None and result.noise is not None:
            self._noise_log.write(task.index, task.image_id, result.noise.maps)
        return self._log.write_rows(task, [row])

    def _take_over(self, task: Task[EmbedUnit], taken: TakenOver) -> Finished:
        """Make the row durable that an image has from another, and before it the noise maps."""
        if taken.noise is not None:
            self._noise_log.write(task.index, task.image_id, taken.noise)
        return self._log.write_rows(task, [taken.row])

    def _durable(self) -> tuple[Finished, ...]:
        """Return the rows that have been written since the last call; an error of the storage is raised here."""
        written = [future for future in self._writing if future.done()]
        self._writing = [future for future in self._writing if not future.done()]
        return tuple(future.result() for future in written)

    def _write_checkpoints(self) -> None:
        for future in self._checkpointing:
            future.result()
        self._checkpointing = [
            self._writer.submit(self._save, self._in_slots[state.image_id][0].index, state)
            for state in self._embedder.snapshot()
        ]
        self._checkpoint_at = time.monotonic() + self._config.checkpoint_every_s
