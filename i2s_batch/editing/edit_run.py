"""The run that makes pictures from latent tables: its plan, its workers, its failed rows, its films."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from i2s_batch.config import EditConfig
from i2s_batch.editing import PictureSequence, Request
from i2s_batch.editing.edit_worker import EditSpec
from i2s_batch.editing.recipe_columns import recipe_of
from i2s_batch.editing.rows import failed_edit_row
from i2s_batch.editing.units import EditImage, EditUnit
from i2s_batch.errors import ConfigError, RunConflictError
from i2s_batch.images.draw.animations import check_animation, encode_animation
from i2s_batch.images.read.decoding import decode_picture
from i2s_batch.models import Generator, GeneratorWeights, build_generator
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import EDIT_INTERNAL, Plan
from i2s_batch.output.run_record import new_record
from i2s_batch.output.units import Task, Unit
from i2s_batch.run.execution import Run
from i2s_batch.run.pools import Fleet
from i2s_batch.run.recorded import generator_record
from i2s_batch.schema.columns import STATUS_CRASHED, STATUS_OK
from i2s_batch.schema.row import Row
from i2s_batch.storage import open_store
from i2s_batch.table.latent_reader import PLACE, LatentIndex, LatentLocation
from i2s_batch.table.selection import chosen_ids
from i2s_batch.table.shards import read_table

# Pictures that one run may make: its plan is held in memory.
MOST_PICTURES = 10_000_000
# Pictures handed out and logged as one.
UNIT = 32
PLANNED_AT_ONCE = 50_000
# A code is far when it lies farther from w_avg than all of so many codes of the generator's own. The paper's faces
# lie at 30 to 48, everything else at 70 and more.
OWN_CODES = 1000
_FILMS_AT_ONCE = 2

# The recipe's columns, beside those of `records.COLUMNS`.
RECIPE = pa.schema(
    [
        ("operation", pa.string()),
        ("parents", pa.list_(pa.string())),
        ("strength", pa.float64()),
        ("layers", pa.list_(pa.int32())),
        ("threshold", pa.float64()),
        ("normalise", pa.bool_()),
        ("sequence", pa.string()),
        ("frame", pa.int32()),
    ]
)
_PLANNED = pa.schema([("image_id", pa.string()), ("uri", pa.string()), *RECIPE, ("_places", pa.list_(PLACE))])


@dataclass(frozen=True)
class EditRunRequest:
    """What is to be made from which tables, into where. Paths or URLs.

    Images are chosen by `ids`, in their order, or by `where`, an SQL condition, or are all that have a code, both
    in the order in which people count: frame 9 before frame 10.
    `command`: the words of the command line that goes on with the run, without the program's name; None if there
    is none.
    """

    latents: tuple[str, ...]
    out: str
    generator: str
    request: Request
    config: EditConfig
    ids: tuple[str, ...] | None = None
    where: str | None = None
    command: tuple[str, ...] | None = None


class EditRun(Run):
    """A run that edits codes and renders them."""

    steps = 1

    def __init__(self, job: EditRunRequest, weights: GeneratorWeights, say: Callable[[str], None]) -> None:
        """`weights` are those of `job.generator`."""
        check_animation(job.config.animation)
        self._job = job
        self._tables = tuple(open_store(table).url for table in job.latents)
        settings = job.config.identity() | _settings(job)
        record = new_record(self._tables, settings, generator_record(weights), None, {"generator": job.generator})
        record = replace(record, command=job.command)
        super().__init__(job.out, job.config, record, weights, say)

    @cached_property
    def network(self) -> Generator:
        """The generator on the driver, built when something is first drawn or mapped here."""
        return build_generator(self.generator)

    def describe(self) -> dict[str, Any]:
        """What the run would do, for `--dry-run`."""
        resolution = self.generator.settings.resolution
        size = {"picture": f"{resolution} x {resolution}", "pictures_bytes": len(self.plan()) * resolution**2 * 3}
        facts = super().describe()
        return {"pictures": facts.pop("images"), "pictures_to_do": facts.pop("images_to_do")} | size | facts

    def _make_plan(self) -> Plan:
        job = self._job
        index = LatentIndex(self._tables)
        check_generator(index, self.generator)
        chosen: list[str] = []
        if job.request.jobs is None:
            chosen = self._chosen(index)
        sequences = job.request.sequences(chosen, self.generator.latent_shape[0])
        images, parents = self._planned_images(sequences, index)
        if not len(images):
            raise ConfigError(f"there is nothing to make of {len(chosen)} chosen images; choose more")
        self._warn_of_far_codes(index, parents)
        return Plan(images, job.config.shard_size, UNIT, internal=EDIT_INTERNAL)

    def unit(self, index: int) -> EditUnit:
        images = tuple(map(_image_of, self.plan().unit_rows(index).to_pylist()))
        return EditUnit(index=index, image_ids=tuple(image.image_id for image in images), images=images)

    def _chosen(self, index: LatentIndex) -> list[str]:
        job = self._job
        if job.ids is not None:
            return list(job.ids)
        if job.where is not None:
            chosen = [image_id for table in self._tables for image_id in chosen_ids(table, job.where)]
            return sorted(chosen, key=_in_natural_order)
        without = len(index.ids) - len(chosen := index.ok())
        if without:
            self._say(f"{without} images without a code are left out")
        return sorted(chosen, key=_in_natural_order)

    def _planned_images(self, sequences: Iterable[PictureSequence], index: LatentIndex) -> tuple[pa.Table, set[str]]:
        """The plan's images, sorted by id, and all their parents."""
        parts, parents, count = [], set(), 0
        rows = self._rows(sequences, index)
        while part := list(itertools.islice(rows, PLANNED_AT_ONCE)):
            count += len(part)
            if count > MOST_PICTURES:
                raise ConfigError(f"more than {MOST_PICTURES} pictures would be made; choose fewer images")
            parents |= {parent for row in part for parent in row["parents"]}
            parts.append(pa.Table.from_pylist(part, _PLANNED))
        images = pa.concat_tables(parts).sort_by("image_id") if parts else _PLANNED.empty_table()
        ids = images["image_id"].combine_chunks()
        if len(ids.unique()) < len(ids):  # the same job twice makes one picture
            first = np.append(True, np.asarray(ids[1:]) != np.asarray(ids[:-1]))
            images = images.filter(pa.array(first))
            self._say(f"{len(ids) - len(images)} pictures are asked for more than once; each is made once")
        return images, parents

    def _rows(self, sequences: Iterable[PictureSequence], index: LatentIndex) -> Iterator[dict[str, Any]]:
        for sequence in sequences:
            single = len(sequence.recipes) == 1
            name = sequence.name
            for image_id, frame, recipe in sequence.pictures():
                yield asdict(recipe) | {
                    "image_id": image_id,
                    "uri": self._store.uri(RunLayout.picture(image_id, self._job.config.picture_format)),
                    "sequence": None if single else name,
                    "frame": None if single else frame,
                    "_places": [_stored(index.location(parent)) for parent in recipe.parents],
                }

    def _warn_of_far_codes(self, index: LatentIndex, parents: set[str]) -> None:
        distances = {parent: d for parent in parents if (d := index.distance(parent)) is not None}
        limit = farthest_of_its_own(self.network)
        far = sorted((d, parent) for parent, d in distances.items() if d > limit)
        if far:
            distance, parent = far[-1]
            self._say(
                f"warning: {len(far)} of {len(distances)} codes lie farther from w_avg than any of {OWN_CODES} of the "
                f"generator's own ({limit:.1f}), {parent!r} at {distance:.1f}; edits of such codes mean little"
            )

    def _spec(self, fleet: Fleet, spread: int) -> EditSpec:
        where = (self._store.url, self._job.config, self.generator, self._tables)
        return EditSpec(*where, fleet.device, spread, fleet.threads)

    def _crashed_rows(self, task: Task[Unit], error: Exception) -> list[Row]:
        images = self.unit(task.index).images
        return [failed_edit_row(image, task.attempts, STATUS_CRASHED, error) for image in images]

    def _complete(self) -> None:
        """Make the films that are not there yet; one with a failed frame is left out."""
        animation = self._job.config.animation
        if animation is None:
            return
        table = read_table(self._store.url, ["image_id", "status", "sequence", "frame", "uri"])
        films: dict[str, list[dict[str, Any]]] = {}
        for row in table.select(["sequence", "frame", "image_id", "status"]).to_pylist():
            if row["sequence"] is not None:
                films.setdefault(row["sequence"], []).append(row)
        there = {info.key for info in self._store.list(RunLayout.animations_prefix)}
        missing = [name for name in films if RunLayout.animation(name, animation) not in there]
        whole = [name for name in missing if all(row["status"] == STATUS_OK for row in films[name])]
        if missing:
            self._say(f"making {len(whole)} films ({len(missing) - len(whole)} lack a frame)")
        with ThreadPoolExecutor(_FILMS_AT_ONCE) as pool:
            for _ in pool.map(lambda name: self._film(name, films[name], animation), whole):
                pass

    def _film(self, name: str, rows: list[dict[str, Any]], animation: str) -> None:
        config = self._job.config
        keys = [
            RunLayout.picture(row["image_id"], config.picture_format) for row in sorted(rows, key=lambda r: r["frame"])
        ]
        film = encode_animation(
            lambda place: decode_picture(self._store.get(keys[place])), len(keys), animation, config.frames_per_second
        )
        self._store.put(RunLayout.animation(name, animation), film)


def _stored(location: LatentLocation | None) -> dict[str, int] | None:
    """Return a location as the plan's file holds it."""
    return None if location is None else location._asdict()


def _image_of(row: dict[str, Any]) -> EditImage:
    """Return an image of the plan from its row in the plan's file."""
    locations = tuple(None if place is None else LatentLocation(**place) for place in row["_places"])
    return EditImage(row["image_id"], row["uri"], recipe_of(row), locations)


def _settings(job: EditRunRequest) -> dict[str, Any]:
    """What of a job a resumed run must agree with, as JSON values; long lists by their sha256."""
    settings = asdict(job.request) | {"ids": job.ids, "where": job.where}  # type: ignore[call-overload]
    for name in ("jobs", "ids"):
        if settings.get(name) is not None:
            settings[name] = hashlib.sha256(json.dumps(settings[name]).encode()).hexdigest()
    # tuples become lists, as they are read back
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return {name: value for name, value in plain.items() if value is not None}


def _in_natural_order(image_id: str) -> list[tuple[int, str]]:
    """A key for sorting: numbers within a name by their value."""
    parts = re.split(r"(\d+)", image_id)
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]


def check_generator(index: LatentIndex, weights: GeneratorWeights) -> None:
    """Raise RunConflictError if the codes were made by another generator."""
    table = index.tables[0]
    if table.generator != weights.fingerprint:
        raise RunConflictError(
            f"{table.url} was made by the generator {table.generator[:12]}... ({table.origin}), not by "
            f"{weights.fingerprint[:12]}... ({weights.origin}); give the one that made it"
        )


def farthest_of_its_own(generator: Generator) -> float:
    """The largest distance from w_avg, over all layers as in `w_distance`, of `OWN_CODES` seeded z."""
    z = torch.randn(OWN_CODES, generator.z_dim, generator=torch.Generator().manual_seed(0))
    labels = None
    if generator.c_dim:
        labels = torch.nn.functional.one_hot(torch.arange(OWN_CODES) % generator.c_dim, generator.c_dim).float()
    with torch.no_grad():
        ws = generator.map(z, labels)
    return float((ws - generator.w_avg).flatten(1).norm(dim=1).max())
