"""Runs the slot loop: keeps every slot busy, notices when an image is finished, and returns its result.

It knows nothing of files, workers or Ray. An image's result depends on the image, its id, the settings and the
networks; not on its neighbours, the batch size or the order.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from i2s_batch.argument_types import typed
from i2s_batch.config import TERMS, EmbedConfig
from i2s_batch.errors import ConfigError
from i2s_batch.images.inputs import ImageInput, read_input
from i2s_batch.images.resize import fit_image
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.loss import Features
from i2s_batch.inversion.metrics import LazyMetrics, PerceptualDistance, Reconstruction, from_uint8, to_uint8
from i2s_batch.inversion.noise_stage import noise_stage_of
from i2s_batch.inversion.result import EmbedResult
from i2s_batch.inversion.slot_state import SlotState
from i2s_batch.inversion.slots import Slots
from i2s_batch.inversion.spaces import GeneratorLike, LatentSpace
from i2s_batch.inversion.step_program import StepProgram, choose_program
from i2s_batch.inversion.stopping import Stopping
from i2s_batch.schema.columns import STATUS_DIVERGED, STATUS_OK

# Steps between two host syncs: bounds how late a NaN is noticed and how far the host runs ahead of the device.
STEPS_PER_SYNC = 25
# The same where a target may end an image at any step.
STEPS_PER_SYNC_WITH_TARGET = 5


@dataclass
class _Occupant:
    """Holds what the host knows about a slot without asking the device."""

    image_id: str
    target: np.ndarray
    sha256: str
    evaluations: int
    seconds_before: float
    started_at: float

    @property
    def seconds(self) -> float:
        """Return the wall time of the image in slots so far."""
        return self.seconds_before + time.monotonic() - self.started_at


@dataclass(frozen=True)
class _Pending:
    """Holds an image on its way into a slot.

    Attributes:
        image_id: The image's id.
        target: The fitted image, uint8 [R, R, 3].
        sha256: The hash of its file.
        state: The state to resume; None if the image was not started yet.
    """

    image_id: str
    target: np.ndarray
    sha256: str
    state: SlotState | None


def _check_networks(generator: object, features: object) -> None:
    """Raise ConfigError for what is no network; anything that behaves as one is taken."""
    if not hasattr(generator, "w_avg") or not callable(features):
        given = ", ".join(type(each).__name__ for each in (generator, features))
        raise ConfigError(f"generator and features are ({given}); give what load_generator and load_vgg return")


def _check_learned(learned: Learned | None, config: EmbedConfig, generator: object, features: object) -> None:
    """Raise ConfigError unless the settings have the learned file that they need, and it is of these networks."""
    if learned is None:
        if config.uses_learned or config.learned:
            raise ConfigError(
                f"{config.uses_learned or 'learned'} needs a learned file; give learned=load_learned(FILE)"
            )
        return
    fingerprint, of_vgg = (str(getattr(network, "fingerprint", "")) for network in (generator, features))
    learned.check(fingerprint, of_vgg, config.loss_weights)
    if config.learned and config.learned != learned.fingerprint:
        pair = f"{config.learned[:12]}... and {learned.fingerprint[:12]}..."
        raise ConfigError(f"the settings and the learned file given have different fingerprints, {pair}")


class Embedder:
    """Embeds images into the latent space of a frozen generator (Image2StyleGAN, algorithm 1).

    Args:
        generator: The generator.
        features: The perceptual network, on the generator's device and with its dtype.
        config: The settings; None for those of the paper.
        lpips: A perceptual distance for the metrics; None leaves LPIPS out.
        program: How steps are executed; None chooses by the device and the settings.
        learned: What the settings `init`, `optimizer` or `prior` may need; None if none of them does.

    Raises:
        ConfigError: No learned file is given where the settings need one, or one that is not the settings' own, or of
            other networks or loss weights.
    """

    def __init__(
        self,
        generator: GeneratorLike,
        features: Features,
        config: EmbedConfig | None = None,
        lpips: PerceptualDistance | None = None,
        program: StepProgram | None = None,
        learned: Learned | None = None,
    ) -> None:
        _check_networks(generator, features)
        checked: EmbedConfig = typed("config", config or EmbedConfig(), EmbedConfig)
        _check_learned(learned, checked, generator, features)
        self.config = checked
        self._generator = generator
        self._like = generator.w_avg
        self._lpips = lpips
        self._space = LatentSpace(generator, self.config)
        self.program = program or choose_program(self.config, generator)
        self._slots = Slots(generator, features, self._space, self.config, self.program, learned)
        self._stopping = Stopping(self.config)
        self._noise = noise_stage_of(generator, features, self.config, self.config.batch_size)
        self._occupants: list[_Occupant | None] = []
        self._pending: list[_Pending] = []
        self._advances = 0
        self.capacity = self.config.batch_size  # images in a batch; smaller after the device ran out of memory
        self.updates = 0  # made so far, over all images
        # Entered around the part of each step that only computes and changes no slot: meanwhile another thread may call
        # `snapshot`.
        self.computing: AbstractContextManager[None] = nullcontext()

    @property
    def slots(self) -> Slots:
        """Return the slots with their tensors, for programs that measure a single step."""
        return self._slots

    @property
    def free(self) -> int:
        """Return how many more images can be put in.

        Images of the noise stage leave the slots to others, as long as they are fewer than a batch themselves.
        """
        in_stage = 0 if self._noise is None else len(self._noise.in_flight)
        if in_stage >= self.capacity:
            return 0
        return max(0, self.capacity - (len(self.in_flight) - in_stage))

    @property
    def in_flight(self) -> dict[str, int]:
        """Return the images in the slots, or waiting for one to become free again, and the updates made on each."""
        steps = self.config.steps
        in_slots = {o.image_id: min(o.evaluations, steps) for o in self._occupants if o is not None}
        in_slots |= {p.image_id: 0 if p.state is None else p.state.step for p in self._pending}
        if self._noise is None:
            return in_slots
        resumed = self._noise.resumed_steps
        return {each: made + resumed.get(each, 0) for each, made in in_slots.items()} | self._noise.in_flight

    def put(self, image_id: str, image: np.ndarray, state: SlotState | None = None, sha256: str = "") -> None:
        """Start `image` (uint8 [H, W, 3], any size) in a free slot, or resume it from `state`.

        Args:
            image_id: The image's id, unique among those in flight.
            image: The image.
            state: The state to resume; None starts at step 0.
            sha256: The hash of the image file, hex, which the states of this image then hold; empty if there is no
                file.

        Raises:
            ConfigError: No slot is free, or the state is of another image, file or setting (`objection_to`).
        """
        if self.free < 1:
            raise ConfigError(f"all {self.capacity} slots are busy; advance() until one is free")
        if image_id in self.in_flight:
            raise ConfigError(f"image {image_id!r} is already in a slot; image ids must be unique")
        objection = "" if state is None else self.objection_to(state, image_id, sha256)
        if objection:
            raise ConfigError(objection)
        if state is not None and state.noise is not None and self._noise is not None:
            self._noise.resume(image_id, state.noise)
        target = fit_image(image, self._generator.resolution, self.config.fit)
        self._pending.append(_Pending(image_id, target, sha256, state))
        self._fill_slots()

    def advance(self, stop: Callable[[], bool] = lambda: False) -> list[EmbedResult]:
        """Step all slots until at least one image is finished or `stop()` is true; return the finished images.

        At least one step is made. The slots of finished images are free afterwards. Where the device's memory is not
        enough, half of the images are set aside as they are and resume when others have finished.

        Raises:
            torch.OutOfMemoryError: The memory is not enough for one image.
        """
        self._fill_slots()
        self._drop_free_slots()
        while self.in_flight:
            if any(self._occupants) and not self._step():
                self._halve()
                continue
            self._advances += 1
            for occupant in self._occupants:
                if occupant is not None:
                    self.updates += occupant.evaluations < self.config.steps
                    occupant.evaluations += 1
            finished = self._results(self._finished_positions())
            if finished:
                return finished
            if stop():
                break
        return []

    def _results(self, positions: Sequence[int]) -> list[EmbedResult]:
        """Return the results of images that end now: those in slots `positions`, or those at the end of their noise.

        With a noise stage, an image goes on into it from its slot, and all images there make a step.
        """
        targets = [o.target for position in positions if (o := self._occupants[position]) is not None]
        ended = list(zip(map(self._take, positions, self._drawn(positions)), targets, strict=True))
        if self._noise is None:
            return [result for result, _ in ended]
        if ended:
            self._drop_free_slots()
        results, updates = self._noise.advance(ended, self.computing)
        self.updates += updates
        return results

    def take_warning(self) -> str:
        """Return a message for the user about this machine's compiler, once; else an empty text."""
        return self._slots.take_warning()

    def snapshot(self) -> list[SlotState]:
        """Return the state of every image in flight, as values."""
        in_slots = [self._state(position, o) for position, o in enumerate(self._occupants) if o is not None]
        waiting = [pending.state for pending in self._pending if pending.state is not None]
        return in_slots + waiting + ([] if self._noise is None else self._noise.snapshot())

    def _state(self, position: int, occupant: _Occupant) -> SlotState:
        # A step that ends meanwhile replaces all tensors at once: this copy is of before it or after it, never of both.
        tensors = vars(self._slots).copy()
        step = int(tensors["step"][position])
        arrays = {
            name: tensors[name][position].detach().cpu().numpy().copy() for name in ("variable", "m", "v", "history")
        }
        arrays["history"] = arrays["history"][:step]
        noise = None if self._noise is None else self._noise.held(occupant.image_id)
        return SlotState(
            occupant.image_id, step, seconds=occupant.seconds, sha256=occupant.sha256, noise=noise, **arrays
        )

    def embed(self, images: Iterable[ImageInput]) -> Iterator[EmbedResult]:
        """Embed images; results come as they finish, one for every image.

        Args:
            images: Pairs (image_id, image) or images: uint8 arrays [H, W, 3], Pillow images, paths. An image without an
                id has its path as it is given, or its index among `images`. Read as they are needed, so that
                a generator may make them.

        Raises:
            ConfigError: An item is nothing that can be an image, or has the id of one in flight, or `images` is a path.
            PictureError: A file or Pillow image cannot be decoded.
        """
        if isinstance(images, (str, os.PathLike)):
            raise ConfigError(f"images is the path {os.fspath(images)!r}; give several, or [path]")
        waiting = enumerate(images)
        exhausted = False
        while True:
            while self.free and not exhausted:
                try:
                    index, item = next(waiting)
                except StopIteration:
                    exhausted = True
                else:
                    self.put(*read_input(item, index))
            if not self.in_flight:
                return
            yield from self.advance()

    def _step(self) -> bool:
        """Make one step of all slots; return False, with nothing changed, if the device's memory is not enough.

        The frames of the error hold that memory: it is free only after this function has returned.
        """
        try:
            # A graph changes the slots' tensors in place, within milliseconds: no thread may read them meanwhile.
            with nullcontext() if self.program.graph else self.computing:
                self._slots.advance(full=self._slots.size == self.capacity)
        except torch.OutOfMemoryError:
            if self._slots.size == 1:
                raise
            return False
        return True

    def _halve(self) -> None:
        """Set half of the images aside (one of three): from now on the batch is smaller."""
        self.capacity = (len(self._occupants) + 1) // 2
        for position in range(self.capacity, len(self._occupants)):
            if (occupant := self._occupants[position]) is not None:
                state = self._state(position, occupant)
                self._pending.append(_Pending(occupant.image_id, occupant.target, occupant.sha256, state))
        self._keep_slots(range(self.capacity))
        if self._like.device.type == "cuda":
            torch.cuda.empty_cache()

    def _fill_slots(self) -> None:
        """Put pending images into slots, as many as there may be."""
        while self._pending and (busy := sum(o is not None for o in self._occupants)) < self.capacity:
            if not self._fill_slot(self._pending[0], busy):
                self.capacity = busy
                return
            self._pending.pop(0)

    def _fill_slot(self, pending: _Pending, busy: int) -> bool:
        """Put an image beside `busy` others; return False if there is no memory for it."""
        position = self._occupants.index(None) if None in self._occupants else len(self._occupants)
        state = pending.state
        try:
            self._slots.put(position, from_uint8(pending.target, self._like), state, pending.image_id)
        except torch.OutOfMemoryError:
            if not busy:
                raise
            return False
        self._reserve()
        step, seconds = (0, 0.0) if state is None else (state.step, state.seconds)
        occupant = _Occupant(pending.image_id, pending.target, pending.sha256, step, seconds, time.monotonic())
        self._occupants[position : position + 1] = [occupant]
        return True

    def _reserve(self) -> None:
        """Take the memory of all slots with the first image where the step is a graph: no tensor may move later.

        As many slots as fit are taken, if not all do.
        """
        while self.program.graph and self._slots.size < self.capacity:
            try:
                self._slots.fill_up(self.capacity)
            except torch.OutOfMemoryError:
                if self.capacity == 1:
                    raise
            else:
                self._occupants += [None] * (self.capacity - len(self._occupants))
                return
            self.capacity = (self.capacity + 1) // 2
            torch.cuda.empty_cache()

    def _drop_free_slots(self) -> None:
        """Compute no slots without an image, at the end of a dataset.

        A graph always computes all slots: a step of a full batch as a graph is as fast as a plain step of a single
        image.
        """
        busy = [position for position, occupant in enumerate(self._occupants) if occupant is not None]
        if len(busy) < len(self._occupants) and not self.program.graph:
            self._keep_slots(busy)

    def _keep_slots(self, positions: Sequence[int]) -> None:
        self._slots.keep(positions)
        self._occupants = [self._occupants[position] for position in positions]

    def _finished_positions(self) -> list[int]:
        done = {p for p, o in enumerate(self._occupants) if o is not None and o.evaluations > self.config.steps}
        every = STEPS_PER_SYNC_WITH_TARGET if self._stopping.has_target else STEPS_PER_SYNC
        if done or self._advances % every == 0 or self._judged():
            limits = torch.where(self._slots.finite, self._slots.limit, -1).tolist()  # host sync
            done |= {p for p, o in enumerate(self._occupants) if o is not None and o.evaluations > limits[p]}
        return sorted(done)

    def _judged(self) -> bool:
        """Return whether early stopping may have ended an image in the last step, or in the one before.

        An optimiser that returns its best point may need one more step to get there.
        """
        window = self.config.plateau_steps
        return self.config.stop_plateau is not None and any(
            o is not None and (o.evaluations - 1) % window <= 1 for o in self._occupants
        )

    def _drawn(self, positions: Sequence[int]) -> list[tuple[torch.Tensor, np.ndarray]]:
        """Return the latent [L, w_dim] and the image of slots: synthesised again, so that it is that of the latent.

        On a CPU each is alone in its batch, since another batch might round differently; on a GPU, whose results are
        equal up to rounding only, images that end together are drawn together if the memory is enough.
        """
        if len(positions) > 1 and self._like.device.type == "cuda":
            try:
                return self._drawn_together(positions)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
        return [pair for position in positions for pair in self._drawn_together([position])]

    def _drawn_together(self, positions: Sequence[int]) -> list[tuple[torch.Tensor, np.ndarray]]:
        index = torch.tensor(positions, device=self._like.device)
        with torch.no_grad():
            ws = self._space.to_ws(self._slots.variable[index])
            return [(one, to_uint8(image)) for one, image in zip(ws, self._generator.synthesize(ws), strict=True)]

    def _take(self, position: int, drawn: tuple[torch.Tensor, np.ndarray]) -> EmbedResult:
        """Empty the slot of a finished image, whose latent and image are `drawn`, and return its result."""
        occupant = self._occupants[position]
        assert occupant is not None
        self._occupants[position] = None
        steps = int(self._slots.limit[position])
        losses = self._slots.losses(position).cpu().numpy()[: steps + 1]
        # A copy: on a CPU this is the slot's own memory, which is refilled while the result is in use.
        terms = self._slots.history[position].cpu().numpy()[: steps + 1].copy()
        if not np.isfinite(losses[: occupant.evaluations]).all():
            end = int(np.flatnonzero(~np.isfinite(losses))[0])
            return EmbedResult(
                image_id=occupant.image_id,
                status=STATUS_DIVERGED,
                steps=end,
                stop_reason="diverged",
                loss=float(losses[end]),
                curve=losses[: end + 1],
                term_curves=terms[: end + 1, : len(TERMS)],
                seconds=occupant.seconds,
            )
        ws, image = drawn
        reconstruction = Reconstruction(image, occupant.target, self._like, self._lpips, ws, self._generator.w_avg)
        return EmbedResult(
            image_id=occupant.image_id,
            status=STATUS_OK,
            steps=steps,
            stop_reason=self._stopping.reason(steps, self.config.steps, float(losses[-1]), float(terms[-1, 0])),
            loss=float(losses[-1]),
            prior=float(terms[-1, -1]) if self.config.prior else None,
            curve=losses,
            term_curves=terms[:, : len(TERMS)],
            seconds=occupant.seconds,
            latent=ws.cpu().numpy().copy(),
            z=self._slots.variable[position].cpu().numpy().copy() if self._space.name == "z" else None,
            picture=image,
            state=self._state(position, occupant),
            metrics=LazyMetrics(reconstruction),
        )

    def objection_to(self, state: SlotState, image_id: str, sha256: str = "") -> str:
        """Return why an image cannot be resumed from `state`, in one sentence; empty if it can.

        A state belongs to one image file. Where `sha256` or the state's own is unknown, that is not compared.
        """
        shape, steps = self._space.shape, self.config.steps
        if state.image_id != image_id:
            return f"the checkpoint of {state.image_id!r} was given for {image_id!r}"
        if state.sha256 and sha256 and state.sha256 != sha256:
            hashes = f"its sha256 was {state.sha256[:12]}... and is {sha256[:12]}..."
            return f"the image file {image_id!r} has changed since its checkpoint ({hashes})"
        if state.variable.shape != shape or not 0 <= state.step <= steps:
            found = f"shape {list(state.variable.shape)} at step {state.step}"
            return f"the checkpoint of {image_id!r} has {found}; expected {list(shape)}, 0 to {steps}"
        kept = tuple(self._slots.optimizer.start(torch.empty(shape)).shape)
        if state.m.shape != kept or state.v.shape != kept:
            return f"the checkpoint of {image_id!r} is of another optimizer than {self.config.optimizer}"
        terms = len(TERMS) + bool(self.config.prior)
        if state.history.shape != (state.step, terms):
            found = f"loss terms of shape {list(state.history.shape)}"
            return f"the checkpoint of {image_id!r} has {found}; expected {[state.step, terms]}"
        return self._noise_objection(state)

    def _noise_objection(self, state: SlotState) -> str:
        """Return why the noise maps of a state cannot be resumed, in one sentence; empty if they can."""
        if state.noise is None:
            return ""
        objection = "noise maps, and no noise stage" if self._noise is None else self._noise.objection_to(state.noise)
        return f"the checkpoint of {state.image_id!r} has {objection}" if objection else ""
