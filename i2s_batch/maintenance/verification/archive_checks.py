"""Checks the archives of an edit run: each holds the images of its shard's rows, every one once, in their order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice, zip_longest

from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.maintenance.verification.shard_checks import Finding
from i2s_batch.output.archives.members import StoredImage
from i2s_batch.output.archives.reading import RunImages, published_members
from i2s_batch.output.archives.registered import archive_key
from i2s_batch.storage import Store

_NAMED = 5  # faults of one archive that are reported one by one


def archive_findings(store: Store, images: RunImages, output: str, shard: int) -> list[Finding]:
    """Return what is wrong with the archive of a shard; reads all of it once.

    Args:
        store: The output.
        images: Reads its images.
        output: The run's value of --output.
        shard: A shard of the table whose own file is sound.
    """
    uri = store.uri(archive_key(output, shard))
    try:
        faults = list(islice(_faults(store, images, shard), _NAMED + 1))
    except ObjectNotFoundError:
        return [Finding(uri, None, "it is missing; run the same command again, which makes its images again")]
    except StorageError as error:
        return [Finding(uri, None, str(error).removeprefix(f"{uri!r} "))]
    more = [Finding(uri, None, "more of its images are wrong")] if len(faults) > _NAMED else []
    return [Finding(uri, image_id, what) for image_id, what in faults[:_NAMED]] + more


def _faults(store: Store, images: RunImages, shard: int) -> Iterator[tuple[str | None, str]]:
    """Yield (image id, what is wrong with its image in the archive)."""
    members = published_members(store, shard)
    wanted = zip(members.names, members.facts["image_id"].to_pylist(), members.hashes, strict=True)
    for row, found in zip_longest(wanted, images.archive(shard).images()):
        if row is None:
            yield found.image_id, f"{found.name!r} is of no row of the table, or comes twice"
        elif found is None:
            yield row[1], f"its image {row[0]!r} is missing"
        elif (what := _difference(row, found)) is not None:
            yield row[1], what


def _difference(row: tuple[str, str, str], found: StoredImage) -> str | None:
    name, image_id, sha256 = row
    if found.name != name:
        return f"its image must be {name!r}; {found.name!r} is in its place"
    if found.image_id != image_id:
        return f"{name!r} stands beside the image_id {found.image_id!r}"
    digest = hashlib.sha256(found.data).hexdigest()
    return None if digest == sha256 else f"its sha256 is {sha256[:12]}...; that of {name!r} is {digest[:12]}..."
