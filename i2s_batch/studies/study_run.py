"""The run of a study: an embedding run whose images are variants of some pictures of a source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from i2s_batch.config import ImageSettings, StudyConfig
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.embedding.units import EmbedUnit, Successor
from i2s_batch.errors import ConfigError, PictureError
from i2s_batch.images.alterations import alter
from i2s_batch.images.read.decoding import decode_picture, encode_picture
from i2s_batch.images.resize import fit_picture
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import STUDY_INTERNAL, Plan
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.source import list_images
from i2s_batch.studies.catalogue import Variant, study_of
from i2s_batch.studies.sampling import choose, class_of

_ALTERERS = 4  # pictures altered at once

# Beside the columns of `records.COLUMNS`. `picture` is the image_id that the picture has in the source.
_PLANNED = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("study", pa.string()),
        ("variant", pa.string()),
        ("round", pa.int32()),
        ("picture", pa.string()),
        ("class", pa.string()),
        ("_source", pa.string()),
        ("_after", pa.int64()),
        ("_then", pa.int64()),
        ("_then_id", pa.string()),
    ]
)


@dataclass(frozen=True)
class StudyRunRequest(EmbedRunRequest):
    """What is to be studied. `command`: the words of the command line that goes on with it, without the program's
    name; None if there is none."""

    config: StudyConfig
    command: tuple[str, ...] | None = None


class StudyRun(EmbedRun):
    """A run that embeds every variant of a sample of pictures, and keeps the reconstructions."""

    def __init__(self, job: StudyRunRequest, say: Callable[[str], None]) -> None:
        self._study_job = job
        self.study = study_of(job.config.study, job.config.embed)
        super().__init__(job, say)
        self.steps = self.study.mean_steps

    def _command(self) -> tuple[str, ...] | None:
        return self._study_job.command

    def _make_plan(self) -> Plan:
        config = self._study_job.config
        images = list_images(self._study_job.source, exclude=self._study_job.out).read()
        ids, uris = images["image_id"].to_pylist(), images["uri"].to_pylist()
        classes = self._classes(images)
        chosen = choose(ids, classes, config.sample, config.embed.seed)
        self._say(f"{len(chosen)} of {len(ids)} pictures in {len(self.study.variants)} variants")
        rows = [
            self._row(variant, ids[place], uris[place], classes[place])
            for variant in self.study.variants
            for place in chosen
        ]
        rows.sort(key=lambda row: row["image_id"].encode())
        return Plan(pa.Table.from_pylist(self._linked(rows), _PLANNED), config.shard_size, internal=STUDY_INTERNAL)

    def _classes(self, images: pa.Table) -> list[str]:
        column = self._study_job.config.classes
        if column is None:
            return [class_of(image_id) for image_id in images["image_id"].to_pylist()]
        carried = [name for name in images.column_names if name not in ("image_id", "uri")]
        if column not in carried:
            there = ", ".join(map(repr, carried)) or "none"
            raise ConfigError(
                f"{self._study_job.source!r} carries no column {column!r} for --classes; there is {there}"
            )
        return ["" if value is None else str(value) for value in images[column].to_pylist()]

    def _row(self, variant: Variant, picture: str, uri: str, kind: str) -> dict[str, Any]:
        image_id, where = _id(variant.name, picture), uri
        if variant.alteration:
            where = self._store.uri(RunLayout.altered(image_id))
        elif variant.redoes:
            where = self._store.uri(RunLayout.picture(_id(variant.redoes, picture), "png"))
        return {
            "image_id": image_id,
            "uri": where,
            "study": self.study.name,
            "variant": variant.name,
            "round": variant.round,
            "picture": picture,
            "class": kind,
            "_source": uri,
        }

    def _linked(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows, each with the place of the one that has to come before it and of the one that continues it."""
        places = {row["image_id"]: place for place, row in enumerate(rows)}
        then = {variant.continues: variant.name for variant in self.study.variants if variant.continues}
        linked = []
        for row in rows:
            after, following = self.study.variant(row["variant"]).after, then.get(row["variant"])
            links: dict[str, Any] = {"_after": places[_id(after, row["picture"])] if after else None}
            if following is not None:
                following_id = _id(following, row["picture"])
                links |= {"_then": places[following_id], "_then_id": following_id}
            linked.append(row | links)
        return linked

    def _prepare(self) -> None:
        """Write the altered pictures that are not there yet."""
        plan = self.plan()
        variants = {variant.name: variant for variant in self.study.variants if variant.alteration}
        there = {info.key for info in self._store.list(RunLayout.inputs_prefix)} if variants else set()
        rows = [
            row
            for row in plan.rows(range(len(plan))).to_pylist()
            if row["variant"] in variants and RunLayout.altered(row["image_id"]) not in there
        ]
        if rows:
            self._say(f"altering pictures ({len(rows)})")
        with ThreadPoolExecutor(_ALTERERS) as pool:
            for _ in pool.map(lambda row: self._alter(row, variants[row["variant"]].alteration), rows):
                pass

    def _alter(self, row: dict[str, Any], alteration: str) -> None:
        """What cannot be read is not altered, and what cannot be decoded is handed on as it is: its row says why."""
        embed = self._study_job.config.embed
        try:
            data = read_bytes(row["_source"])
        except PictureError:
            return
        try:
            square = fit_picture(decode_picture(data), self.generator.settings.resolution, embed.fit)
            data = encode_picture(alter(square, alteration, row["picture"], embed.seed), "png")
        except PictureError:
            pass
        self._store.put(RunLayout.altered(row["image_id"]), data)

    def unit(self, index: int) -> EmbedUnit:
        (row,) = self.plan().unit_rows(index).to_pylist()
        variant = self.study.variant(row["variant"])
        return EmbedUnit(
            index=index,
            image_ids=(row["image_id"],),
            after=row["_after"],
            uri=row["uri"],
            settings=ImageSettings(variant.embed, variant.untrained),
            keeps_image=True,
            successor=None if row["_then"] is None else Successor(row["_then"], row["_then_id"]),
        )


def _id(variant: str, picture: str) -> str:
    return f"{variant}/{picture}"
