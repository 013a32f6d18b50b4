"""Renders edits on one device: makes latents by their recipes, renders them, writes the images, and logs their rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from i2s_batch.concurrency import threads_for
from i2s_batch.config import EditConfig
from i2s_batch.editing import EDITS, Edit
from i2s_batch.editing.kept_noise import KeptNoise
from i2s_batch.editing.latent_sources import LatentSource, LoadedLatents, ParentLatents
from i2s_batch.editing.rows import WrittenImage, edited_row, failed_edit_row
from i2s_batch.editing.units import EditImage, EditUnit
from i2s_batch.errors import LatentError
from i2s_batch.images.read.decoding import encode_image
from i2s_batch.inversion.memory import keep_freed_memory
from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics
from i2s_batch.inversion.synthesis import images_of
from i2s_batch.models import Generator, GeneratorWeights, build_generator
from i2s_batch.models.noise_maps import NoiseLayout
from i2s_batch.output.archives.image_log import ImageLog
from i2s_batch.output.units import Finished, Task
from i2s_batch.output.work_log import WorkLog
from i2s_batch.registry import Declaration
from i2s_batch.run.device import device_errors, device_name
from i2s_batch.run.messages import Report
from i2s_batch.run.pools import DeviceLostError
from i2s_batch.schema.columns import STATUS_DIVERGED, STATUS_MISSING, STATUS_UNREADABLE
from i2s_batch.schema.row import UNKNOWN_ORIGIN, Row, RowOrigin
from i2s_batch.storage import open_store

# Units that a worker holds: enough to keep it busy while its results travel to the driver.
_SLOTS = 6
WRITER_THREADS = 4
# Units whose images may wait to be written; with more, rendering waits for the store.
_WRITES_AHEAD = 4
# Pixels of all images of a batch: on a CPU 8 images of 64 x 64 are fastest; a GPU needs more to be busy.
_BATCH_PIXELS = {"cpu": 8 * 64**2, "cuda": 8 * 1024**2}
_LARGEST_BATCH = 32


class DrawingSpec(Protocol):
    """Describes what a rendering worker needs, as values that travel to other processes."""

    @property
    def out(self) -> str:
        """Return the output, absolute: a worker's current folder is not the driver's."""

    @property
    def config(self) -> EditConfig:
        """Return how the run is carried out."""

    @property
    def generator(self) -> GeneratorWeights:
        """Return what draws."""

    @property
    def device(self) -> str:
        """Return "cpu" or "cuda"."""

    @property
    def max_slots(self) -> int:
        """Return how many units the worker may hold at most."""

    @property
    def threads(self) -> int | None:
        """Return the CPU threads of the worker; None leaves PyTorch's own choice."""

    @property
    def cores(self) -> int:
        """Return the CPU cores for the worker, whatever its device."""

    @property
    def origin(self) -> RowOrigin:
        """Return what all rows of the run have in common."""

    def latents(self) -> LatentSource:
        """Return what makes the latents of the images."""

    def noise(self) -> KeptNoise | None:
        """Return what gives the images their noise maps; None to draw them with the stored noise."""


@dataclass(frozen=True)
class EditSpec:
    """Holds everything a rendering worker needs, as values that travel to other processes.

    Attributes:
        tables: The tables that hold the latents of the parents, by number.
        edit: Makes the latents; an edit that another program registered is known in its own process alone.
        origin: What all rows of the run have in common.
    """

    out: str
    config: EditConfig
    generator: GeneratorWeights
    tables: tuple[str, ...]
    edit: Declaration[Edit]
    device: str
    max_slots: int
    threads: int | None = None
    origin: RowOrigin = UNKNOWN_ORIGIN
    cores: int = 1

    def latents(self) -> ParentLatents:
        """Return what makes latents of those in the tables."""
        return ParentLatents(self.tables, self.generator.latent_shape)

    def noise(self) -> KeptNoise | None:
        """Return what gives the images the noise maps of their parents; None to draw them with the stored noise."""
        return KeptNoise(self.tables, NoiseLayout.of(self.generator).size) if self.config.noise == "keep" else None

    def build(self, name: str) -> EditWorker:
        """Load the generator, and register the edit if this process does not know it."""
        if self.edit.name not in EDITS:
            EDITS.add(self.edit)
        with device_errors(None):
            return EditWorker(name, self)


class _Drawn:
    """Holds the images of a unit, uint8 [R, R, 3], and why some are missing (both by index in the unit)."""

    def __init__(self, failed: dict[int, Exception]) -> None:
        self.images: dict[int, np.ndarray] = {}
        self.failed = dict(failed)


class EditWorker:
    """Renders latents on one device, which has the generator loaded."""

    def __init__(self, name: str, spec: DrawingSpec) -> None:
        self.name = name
        self._spec = spec
        keep_freed_memory()
        if spec.threads is not None:
            torch.set_num_threads(spec.threads)
        dtype = set_numerics(spec.config.precision)
        device = torch.device(spec.device)
        self._generator = build_generator(spec.generator, device, dtype, feature_map_dtype(spec.config.precision))
        self._w_avg = self._generator.w_avg.double().cpu().numpy()
        self._batch = spec.config.batch_size or batch_size(self._generator)
        self.slots = max(1, min(_SLOTS, spec.max_slots))
        self._device_name = device_name(device)
        self._store = open_store(spec.out)
        self._log = WorkLog(spec.out, spec.generator.latent_size, spec.origin)
        self._images = ImageLog(self._store)
        self._latents, self._noise = spec.latents(), spec.noise()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")  # a LatentSource is for one thread
        self._writer = ThreadPoolExecutor(threads_for(WRITER_THREADS, spec.cores), thread_name_prefix="write")
        self._waiting: list[tuple[Task[EditUnit], Future[LoadedLatents]]] = []
        self._writing: list[Future[Finished]] = []
        self._interrupted = threading.Event()

    def advance(self, tasks: Sequence[Task[EditUnit]], budget_s: float) -> Report:
        """Take `tasks`, then render for about `budget_s` seconds, or until there is nothing left to render."""
        try:
            with device_errors(self._batch):
                return self._advance(tasks, budget_s)
        except DeviceLostError:
            wait_for(self._writing)  # the images that were rendered before are kept
            raise

    def _advance(self, tasks: Sequence[Task[EditUnit]], budget_s: float) -> Report:
        self._waiting += [(task, self._loader.submit(self._load, task)) for task in tasks]
        deadline = time.monotonic() + budget_s
        drawn = 0
        while self._waiting and time.monotonic() < deadline and not self._interrupted.is_set():
            task, loading = self._waiting.pop(0)
            drawn += self._draw(task, loading.result())
            behind = [future for future in self._writing if not future.done()]
            if len(behind) > _WRITES_AHEAD:
                wait_for(behind, return_when="FIRST_COMPLETED")
        if not self._waiting and self._writing:
            wait_for(self._writing, timeout=max(0.0, deadline - time.monotonic()), return_when="FIRST_COMPLETED")
        written = [future for future in self._writing if future.done()]
        self._writing = [future for future in self._writing if not future.done()]
        finished = tuple(future.result() for future in written)
        in_flight = {image_id: 0 for task, _ in self._waiting for image_id in task.unit.image_ids}
        return Report(finished, in_flight, len(self._waiting), drawn)

    def interrupt(self) -> None:
        """Make a running `advance` return after its current unit; may be called from another thread."""
        self._interrupted.set()

    def checkpoint(self) -> int:
        """Wait until everything rendered is durable; return 0, since an image takes less time than a checkpoint."""
        wait_for(self._writing)
        self._interrupted.clear()
        return 0

    def close(self) -> None:
        """End the threads; files that are being written are completed."""
        self._loader.shutdown(cancel_futures=True)
        self._writer.shutdown()

    def _load(self, task: Task[EditUnit]) -> LoadedLatents:
        return self._latents.load(task.unit.images)

    def _draw(self, task: Task[EditUnit], loaded: LoadedLatents) -> int:
        """Render the images of a unit, submit them to be written, and return how many there are."""
        begun = time.monotonic()
        drawn = [index for index in range(len(task.unit.images)) if index not in loaded.missing]
        result = _Drawn(loaded.missing)
        for start in range(0, len(drawn), self._batch):
            indices, noise = self._with_noise(task, drawn[start : start + self._batch], result)
            if not indices:
                continue
            images = images_of(loaded.latents[indices], self._generator, noise)
            for index, image in zip(indices, images, strict=True):
                if image is not None:
                    result.images[index] = image
                else:
                    what = task.unit.images[index].recipe.description
                    result.failed[index] = FloatingPointError(f"the image of {what} has values that are not finite")
        seconds = (time.monotonic() - begun) / max(1, len(drawn))
        self._writing.append(self._writer.submit(self._write, task, loaded.latents, result, seconds))
        return len(drawn)

    def _with_noise(
        self, task: Task[EditUnit], indices: list[int], result: _Drawn
    ) -> tuple[list[int], np.ndarray | None]:
        """Return those of the images that can be drawn, and their noise maps, read only now: they may be large.

        An image without maps fails. None for the stored noise.
        """
        if self._noise is None:
            return indices, None
        maps: dict[int, np.ndarray] = {}
        for index in indices:
            try:
                maps[index] = self._noise.of(task.unit.images[index])
            except LatentError as error:
                result.failed[index] = error
        return list(maps), np.stack(list(maps.values())) if maps else None

    def _write(self, task: Task[EditUnit], latents: np.ndarray, drawn: _Drawn, seconds: float) -> Finished:
        """Write the images, then their rows: a row promises that its image exists."""
        rows: list[Row] = []
        files: dict[str, bytes] = {}
        for index, image in enumerate(task.unit.images):
            if (error := drawn.failed.get(index)) is not None:
                row = failed_edit_row(image, task.attempts, _status_of(image, error), error)
            else:
                data = encode_image(drawn.images[index], self._spec.config.picture_format)
                files[image.file] = data
                file = WrittenImage(data, self._spec.config.picture_format, drawn.images[index].shape)
                distance = float(np.linalg.norm(latents[index] - self._w_avg))
                row = edited_row(image, task.attempts, latents[index], distance, file)
                row = replace(row, seconds=seconds)
            rows.append(replace(row, device=self._device_name, worker=self.name))
        if self._spec.config.output == "files":
            self._store.put_all(files)
        else:  # until the whole shard is made
            self._images.write(task.index, list(files.values()))
        return self._log.write_rows(task, rows)


def _status_of(image: EditImage, error: Exception) -> str:
    """Return the status of an image that could not be made: of no known parent, of none with a latent, not finite."""
    if not isinstance(error, LatentError):
        return STATUS_DIVERGED
    return STATUS_MISSING if None in image.locations else STATUS_UNREADABLE


def batch_size(generator: Generator) -> int:
    """Return how many images are rendered in a batch unless the user gives a number."""
    pixels = _BATCH_PIXELS["cuda" if generator.w_avg.device.type == "cuda" else "cpu"]
    return max(1, min(_LARGEST_BATCH, pixels // generator.resolution**2))
