"""Writes the archive of a shard: each image of its rows once, in their order, checked against its row.

The archive comes before the shard of the table and after the work log: whoever sees a row finds its image, and until
both are there the log holds what they are made of. Writing it again gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.errors import DamagedError, StorageError
from i2s_batch.output.archives.image_log import ImageLog, Pack
from i2s_batch.output.archives.members import Archive, Members
from i2s_batch.output.archives.registered import ARCHIVES, archive_key
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import Plan
from i2s_batch.output.work_log import RowsDamagedError
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.storage import Store


class ArchiveWriter:
    """Writes the archives of the run in `store`, in the format `output`."""

    def __init__(self, store: Store, output: str) -> None:
        self._store, self._output = store, output
        self._log = ImageLog(store)

    def missing(self, shards: Iterable[int]) -> set[int]:
        """Return those of some published shards whose archive does not exist: somebody has deleted it."""
        present = {info.key for info in self._store.list(RunLayout.pictures_prefix)}
        return {shard for shard in shards if archive_key(self._output, shard) not in present}

    def discard_unfinished(self) -> None:
        """Remove what a killed driver has sent of an archive. To be called under the lease."""
        self._store.discard_unfinished(RunLayout.pictures_prefix)

    def write(
        self,
        plan: Plan,
        shard: int,
        rows: pa.Table,
        packs: Mapping[int, Pack],
        published: pa.Table | None,
        confirm: Callable[[], None],
    ) -> None:
        """Write the archive of a shard, whole, over the one that exists.

        Where there is none it is created: one that another driver has written meanwhile stays as it is.

        Args:
            plan: The plan.
            shard: The shard.
            rows: Its rows, in the order of the plan, as they will be published.
            packs: What the work log holds, by unit.
            published: The rows that were published before, whose images are in the archive that exists; None for none.
            confirm: Raises if the output is no longer ours.

        Raises:
            RowsDamagedError: Images of some units are gone or damaged; they have to be rendered again.
            StorageError: An image of a published row is in no archive.
        """
        key, form = archive_key(self._output, shard), ARCHIVES[self._output]
        archive = None if published is None else form.open(self._store, key, lambda: Members.of(published))
        members = Members.of(rows)
        made = pc.equal(rows["status"], STATUS_OK).to_pylist()
        units = [plan.unit_of(image) for image, ok in zip(plan.shard_range(shard), made, strict=True) if ok]

        def images() -> Iterator[bytes]:
            yield from self._images(members, units, packs, archive, key)
            confirm()  # before the archive appears

        confirm()
        chunks = form.chunks(members, images())
        if any(info.key == key for info in self._store.list(key)):
            self._store.put_chunks(key, chunks)
        elif not self._store.put_new_chunks(key, chunks):
            confirm()  # the likely reason is a lost lease, whose error is clearer
            if _holds(form.open(self._store, key, lambda: members), members):
                return  # an earlier driver's last write came late
            raise StorageError(
                f"{self._store.uri(key)!r} was written by somebody else meanwhile; run the same command again"
            )

    def delete_packs(self, packs: Mapping[int, Pack]) -> None:
        """Delete the images of the work log that an archive holds now, after their rows."""
        self._log.delete(packs.values())

    def _images(
        self, members: Members, units: Sequence[int], packs: Mapping[int, Pack], archive: Archive | None, key: str
    ) -> Iterator[bytes]:
        """Yield the image of each member: from the work log, or from the archive that exists."""
        unit, logged = None, dict[str, bytes]()
        for name, sha256, of in zip(members.names, members.hashes, units, strict=True):
            if of != unit:
                unit, logged = of, self._logged(packs.get(of))
            image = logged.get(sha256)  # its pack was checked when it was read
            if image is not None:
                yield image
                continue
            image = None if archive is None else archive.get(name)
            if image is None or hashlib.sha256(image).hexdigest() != sha256:
                what = "is damaged" if image is not None else "is gone"
                raise StorageError(
                    f"{self._store.uri(key)!r}: the image {name!r} {what}; delete this archive and run the same "
                    "command again"
                )
            yield image

    def _logged(self, pack: Pack | None) -> dict[str, bytes]:
        if pack is None or not pack.hashes:
            return {}
        try:
            return self._log.read(pack)
        except DamagedError as error:
            raise RowsDamagedError({pack.unit: str(error)}) from error


def _holds(archive: Archive, members: Members) -> bool:
    """Return whether an archive holds these very images, in their order."""
    try:
        found = [(image.name, hashlib.sha256(image.data).hexdigest()) for image in archive.images()]
    except StorageError:
        return False
    return found == list(zip(members.names, members.hashes, strict=True))


def packs_of(plan: Plan, units: Iterable[int], rows: pa.Table) -> dict[int, Pack]:
    """Return the packs of units whose logged rows are `rows`, in their order."""
    packs, start = {}, 0
    for unit in units:
        count = len(plan.unit_range(unit))
        made = rows.slice(start, count)
        made = made.filter(pc.equal(made["status"], STATUS_OK))
        packs[unit] = Pack(unit, tuple(made["sha256"].to_pylist()), tuple(made["bytes"].to_pylist()))
        start += count
    return packs
