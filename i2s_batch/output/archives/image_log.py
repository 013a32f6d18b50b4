"""Keeps the encoded images of finished units in the work log, until the archive of their shard is written.

The images of a unit are one object, a pack, so that a run under way has one file for each unit and not for each image.
Its key holds a digest of the images' sha256: a row of the log names its pack by what it says of the images, and where
two workers have rendered one unit, each row belongs to the pack of the same worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from i2s_batch.checksums import check, with_checksum
from i2s_batch.errors import DamagedError, ObjectNotFoundError
from i2s_batch.output.layout import RunLayout
from i2s_batch.storage import Store

_DIGEST_CHARACTERS = 32


@dataclass(frozen=True)
class Pack:
    """Names the images of a unit in the work log.

    Attributes:
        unit: The unit's index in the plan.
        hashes: The sha256 of each image, hex, in the order of the unit.
        sizes: The bytes of each image.
    """

    unit: int
    hashes: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def key(self) -> str:
        """Return the key of the object."""
        digest = hashlib.sha256("\n".join(self.hashes).encode()).hexdigest()
        return RunLayout.pack(self.unit, digest[:_DIGEST_CHARACTERS])


class ImageLog:
    """Writes, reads and deletes the packs of the run in `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, unit: int, images: Sequence[bytes]) -> None:
        """Make the images of a unit durable, before their rows are."""
        if images:
            hashes = tuple(hashlib.sha256(image).hexdigest() for image in images)
            pack = Pack(unit, hashes, tuple(map(len, images)))
            self._store.put(pack.key, with_checksum(b"".join(images)))

    def read(self, pack: Pack) -> dict[str, bytes]:
        """Return the images of a pack by their sha256.

        Raises:
            DamagedError: They are gone, or are not those that were written.
        """
        uri = self._store.uri(pack.key)
        try:
            data, was_checked = check(self._store.get(pack.key))
        except ObjectNotFoundError as error:
            raise DamagedError(f"{uri!r}, the images of a unit, is missing") from error
        except DamagedError as error:
            raise DamagedError(f"{uri!r}, the images of a unit, is damaged ({error})") from error
        if not was_checked or len(data) != sum(pack.sizes):
            raise DamagedError(f"{uri!r} has {len(data)} bytes; the rows of its unit give {sum(pack.sizes)}")
        cuts = pairwise(accumulate(pack.sizes, initial=0))
        return {sha256: data[start:stop] for sha256, (start, stop) in zip(pack.hashes, cuts, strict=True)}

    def delete(self, packs: Iterable[Pack]) -> None:
        """Delete packs."""
        self._store.delete(pack.key for pack in packs if pack.hashes)
