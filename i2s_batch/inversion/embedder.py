"""The slot loop: keeps every slot busy, notices when an image is finished, and hands its result out.

Knows nothing of files, workers or Ray. An image's result depends on the image, its id, the settings and the
networks; not on its neighbours, the batch size or the order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch

from i2s_batch.config import TERMS, EmbedConfig
from i2s_batch.errors import ConfigError
from i2s_batch.images.inputs import ImageInput, read_input
from i2s_batch.images.resize import fit_picture
from i2s_batch.inversion.loss import Features
from i2s_batch.inversion.metrics import PerceptualDistance, Reconstruction, from_uint8, measure, to_uint8
from i2s_batch.inversion.slot_state import SlotState
from i2s_batch.inversion.slots import Slots
from i2s_batch.inversion.spaces import GeneratorLike, LatentSpace
from i2s_batch.inversion.step_program import StepProgram, choose_program
from i2s_batch.schema.columns import STATUS_DIVERGED, STATUS_OK

# Steps between two looks at the device: bounds how late a NaN is noticed and how far the host runs ahead.
STEPS_PER_SYNC = 25


@dataclass(frozen=True)
class EmbedResult:
    """What embedding one image gave.

    `stop_reason`: steps, plateau or diverged. `latent`: the W+ code [L, w_dim] in the generator's dtype, None when
    diverged; `z`: the optimised vector in space z; `loss`: weighted loss at `latent`; `terms`: its terms before their
    weights; `curve`: the loss at each evaluation [steps + 1] (`steps` updates were made); `metrics`: of the
    8-bit image that `latent` gives, by the names of `engine_registries.METRICS`; `picture`: that image, uint8
    [R, R, 3]; `state`: where an embedding of more steps resumes.
    """

    image_id: str
    status: str
    steps: int
    stop_reason: str
    loss: float
    curve: np.ndarray
    term_curves: np.ndarray
    seconds: float
    latent: np.ndarray | None = None
    z: np.ndarray | None = None
    picture: np.ndarray | None = None
    state: SlotState | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)

    @property
    def terms(self) -> dict[str, float]:
        """Return the loss terms at `latent`, by name."""
        return dict(zip(TERMS, self.term_curves[-1].tolist(), strict=True))


@dataclass
class _Occupant:
    """The host's view of a slot, kept without asking the device."""

    image_id: str
    target: np.ndarray
    sha256: str
    evaluations: int
    seconds_before: float
    started_at: float

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started_at


@dataclass(frozen=True)
class _Parked:
    """An image on its way into a slot, with its fitted picture; `state`: None if it has not begun; `sha256`: of its
    file."""

    image_id: str
    target: np.ndarray
    sha256: str
    state: SlotState | None


class Embedder:
    """Embeds images into the latent space of a frozen generator (Image2StyleGAN, algorithm 1).

    `generator` and `features` (the perceptual network) are on one device and have one dtype.
    `lpips` is an optional perceptual distance for the metrics. `program`: how steps are executed; None chooses by the
    device and the settings.
    """

    def __init__(
        self,
        generator: GeneratorLike,
        features: Features,
        config: EmbedConfig | None = None,
        lpips: PerceptualDistance | None = None,
        program: StepProgram | None = None,
    ) -> None:
        self.config = config or EmbedConfig()
        self._generator = generator
        self._like = generator.w_avg
        self._lpips = lpips
        self._space = LatentSpace(generator, self.config)
        self.program = program or choose_program(self.config, generator)
        self._slots = Slots(generator, features, self._space, self.config, self.program)
        self._occupants: list[_Occupant | None] = []
        self._parked: list[_Parked] = []
        self._advances = 0
        self.capacity = self.config.batch_size  # images in a batch; less after the device's memory was not enough
        self.updates = 0  # made so far, over all images
        # Entered around what is computed in each step, which changes no slot: `snapshot` may then be called from
        # another thread.
        self.computing: AbstractContextManager[None] = nullcontext()

    @property
    def slots(self) -> Slots:
        """Return the slots with their tensors, for programs that measure a single step."""
        return self._slots

    @property
    def free(self) -> int:
        """Return how many more images can be put in."""
        return max(0, self.capacity - len(self.in_flight))

    @property
    def in_flight(self) -> dict[str, int]:
        """Return the images in the slots, or waiting for one to become free again, and the updates made on each."""
        steps = self.config.steps
        in_slots = {o.image_id: min(o.evaluations, steps) for o in self._occupants if o is not None}
        return in_slots | {p.image_id: 0 if p.state is None else p.state.step for p in self._parked}

    def put(self, image_id: str, picture: np.ndarray, state: SlotState | None = None, sha256: str = "") -> None:
        """Start `picture` (uint8 [H, W, 3], any size) in a free slot, or resume it from `state`.

        `sha256`: of the bytes of the image file, hex, which the states of this image then hold; empty if there is no
        file. Raises ConfigError for a state of another image, file or setting (`objection_to`).
        """
        if self.free < 1:
            raise ConfigError(f"all {self.capacity} slots are busy; advance() until one is free")
        if image_id in self.in_flight:
            raise ConfigError(f"image {image_id!r} is already in a slot; image ids must be unique")
        objection = "" if state is None else self.objection_to(state, image_id, sha256)
        if objection:
            raise ConfigError(objection)
        target = fit_picture(picture, self._generator.resolution, self.config.fit)
        self._parked.append(_Parked(image_id, target, sha256, state))
        self._unpark()

    def advance(self, stop: Callable[[], bool] = lambda: False) -> list[EmbedResult]:
        """Step all slots until at least one image is finished or `stop()` is true; the finished images.

        At least one step is made. The slots of finished images are free afterwards. Where the device's memory is not
        enough, half of the images are set aside as they are and go on when others have finished; raises
        torch.OutOfMemoryError where it is not enough for one.
        """
        self._unpark()
        self._drop_free_slots()
        while self.in_flight:
            if not self._step():
                self._halve()
                continue
            self._advances += 1
            for occupant in self._occupants:
                if occupant is not None:
                    self.updates += occupant.evaluations < self.config.steps
                    occupant.evaluations += 1
            finished = self._finished_places()
            if finished:
                return [self._take(place) for place in finished]
            if stop():
                break
        return []

    def take_warning(self) -> str:
        """Return what the user should know of this machine's compiler, once; else an empty text."""
        return self._slots.take_warning()

    def snapshot(self) -> list[SlotState]:
        """Return the state of every image in flight, as values."""
        in_slots = [self._state(place, o) for place, o in enumerate(self._occupants) if o is not None]
        return in_slots + [parked.state for parked in self._parked if parked.state is not None]

    def _state(self, place: int, occupant: _Occupant) -> SlotState:
        # A step that ends meanwhile replaces all tensors at once; these are those of before it, or of after.
        tensors = vars(self._slots).copy()
        step = int(tensors["step"][place])
        arrays = {
            name: tensors[name][place].detach().cpu().numpy().copy() for name in ("variable", "m", "v", "history")
        }
        arrays["history"] = arrays["history"][:step]
        return SlotState(occupant.image_id, step, seconds=occupant.seconds, sha256=occupant.sha256, **arrays)

    def embed(self, images: Iterable[ImageInput]) -> Iterator[EmbedResult]:
        """Embed images; results come as they finish, one for every image.

        Args:
            images: Pairs (image_id, image) or images: uint8 arrays [H, W, 3], Pillow images, paths. An image without an
                id has its path as it is given, or its index among `images`. Read as they are needed, so that
                a generator may make them.

        Raises:
            ConfigError: An item is nothing that can be an image, or has the id of one in flight.
            PictureError: A file or Pillow image cannot be decoded.
        """
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
        """One step of all slots, or none if the device's memory is not enough. The error's frames hold that memory:
        what is done about it has to wait until it is gone."""
        try:
            # A graph changes the slots' tensors in place, within milliseconds: nobody may look at them meanwhile.
            with nullcontext() if self.program.graph else self.computing:
                self._slots.advance(full=self._slots.size == self.capacity)
        except torch.OutOfMemoryError:
            if self._slots.size == 1:
                raise
            return False
        return True

    def _halve(self) -> None:
        """Set half of the images aside (of three, one), for ever fewer in a batch."""
        self.capacity = (len(self._occupants) + 1) // 2
        for place in range(self.capacity, len(self._occupants)):
            if (occupant := self._occupants[place]) is not None:
                state = self._state(place, occupant)
                self._parked.append(_Parked(occupant.image_id, occupant.target, occupant.sha256, state))
        self._keep_slots(range(self.capacity))
        if self._like.device.type == "cuda":
            torch.cuda.empty_cache()

    def _unpark(self) -> None:
        """Put what is parked into slots, as many as there may be."""
        while self._parked and (busy := sum(o is not None for o in self._occupants)) < self.capacity:
            if not self._place(self._parked[0], busy):
                self.capacity = busy
                return
            self._parked.pop(0)

    def _place(self, parked: _Parked, busy: int) -> bool:
        """Put an image beside `busy` others; False if there is no memory for it."""
        place = self._occupants.index(None) if None in self._occupants else len(self._occupants)
        state = parked.state
        try:
            self._slots.put(place, from_uint8(parked.target, self._like), state, parked.image_id)
        except torch.OutOfMemoryError:
            if not busy:
                raise
            return False
        self._reserve()
        step, seconds = (0, 0.0) if state is None else (state.step, state.seconds)
        occupant = _Occupant(parked.image_id, parked.target, parked.sha256, step, seconds, time.monotonic())
        self._occupants[place : place + 1] = [occupant]
        return True

    def _reserve(self) -> None:
        """Where the step is a graph, take the memory of all slots with the first image: nothing may move later. As many
        slots as fit, if not all do."""
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
        """At the end of a dataset, do not compute slots that nobody needs. A graph computes them all: one of a full
        batch is as fast as a plain step of a single image."""
        busy = [place for place, occupant in enumerate(self._occupants) if occupant is not None]
        if len(busy) < len(self._occupants) and not self.program.graph:
            self._keep_slots(busy)

    def _keep_slots(self, places: Sequence[int]) -> None:
        self._slots.keep(places)
        self._occupants = [self._occupants[place] for place in places]

    def _finished_places(self) -> list[int]:
        done = {p for p, o in enumerate(self._occupants) if o is not None and o.evaluations > self.config.steps}
        if done or self._advances % STEPS_PER_SYNC == 0 or self._judged():
            ended = (~self._slots.finite | (self._slots.limit < self.config.steps)).tolist()  # host sync
            done |= {p for p, o in enumerate(self._occupants) if o is not None and ended[p]}
        return sorted(done)

    def _judged(self) -> bool:
        """Return whether the last step was one after which an image may have been found to gain no more."""
        window = self.config.plateau_steps
        return self.config.stop_plateau is not None and any(
            o is not None and (o.evaluations - 1) % window == 0 for o in self._occupants
        )

    def _take(self, place: int) -> EmbedResult:
        """Empty a slot whose image is finished. The picture is made anew from the stored code, alone in its
        batch, so that the metrics belong to the code and to nothing else."""
        occupant = self._occupants[place]
        assert occupant is not None
        self._occupants[place] = None
        steps = int(self._slots.limit[place])
        losses = self._slots.losses(place).cpu().numpy()[: steps + 1]
        terms = self._slots.history[place].cpu().numpy()[: steps + 1].copy()  # the slot is filled anew
        if not np.isfinite(losses[: occupant.evaluations]).all():
            end = int(np.flatnonzero(~np.isfinite(losses))[0])
            return EmbedResult(
                image_id=occupant.image_id,
                status=STATUS_DIVERGED,
                steps=end,
                stop_reason="diverged",
                loss=float(losses[end]),
                curve=losses[: end + 1],
                term_curves=terms[: end + 1],
                seconds=occupant.seconds,
            )
        variable = self._slots.variable[place][None]
        with torch.no_grad():
            ws = self._space.to_ws(variable)
            picture = to_uint8(self._generator.synthesize(ws)[0])
        made = Reconstruction(picture, occupant.target, self._like, self._lpips, ws[0], self._generator.w_avg)
        return EmbedResult(
            image_id=occupant.image_id,
            status=STATUS_OK,
            steps=steps,
            stop_reason="steps" if steps == self.config.steps else "plateau",
            loss=float(losses[-1]),
            curve=losses,
            term_curves=terms,
            seconds=occupant.seconds,
            latent=ws[0].cpu().numpy().copy(),
            z=variable[0].cpu().numpy().copy() if self._space.name == "z" else None,
            picture=picture,
            state=self._state(place, occupant),
            metrics=measure(made),
        )

    def objection_to(self, state: SlotState, image_id: str, sha256: str = "") -> str:
        """Return why an image cannot be resumed from `state`, in one sentence; empty if it can.

        A state is of one image file. Where `sha256` or the state's own is unknown, that is not compared.
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
        if state.history.shape != (state.step, len(TERMS)):
            found = f"loss terms of shape {list(state.history.shape)}"
            return f"the checkpoint of {image_id!r} has {found}; expected {[state.step, len(TERMS)]}"
        return ""
