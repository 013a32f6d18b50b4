"""The rendering worker: makes codes by their recipes, draws them, and writes the pictures, then their rows."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace

import numpy as np
import torch

from i2s_batch.config import EditConfig
from i2s_batch.editing import EDITS, Edit, Recipe, apply_recipe
from i2s_batch.editing.rows import edited_row, failed_edit_row
from i2s_batch.editing.units import EditUnit
from i2s_batch.errors import LatentError
from i2s_batch.images.read.decoding import encode_picture
from i2s_batch.inversion.memory import keep_freed_memory
from i2s_batch.inversion.metrics import to_uint8
from i2s_batch.inversion.numerics import map_dtype, set_numerics
from i2s_batch.models import Generator, GeneratorWeights, build_generator
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.units import Finished, Task
from i2s_batch.output.work_log import WorkLog
from i2s_batch.registry import Declaration
from i2s_batch.run.device import device_errors, device_name
from i2s_batch.run.messages import Report
from i2s_batch.run.pools import DeviceLostError
from i2s_batch.schema.columns import STATUS_DIVERGED, STATUS_UNREADABLE
from i2s_batch.schema.row import Row
from i2s_batch.storage import open_store
from i2s_batch.table.latent_reader import LatentReader

# Units held: enough that a worker is never without work while the driver hears of what it has done.
_SLOTS = 6
WRITER_THREADS = 4
# Units whose pictures may wait to be written; then drawing waits for the store.
_WRITES_AHEAD = 4
# A batch holds so many values in its largest feature maps: on a CPU 8 pictures of 64 x 64 are fastest; a
# GPU wants more.
_BATCH_PIXELS = {"cpu": 8 * 64**2, "cuda": 8 * 1024**2}
_LARGEST_BATCH = 32


@dataclass(frozen=True)
class EditSpec:
    """Everything a rendering worker needs, as values that travel to other processes. `tables`: where the codes of
    the parents lie, by number. `edit`: by which latents are made; another program's is registered in its process
    alone."""

    out: str
    config: EditConfig
    generator: GeneratorWeights
    tables: tuple[str, ...]
    edit: Declaration[Edit]
    device: str
    max_slots: int
    threads: int | None = None

    def build(self, name: str) -> EditWorker:
        """Load the generator, and register the edit if this process does not know it."""
        if self.edit.name not in EDITS:
            EDITS.add(self.edit)
        with device_errors(None):
            return EditWorker(name, self)


@dataclass(frozen=True)
class _Loaded:
    """The codes of a unit, float32 [n, L, w_dim], and why some images have none (by place)."""

    codes: np.ndarray
    missing: dict[int, Exception]


class _Drawn:
    """Holds the pictures of a unit, uint8 [R, R, 3], and why some images have none (both by index in the unit)."""

    def __init__(self, failed: dict[int, Exception]) -> None:
        self.pictures: dict[int, np.ndarray] = {}
        self.failed = dict(failed)


class EditWorker:
    """One device with a loaded generator."""

    def __init__(self, name: str, spec: EditSpec) -> None:
        self.name = name
        self._spec = spec
        keep_freed_memory()
        if spec.threads is not None:
            torch.set_num_threads(spec.threads)
        dtype = set_numerics(spec.config.precision)
        device = torch.device(spec.device)
        self._generator = build_generator(spec.generator, device, dtype, map_dtype(spec.config.precision))
        self._w_avg = self._generator.w_avg.double().cpu().numpy()
        self._batch = spec.config.batch_size or batch_size(self._generator)
        self.slots = max(1, min(_SLOTS, spec.max_slots))
        self._device_name = device_name(device)
        self._store = open_store(spec.out)
        self._log = WorkLog(spec.out, spec.generator.latent_size)
        self._reader = LatentReader(spec.tables)
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")  # a LatentReader is for one thread
        self._writer = ThreadPoolExecutor(WRITER_THREADS, thread_name_prefix="write")
        self._waiting: list[tuple[Task[EditUnit], Future[_Loaded]]] = []
        self._writing: list[Future[Finished]] = []
        self._interrupted = threading.Event()

    def advance(self, tasks: Sequence[Task[EditUnit]], budget_s: float) -> Report:
        """Take `tasks`, then draw for about `budget_s` seconds, or until there is nothing left to draw."""
        try:
            with device_errors(self._batch):
                return self._advance(tasks, budget_s)
        except DeviceLostError:
            wait_for(self._writing)  # what was drawn before stays drawn
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
        """Make a running `advance` return after its current unit. May be called from another thread."""
        self._interrupted.set()

    def checkpoint(self) -> int:
        """Wait until everything drawn is durable. A picture takes less time than saving a part of it: 0."""
        wait_for(self._writing)
        self._interrupted.clear()
        return 0

    def close(self) -> None:
        """End the threads; files that are being written are completed."""
        self._loader.shutdown(cancel_futures=True)
        self._writer.shutdown()

    def _load(self, task: Task[EditUnit]) -> _Loaded:
        """Read the parents and make the codes, in float64, as the table will hold them."""
        layers, w_dim = self._generator.num_layers, self._generator.w_dim
        codes = np.empty((len(task.unit.images), layers, w_dim), np.float32)
        missing: dict[int, Exception] = {}
        for place, image in enumerate(task.unit.images):
            pairs = zip(image.recipe.parents, image.locations, strict=True)
            try:
                parents = [self._reader.read(*pair).reshape(layers, w_dim).astype(np.float64) for pair in pairs]
                codes[place] = _latent_of(image.recipe, parents)
            except (LatentError, FloatingPointError) as error:
                missing[place] = error
        return _Loaded(codes, missing)

    def _draw(self, task: Task[EditUnit], loaded: _Loaded) -> int:
        """Draw the pictures of a unit and let them be written; how many."""
        begun = time.monotonic()
        drawn = [place for place in range(len(task.unit.images)) if place not in loaded.missing]
        result = _Drawn(loaded.missing)
        for start in range(0, len(drawn), self._batch):
            places = drawn[start : start + self._batch]
            with torch.no_grad():
                made = self._generator.synthesize(torch.from_numpy(loaded.codes[places]).to(self._generator.w_avg))
            for place, image, finite in zip(places, made, made.isfinite().flatten(1).all(1).tolist(), strict=True):
                if finite:
                    result.pictures[place] = to_uint8(image)
                else:
                    what = task.unit.images[place].recipe.description
                    result.failed[place] = FloatingPointError(f"the picture of {what} has values that are not finite")
        seconds = (time.monotonic() - begun) / max(1, len(drawn))
        self._writing.append(self._writer.submit(self._write, task, loaded.codes, result, seconds))
        return len(drawn)

    def _write(self, task: Task[EditUnit], codes: np.ndarray, drawn: _Drawn, seconds: float) -> Finished:
        """The pictures first: a row says that its picture is there."""
        rows: list[Row] = []
        files: dict[str, bytes] = {}
        for place, image in enumerate(task.unit.images):
            if (error := drawn.failed.get(place)) is not None:
                status = STATUS_UNREADABLE if isinstance(error, LatentError) else STATUS_DIVERGED
                row = failed_edit_row(image, task.attempts, status, error)
            else:
                data = encode_picture(drawn.pictures[place], self._spec.config.picture_format)
                files[RunLayout.picture(image.image_id, self._spec.config.picture_format)] = data
                digest = hashlib.sha256(data).hexdigest()
                code = codes[place]
                distance = float(np.linalg.norm(code - self._w_avg))
                row = edited_row(image, task.attempts, code, distance, digest, drawn.pictures[place].shape)
                row = replace(row, seconds=seconds)
            rows.append(replace(row, device=self._device_name, worker=self.name))
        self._store.put_all(files)
        return self._log.write_rows(task, rows)


def _latent_of(recipe: Recipe, parents: list[np.ndarray]) -> np.ndarray:
    """Return the latent of a recipe in float32, as the table holds it. Raises FloatingPointError if it is not finite:
    of too large a strength, or of parents that are not."""
    with np.errstate(over="ignore", invalid="ignore"):
        latent = np.asarray(apply_recipe(recipe, parents), np.float32)
    if not np.isfinite(latent).all():
        raise FloatingPointError(f"the latent of {recipe.description} is not finite in float32")
    return latent


def batch_size(generator: Generator) -> int:
    """How many pictures are drawn at once when the user does not say."""
    pixels = _BATCH_PIXELS["cuda" if generator.w_avg.device.type == "cuda" else "cpu"]
    return max(1, min(_LARGEST_BATCH, pixels // generator.resolution**2))
