"""Pastes aligned faces back into their photographs, an image each, on the driver when the run has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from i2s_batch.editing.comparisons import rendered_images
from i2s_batch.editing.originals import Original, Originals
from i2s_batch.images.align.paste import pasted
from i2s_batch.images.read.decoding import decode_image, encode_image
from i2s_batch.output.layout import RunLayout
from i2s_batch.plurals import counted
from i2s_batch.storage import Store

_AT_ONCE = 4  # photographs in memory
_WRITTEN, _GONE, _NOT_ALIGNED = "written", "gone", "not aligned"


def write_unaligned(store: Store, tables: tuple[str, ...], picture_format: str, report: Callable[[str], None]) -> None:
    """Write the photographs of the run in `store`, each with its face in it, that do not exist yet.

    The face of an edit of several images goes into the photograph of the first, which is the one that is edited.

    Args:
        store: The output of the run.
        tables: The tables whose latents were edited.
        picture_format: The file format of the images. With png a pixel outside the face is as it was.
        report: Takes lines for people.
    """
    existing = {info.key for info in store.list(RunLayout.unaligned_prefix)}
    files = {file: parent for file, parent in rendered_images(store) if RunLayout.unaligned(file) not in existing}
    if not files:
        return
    originals = Originals(tables)

    def write(file: str, original: Original | None) -> str:
        face = decode_image(store.get(file))
        transform = None if original is None else original.transform(face.shape[0])
        if original is None or transform is None:
            return _NOT_ALIGNED
        photograph = original.read_whole()
        if photograph is None:
            return _GONE
        whole = pasted(photograph, face, transform)
        store.put(RunLayout.unaligned(file), encode_image(whole, picture_format))
        return _WRITTEN

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        outcomes = Counter(pool.map(write, files, map(originals.find, files.values())))
    written = outcomes[_WRITTEN]
    report(f"{counted(written, 'face')} pasted into {'its photograph' if written == 1 else 'their photographs'}")
    if gone := outcomes[_GONE]:
        report(f"{counted(gone, 'photograph is', 'photographs are')} gone, changed or unreadable: no face is pasted")
    if count := outcomes[_NOT_ALIGNED]:
        are = counted(count, "image is", "images are")
        report(f"{are} of no aligned face (embed with --align ffhq): nothing is pasted")
